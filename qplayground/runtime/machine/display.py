"""Checks that a window can be shown, because Qt aborts on failure: a platform plugin loads and a display answers."""

import ctypes
import os
import sys
from collections.abc import Callable

from qplayground.core.errors import ErrorCode, PlaygroundError, fail
from qplayground.runtime.machine.qt_platform import can_load, candidates, explain_platform

_INSTEAD = "Or use `qplayground compare`, which needs no window."


def check_display() -> None:
    """Raise PlaygroundError if Qt would find no platform to show a window on."""
    if sys.platform != "linux":
        return
    names = candidates(os.environ, sys.platform)
    silent: list[str] = []
    for name in names:  # Qt tries the next one only if one fails
        if not can_load(name):
            continue
        variable, answers = _DISPLAYS.get(name.lower().partition("-")[0], ("", _always))  # wayland-egl is Wayland
        if answers():
            return
        silent.append(f"{variable}={os.environ.get(variable, '')}")
    if silent:
        raise fail(
            ErrorCode.UNSUPPORTED,
            f"The display cannot be reached ({', '.join(dict.fromkeys(silent))}).",
            f"Check that it is running and that you may use it; over ssh, connect with `ssh -X`. {_INSTEAD}",
        )
    if names:
        raise PlaygroundError(explain_platform(names[0]))


def _always() -> bool:
    return True


def _x11_answers() -> bool:
    """Whether the X server of DISPLAY accepts a connection, which then stays open until the program ends.

    A server may reset when its last client leaves, as a virtual one does, and refuse Qt meanwhile.
    """
    try:
        xcb = ctypes.CDLL("libxcb.so.1")
    except OSError:  # the plugin check reports this
        return True
    xcb.xcb_connect.restype = ctypes.c_void_p
    connection = ctypes.c_void_p(xcb.xcb_connect(None, None))
    if xcb.xcb_connection_has_error(connection):
        xcb.xcb_disconnect(connection)
        return False
    return True


def _wayland_answers() -> bool:
    """Whether the compositor of WAYLAND_DISPLAY accepts a connection.

    WAYLAND_SOCKET names the descriptor of an open connection. It is not tried: connecting would consume it, and Qt
    would find none.
    """
    if os.environ.get("WAYLAND_SOCKET"):
        return True
    try:
        wayland = ctypes.CDLL("libwayland-client.so.0")
    except OSError:
        return True
    wayland.wl_display_connect.restype = ctypes.c_void_p
    connection = wayland.wl_display_connect(None)
    if not connection:
        return False
    wayland.wl_display_disconnect(ctypes.c_void_p(connection))
    return True


_DISPLAYS: dict[str, tuple[str, Callable[[], bool]]] = {
    "xcb": ("DISPLAY", _x11_answers),
    "wayland": ("WAYLAND_DISPLAY", _wayland_answers),
}
