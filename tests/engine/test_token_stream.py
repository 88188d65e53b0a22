"""Tokens are sent at once after a pause, in batches when they come fast, and none is held back."""

import pytest

from qplayground.core.tokens import Token
from qplayground.engines.transformers.generation.token_stream import SEND_INTERVAL_S, TokenStream
from tests.engine.conftest import RecordingChannel, tokens_of


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("qplayground.engines.transformers.generation.token_stream.time.monotonic", lambda: now[0])
    return now


def test_tokens_leave_in_order_and_in_batches(clock: list[float]) -> None:
    channel = RecordingChannel()
    stream = TokenStream(channel, 7)
    tokens = [Token(number, str(number), 0.0) for number in range(100)]
    for token in tokens:
        stream.push(token)
        clock[0] += SEND_INTERVAL_S / 10
    stream.flush()
    stream.flush()
    assert tokens_of(channel.sent) == tokens
    assert 10 <= len(channel.sent) <= 12
    assert tokens_of(channel.sent[:1]) == tokens[:1]  # the first is sent immediately


def test_slow_tokens_leave_one_by_one(clock: list[float]) -> None:
    channel = RecordingChannel()
    stream = TokenStream(channel, 7)
    for number in range(5):
        stream.push(Token(number, "", 0.0))
        clock[0] += 1.01 * SEND_INTERVAL_S
    assert len(channel.sent) == 5
