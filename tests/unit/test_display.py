"""Which displays are probed before there is a window, and that the probe uses nothing up."""

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from qplayground.core.errors import PlaygroundError
from qplayground.runtime.machine import display

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
def test_the_connection_to_an_x_server_stays_open_after_it_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise this server, which ends with its last client, would end."""
    monkeypatch.setattr(display, "can_load", lambda name: True)
    monkeypatch.setenv("QT_QPA_PLATFORM", "xcb")
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "640x480x24", "-nolisten", "tcp", "-terminate"]
    with subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL) as server:
        try:
            os.close(write)
            with os.fdopen(read) as answer:
                number = answer.readline().strip()
            monkeypatch.setenv("DISPLAY", f":{number}")
            assert open_connections(number) == 0
            display.check_display()
            assert open_connections(number) == 1
        finally:
            server.kill()


def open_connections(number: str) -> int:
    """How many of this process's sockets are connected to that X server, and open on its side too."""
    found, address = 0, f"/.X11-unix/X{number}"  # in Linux's abstract namespace (bytes), or a file
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # not connected, or the folder's own descriptor
            if descriptor.is_socket():
                with socket.socket(fileno=os.dup(int(descriptor.name))) as ours:
                    if ours.family == socket.AF_UNIX and os.fsdecode(ours.getpeername()).endswith(address):
                        found += is_open(ours)
    return found


def is_open(connection: socket.socket) -> bool:
    """Whether the other end is still open."""
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
    except BlockingIOError:  # nothing to read
        return True


def test_a_connection_that_the_compositor_has_made_is_not_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """WAYLAND_SOCKET's descriptor stays open, and the variable stays set for the next client."""
    monkeypatch.setattr(display, "can_load", lambda name: True)
    monkeypatch.setenv("QT_QPA_PLATFORM", "wayland")
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_char_p
    ours, theirs = socket.socketpair()
    descriptor = os.dup(ours.fileno())  # libwayland would close it
    with ours, theirs:
        monkeypatch.setenv("WAYLAND_SOCKET", str(descriptor))
        display.check_display()
        assert getenv(b"WAYLAND_SOCKET") == str(descriptor).encode()
        os.close(descriptor)
