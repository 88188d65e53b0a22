"""What every message has: the number by which answers are told to belong to a command."""

import msgspec


class Request(msgspec.Struct, frozen=True, tag=True):
    """A command, with a number that its sender gives it."""

    id: int


class Answer(msgspec.Struct, frozen=True, tag=True):
    """An event, with the number of the command that it answers."""

    command_id: int


class LastAnswer(Answer, frozen=True):
    """The event after which nothing more answers the same command."""
