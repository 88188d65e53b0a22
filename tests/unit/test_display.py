"""Which displays are asked before there is a window, and that asking takes nothing away."""

import ctypes
import os
import socket
import sys

import pytest

from qplayground.core.errors import PlaygroundError
from qplayground.runtime import display

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is asked")


def test_every_platform_of_wayland_asks_its_compositor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "can_load", lambda name: True)  # whatever libraries this system has
    monkeypatch.delenv("WAYLAND_SOCKET", raising=False)
    monkeypatch.setenv("WAYLAND_DISPLAY", "/nowhere/wayland-9")
    monkeypatch.setenv("QT_QPA_PLATFORM", "wayland-egl;Wayland")
    with pytest.raises(PlaygroundError) as caught:
        display.check_display()
    assert "cannot be reached (WAYLAND_DISPLAY=/nowhere/wayland-9)." in caught.value.info.message


def test_a_connection_that_the_compositor_has_made_is_not_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """WAYLAND_SOCKET's descriptor is still open, and still told to whoever connects next."""
    monkeypatch.setattr(display, "can_load", lambda name: True)
    monkeypatch.setenv("QT_QPA_PLATFORM", "wayland")
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_char_p
    ours, theirs = socket.socketpair()
    descriptor = os.dup(ours.fileno())  # what libwayland would close
    with ours, theirs:
        monkeypatch.setenv("WAYLAND_SOCKET", str(descriptor))
        display.check_display()
        assert getenv(b"WAYLAND_SOCKET") == str(descriptor).encode()
        os.close(descriptor)
