"""Whether a window can be shown, told before Qt would abort: its platform plugin loads and a display answers."""

import ctypes
import os
import sys
from collections.abc import Callable

from qplayground.core.errors import ErrorCode, PlaygroundError, fail
from qplayground.runtime.qt_platform import candidates, platform_problem

_INSTEAD = "Or use `qplayground compare`, which needs no window."
_VARIABLES = {"xcb": "DISPLAY", "wayland": "WAYLAND_DISPLAY"}


def check_display() -> None:
    """Raises PlaygroundError where Qt would find no platform to show a window on."""
    if sys.platform != "linux":
        return
    names = candidates(os.environ, sys.platform)
    problems = {name: platform_problem(name) for name in names}
    able = [name for name in names if problems[name] is None]
    if names and not able:  # Qt goes on to the next where one fails
        problem = problems[names[0]]
        assert problem is not None
        raise PlaygroundError(problem)
    if able and not any(_ANSWERS.get(name, _always)() for name in able):
        said = ", ".join(f"{_VARIABLES[name]}={os.environ.get(_VARIABLES[name], '')}" for name in able)
        raise fail(
            ErrorCode.UNSUPPORTED,
            f"The display cannot be reached ({said}).",
            f"Check that it is running and that you may use it; over ssh, connect with `ssh -X`. {_INSTEAD}",
        )


def _always() -> bool:
    return True


def _x11_answers() -> bool:
    """Whether the X server of DISPLAY takes a connection."""
    try:
        xcb = ctypes.CDLL("libxcb.so.1")
    except OSError:  # which the plugin would have said
        return True
    xcb.xcb_connect.restype = ctypes.c_void_p
    connection = ctypes.c_void_p(xcb.xcb_connect(None, None))
    failed = bool(xcb.xcb_connection_has_error(connection))
    xcb.xcb_disconnect(connection)
    return not failed


def _wayland_answers() -> bool:
    """Whether the compositor of WAYLAND_DISPLAY takes a connection."""
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


_ANSWERS: dict[str, Callable[[], bool]] = {"xcb": _x11_answers, "wayland": _wayland_answers}
