"""Messages as bytes."""

from typing import Generic, TypeVar

import msgspec

from qplayground.core.messages.commands import Command
from qplayground.core.messages.events import Event

T = TypeVar("T")


class Codec(Generic[T]):
    """msgpack bytes of one family of messages. Decoding anything else raises msgspec.ValidationError or DecodeError."""

    def __init__(self, family: object) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(family)

    def encode(self, message: T) -> bytes:
        return self._encoder.encode(message)

    def decode(self, data: bytes) -> T:
        return self._decoder.decode(data)


COMMANDS: Codec[Command] = Codec(Command)


EVENTS: Codec[Event] = Codec(Event)
