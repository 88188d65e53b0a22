"""Sends generated tokens to the window, a few at a time."""

import time

from qplayground.core.messages.channel import Channel
from qplayground.core.messages.events import TokensGenerated
from qplayground.core.tokens import Token

SEND_INTERVAL_S = 0.2


class TokenStream:
    """Sends a token at once if the last message was long enough ago, otherwise with the tokens that follow.

    Each message costs the window CPU time, taken from the threads that are timed here. So a `silent` stream sends
    nothing before `flush`.
    """

    def __init__(self, channel: Channel, command_id: int, *, silent: bool = False) -> None:
        self._channel = channel
        self._silent = silent
        self._command_id = command_id
        self._waiting: list[Token] = []
        self._last_sent_s = float("-inf")

    def push(self, token: Token) -> None:
        """Take the next token."""
        self._waiting.append(token)
        if not self._silent and time.monotonic() - self._last_sent_s >= SEND_INTERVAL_S:
            self.flush()

    def flush(self) -> None:
        """Send what has not been sent yet."""
        if self._waiting:
            self._channel.send(TokensGenerated(self._command_id, tuple(self._waiting)))
            self._waiting.clear()
            self._last_sent_s = time.monotonic()
