"""The highest resident memory of each phase, as the kernel recorded it."""

import sys

from qplayground.core.memory.process_memory import PhasePeak, forget_peak, peak_resident_bytes
from qplayground.core.messages.events import Phase

_CHECKS = (Phase.CHECK, Phase.SCORE)
"""What these need is this program's doing, and not the precision's."""


class PhaseMeter:
    """Told of each phase as it begins. Only Linux lets a peak start again, so elsewhere phases are not told apart."""

    def __init__(self) -> None:
        self._peaks: dict[Phase, int] = {}
        self._current: Phase | None = None

    def enter(self, phase: Phase) -> None:
        """The phase before ends; a load that starts forgets what was before it, and so does a text."""
        self._close()
        if phase is Phase.START:
            self._peaks.clear()
        if phase in (Phase.PREFILL, Phase.DECODE, Phase.SCORE):  # of the text before; a warm-up is a load's too
            self._peaks.pop(phase, None)
        self._current = phase

    def peaks(self) -> tuple[PhasePeak, ...]:
        """Those of every phase so far, the one in work included."""
        self._close()
        return tuple(PhasePeak(phase, peak) for phase, peak in self._peaks.items()) if sys.platform == "linux" else ()

    def highest(self) -> int:
        """The highest of all but the integrity check and scoring."""
        self._close()
        return max((peak for phase, peak in self._peaks.items() if phase not in _CHECKS), default=0)

    def _close(self) -> None:
        if self._current is not None:
            peak = peak_resident_bytes()
            self._peaks[self._current] = max(peak, self._peaks.get(self._current, 0))
            forget_peak()
