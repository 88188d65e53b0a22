"""Axes with readable ticks: whole numbers for counts, and one notation for powers of ten."""

import math

import pyqtgraph as pg

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_PLAIN_DECADES = (-3.0, 4.0)
"""Between these powers of ten, decimals are easier to read."""


class CountAxis(pg.AxisItem):  # type: ignore[misc]  # it publishes no types
    """An axis of whole numbers, such as tokens."""

    def tickSpacing(self, low: float, high: float, size: float) -> list[tuple[float, float]]:
        """Like pyqtgraph's, without spacings below 1."""
        found = super().tickSpacing(low, high, size)
        return [level for level in found if level[0] >= 1] or [(1.0, 0.0)]


class DecadeAxis(pg.AxisItem):  # type: ignore[misc]
    """A logarithmic axis: all ticks as decimals if these are short, else all as powers of ten."""

    def logTickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:
        """The tick labels for these base-10 logarithms."""
        low, high = sorted(self.range)
        plain = _PLAIN_DECADES[0] <= low and high <= _PLAIN_DECADES[1]
        return [_decimal(value) if plain else _power(value) for value in values]


def _decimal(logarithm: float) -> str:
    return f"{10**logarithm:.{max(0, -math.floor(logarithm + 1e-9))}f}"


def _power(logarithm: float) -> str:
    exponent = math.floor(logarithm + 1e-9)
    digit = round(10 ** (logarithm - exponent))
    return f"{f'{digit}·' * (digit != 1)}10{str(exponent).translate(_SUPERSCRIPTS)}"
