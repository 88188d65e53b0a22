"""The child's end of the pipe: commands in, events out, and death when the parent is gone."""

import os
import queue
import threading
from multiprocessing.connection import Connection

import msgspec

from qplayground.core.messages.codec import COMMANDS
from qplayground.core.messages.commands import Cancel, Command
from qplayground.core.messages.events import Event


class Channel:
    """Reads commands on a thread of its own, so that a cancel and the parent's end are noticed while the child works.

    When the parent closes its end, or dies, the process ends at once: nothing that a child holds outlives the window.
    `connection` is this end of the pipe.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._cancelled: set[int] = set()
        self._sending = threading.Lock()
        threading.Thread(target=self._read, name="channel", daemon=True).start()

    def receive(self) -> Command:
        """Wait for the next command. Cancels never come this way; see `is_cancelled`."""
        return self._commands.get()

    def send(self, event: Event) -> None:
        """Send one event; ends the process when nobody is left to read it."""
        try:
            with self._sending:
                self.connection.send_bytes(msgspec.msgpack.encode(event))
        except OSError:
            os._exit(0)

    def is_cancelled(self, command_id: int) -> bool:
        """Whether the parent asked to stop that command."""
        return command_id in self._cancelled

    def _read(self) -> None:
        while True:
            try:
                command = COMMANDS.decode(self.connection.recv_bytes())
            except (EOFError, OSError):
                os._exit(0)
            except msgspec.MsgspecError:
                os._exit(1)  # a parent of another version; nothing that it says can be relied on
            if isinstance(command, Cancel):
                self._cancelled.add(command.id)
            else:
                self._commands.put(command)
