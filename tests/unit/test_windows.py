"""Which tokens of a text are scored."""

import pytest

from qplayground.core.measures.windows import Windows, plan_windows


def test_of_each_window_the_second_half_is_scored() -> None:
    windows = Windows((0, 128), 256, 128)
    assert windows.context == 128 and windows.scored_tokens == 256
    assert windows.positions == tuple(range(128, 384))


def test_all_of_a_text_is_scored_once_but_its_beginning() -> None:
    windows = plan_windows(2048)
    assert windows.starts == tuple(range(0, 2048 - 255, 128)) and windows.stride == 128
    assert windows.positions == tuple(range(128, 2048))


@pytest.mark.parametrize("limit", [1000, 5000])
@pytest.mark.parametrize("tokens", [1300, 2000, 8883, 100_000])
def test_a_limit_spreads_the_windows_evenly(tokens: int, limit: int) -> None:
    windows = plan_windows(tokens, limit=limit)
    assert windows.scored_tokens == pytest.approx(min(limit, (tokens - 128) // 128 * 128), abs=64)
    assert windows.stride >= 128
    assert {after - before for before, after in zip(windows.starts, windows.starts[1:], strict=False)} == {
        windows.stride
    }
    assert windows.starts[0] == 0 and windows.starts[-1] + 256 + windows.stride > tokens
    assert windows.starts[-1] + 256 <= tokens


def test_what_can_be_kept_is_never_exceeded() -> None:
    for most in (256, 300, 1000, 5000):
        assert plan_windows(100_000, most=most).scored_tokens <= most
        assert plan_windows(100_000, limit=4000, most=most).scored_tokens <= most


def test_a_short_text_has_no_window() -> None:
    assert plan_windows(255).starts == ()
    assert plan_windows(256).starts == (0,)
    assert plan_windows(40, window=40).positions == tuple(range(20, 40))
