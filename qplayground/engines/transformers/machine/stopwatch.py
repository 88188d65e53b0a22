"""A clock that can be paused during work that must not be timed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Counts seconds since it was made, except those spent in `held`."""

    def __init__(self) -> None:
        self._zero_s = time.monotonic()
        self.held_s = 0.0
        """Seconds left out so far."""

    @property
    def elapsed_s(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self._zero_s - self.held_s

    @contextmanager
    def held(self) -> Iterator[None]:
        """Pause the clock."""
        began_s = time.monotonic()
        try:
            yield
        finally:
            self.held_s += time.monotonic() - began_s
