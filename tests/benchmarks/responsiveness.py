"""How long the window's event loop is blocked during a comparison of four precisions."""

from tests.benchmarks.figures import Figure
from tests.benchmarks.window import compare_in_window

NEW_TOKENS = 50


def measure() -> list[Figure]:
    """Milliseconds by which a 5 ms timer is late: the 99th percentile and the worst."""
    late = sorted(compare_in_window(NEW_TOKENS).late_ms)
    return [
        Figure("event loop late, 99 %", late[int(0.99 * len(late))], "ms", at_most=20.0),
        Figure("event loop late, worst", late[-1], "ms", at_most=100.0),
        Figure("ticks measured", len(late), ""),
    ]
