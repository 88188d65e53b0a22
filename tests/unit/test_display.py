"""Which displays are asked before there is a window, and that asking takes nothing away."""

import ctypes
import os
import shutil
import socket
import subprocess
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


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="there is no virtual screen")
def test_a_server_that_ends_without_clients_is_still_there_after_it_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "can_load", lambda name: True)
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "640x480x24", "-nolisten", "tcp", "-terminate"]
    with subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL) as server:
        os.close(write)
        with os.fdopen(read) as answer:
            monkeypatch.setenv("DISPLAY", f":{answer.readline().strip()}")
        monkeypatch.setenv("QT_QPA_PLATFORM", "xcb")
        display.check_display()
        with pytest.raises(subprocess.TimeoutExpired):
            server.wait(1)
        server.terminate()


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
