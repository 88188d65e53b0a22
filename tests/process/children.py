"""Small child processes. The first command selects a behaviour: `gguf_path` names one below, `target` is its argument.

No child waits a fixed time where it could wait for an event. A hanging child waits for its end.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.messages.channel import Channel
from qplayground.core.messages.commands import Download, FetchOutline, PrepareDemo
from qplayground.core.messages.events import Failed, JobDone, Progressed
from qplayground.core.model import ModelEntry, ModelSource

TARGET = __name__
ENTRY = ModelEntry(id="made", source=ModelSource.FOLDER, path="/made", complete=True)
OUTLINED = ModelEntry(id="made", source=ModelSource.HUB, path="/outline")
FAILURE = ErrorInfo(ErrorCode.DISK_FULL, "The disk is full.", "Empty it.", "scripted")
CHUNK = 1 << 20
MEBIBYTE = 1 << 20


def main(channel: Channel) -> None:
    """Carry out the first command's behaviour once."""
    command = channel.receive()
    assert isinstance(command, PrepareDemo | Download | FetchOutline)
    if isinstance(command, FetchOutline):
        behaviour, argument = "outline", command.target
    elif isinstance(command, PrepareDemo):
        behaviour, argument = command.gguf_path, command.target
    else:
        behaviour, argument = command.repo_id, ""
    BEHAVIOURS[behaviour](channel, argument)


def asked(behaviour: str, argument: str = "") -> PrepareDemo:
    """The command that selects a child's behaviour."""
    return PrepareDemo(id=1, gguf_path=behaviour, target=argument)


def say(channel: Channel, label: str, done: int = 1, total: int = 1) -> None:
    channel.send(Progressed(1, label, done, total, "steps"))


def _complete(channel: Channel, argument: str) -> None:
    for step in range(3):
        say(channel, "Working", step, 3)
    channel.send(JobDone(1, ENTRY))


def _only_progress(channel: Channel, argument: str) -> None:
    for step in range(int(argument)):
        say(channel, "Working", step, int(argument))


def _outline(channel: Channel, argument: str) -> None:
    channel.send(JobDone(1, msgspec.structs.replace(OUTLINED, path=argument)))


def _fail(channel: Channel, argument: str) -> None:
    say(channel, "Working")
    channel.send(Failed(1, FAILURE))


def _exit(channel: Channel, argument: str) -> None:
    say(channel, "Working")
    print("about to exit", file=sys.stderr, flush=True)
    os._exit(int(argument))


def _crash(channel: Channel, argument: str) -> None:
    signal.raise_signal(signal.SIGSEGV)


def _kill(channel: Channel, argument: str) -> None:
    signal.raise_signal(signal.SIGKILL)


def _raise(channel: Channel, argument: str) -> None:
    raise ValueError("scripted")


def _hang(channel: Channel, argument: str) -> None:
    say(channel, "hanging")
    threading.Event().wait()


def _freeze(channel: Channel, argument: str) -> None:
    """Stop every thread, including the one that watches the pipe: only a kill ends this."""
    say(channel, "freezing")
    signal.raise_signal(signal.SIGSTOP)


def _close_and_hang(channel: Channel, argument: str) -> None:
    """Close the pipe for writing, then stay."""
    with socket.socket(fileno=os.dup(channel.connection.fileno())) as pipe:
        pipe.shutdown(socket.SHUT_WR)
    signal.raise_signal(signal.SIGSTOP)


def _flood(channel: Channel, argument: str) -> None:
    """Write a mebibyte, report it, and wait for any command. Repeats this `argument` times."""
    for chunk in range(int(argument)):
        _write_mebibyte(chunk)
        say(channel, "flooded", chunk)
        channel.receive()
    print("the last line", file=sys.stderr, flush=True)


def _flood_in_silence(channel: Channel, argument: str) -> None:
    """Write three mebibytes and report nothing until the log is cut."""
    for chunk in range(3):
        _write_mebibyte(chunk)
    pause = threading.Event()
    while os.fstat(2).st_size > 2 * MEBIBYTE:
        pause.wait(0.01)
    say(channel, "cut")


def _write_mebibyte(number: int) -> None:
    line = f"flood {number:05}\n".ljust(128, "~")
    os.write(2, (line * (MEBIBYTE // len(line))).encode())


def _talk_nonsense(channel: Channel, argument: str) -> None:
    say(channel, "sense")
    channel.connection.send_bytes(b"\xc1 is no msgpack")
    threading.Event().wait()


def _grow(channel: Channel, argument: str) -> None:
    """Report the pid, then hold 64 MiB more at each command."""
    held: list[Any] = []
    say(channel, "pid", os.getpid())
    while True:
        channel.receive()
        held.append(bytearray(os.urandom(1)) * (64 * MEBIBYTE))
        say(channel, "grown", len(held))


def _write_pid(channel: Channel, argument: str) -> None:
    """Write the pid to a file, atomically, then stay."""
    path = Path(argument)
    path.with_suffix(".part").write_text(str(os.getpid()))
    path.with_suffix(".part").replace(path)
    threading.Event().wait()


BEHAVIOURS: dict[str, Callable[[Channel, str], None]] = {
    "outline": _outline,
    "complete": _complete,
    "made": _complete,
    "only-progress": _only_progress,
    "fail": _fail,
    "exit": _exit,
    "crash": _crash,
    "kill": _kill,
    "raise": _raise,
    "hang": _hang,
    "freeze": _freeze,
    "close-and-hang": _close_and_hang,
    "flood": _flood,
    "flood-in-silence": _flood_in_silence,
    "talk-nonsense": _talk_nonsense,
    "grow": _grow,
    "write-pid": _write_pid,
}
