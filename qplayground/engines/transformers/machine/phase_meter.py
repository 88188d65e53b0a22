"""The highest resident memory of each phase, as the kernel recorded it."""

import sys

from qplayground.core.memory.process_memory import PhasePeak, forget_peak, peak_resident_bytes
from qplayground.core.messages.events import Phase

_CHECKS = (Phase.CHECK, Phase.SCORE)
"""Their memory is this program's doing, not the precision's."""


class PhaseMeter:
    """Told when each phase begins. Only Linux can reset a peak, so elsewhere phases are not told apart."""

    def __init__(self) -> None:
        self._peaks: dict[Phase, int] = {}
        self._current: Phase | None = None

    def enter(self, phase: Phase) -> None:
        """End the previous phase and begin this one. A new load clears all peaks; a new text clears its own."""
        self._close()
        if phase is Phase.START:
            self._peaks.clear()
        if phase in (Phase.PREFILL, Phase.DECODE, Phase.SCORE):  # of the previous text; a load has a warm-up too
            self._peaks.pop(phase, None)
        self._current = phase

    def peaks(self) -> tuple[PhasePeak, ...]:
        """The peak of every phase so far, including the current one."""
        self._close()
        return tuple(PhasePeak(phase, peak) for phase, peak in self._peaks.items()) if sys.platform == "linux" else ()

    def highest(self) -> int:
        """The highest peak of all phases but the integrity check and scoring."""
        self._close()
        return max((peak for phase, peak in self._peaks.items() if phase not in _CHECKS), default=0)

    def _close(self) -> None:
        if self._current is not None:
            peak = peak_resident_bytes()
            self._peaks[self._current] = max(peak, self._peaks.get(self._current, 0))
            forget_peak()
