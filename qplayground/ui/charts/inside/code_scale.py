"""The colour scale of codes, ordered by their levels. FP4's code numbers are in another order."""

import numpy as np
from numpy.typing import NDArray

from qplayground.core.measures.floats import Floats

_FEW = 16
_TICKS = 9
"""The number of ticks if there are too many levels to label each."""


class CodeScale:
    """Codes starting at `first_code`, and their levels. A code's rank is the number of levels below its own."""

    def __init__(self, levels: Floats, first_code: int) -> None:
        self._levels = np.frombuffer(levels.data, np.float32)
        self._first_code = first_code
        self._order = np.lexsort((~np.signbit(self._levels), self._levels))  # FP4's −0 sorts below 0
        self._ranks = np.empty(len(self._order), np.float32)
        self._ranks[self._order] = np.arange(len(self._order))

    @property
    def highest_rank(self) -> int:
        """The rank of the largest level."""
        return max(1, len(self._order) - 1)

    def ranks(self, codes: NDArray[np.float32]) -> NDArray[np.float32]:
        """The rank of each code."""
        return self._ranks[codes.astype(np.intp) - self._first_code]

    def ticks(self) -> list[tuple[float, str]]:
        """Ranks with their codes as labels; if there are few codes, all of them with their levels."""
        count = len(self._order)
        if count <= _FEW:
            return [(float(rank), self._text(rank)) for rank in range(count)]
        ranks = np.unique(np.linspace(0, count - 1, _TICKS).round().astype(int))
        return [(float(rank), f"{self._first_code + self._order[rank]}") for rank in ranks]

    def ends(self) -> tuple[str, str]:
        """The codes of the lowest and highest level, in words."""
        low, high = self._order[0], self._order[-1]
        return self._words(low), self._words(high)

    def _text(self, rank: int) -> str:
        place = self._order[rank]
        return f"{self._first_code + place}: {self._levels[place]:.2f}"

    def _words(self, place: int) -> str:
        return f"code {self._first_code + place} (level {self._levels[place]:.3g})"
