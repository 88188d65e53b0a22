"""Messages from their bytes, which `msgspec.msgpack.encode` makes of any of them.

Decoding anything else raises msgspec.ValidationError or DecodeError.
"""

import msgspec

from qplayground.core.messages.commands import Command
from qplayground.core.messages.events import Event

COMMANDS: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
EVENTS: msgspec.msgpack.Decoder[Event] = msgspec.msgpack.Decoder(Event)
