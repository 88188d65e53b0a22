"""Axes whose ticks read as people expect: whole numbers of what is counted, and one notation for powers of ten."""

import math

import pyqtgraph as pg

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_PLAIN_DECADES = (-3.0, 4.0)
"""Between these powers of ten numbers are read more easily without them."""


class CountAxis(pg.AxisItem):  # type: ignore[misc]  # it publishes no types
    """Of what has no halves, such as tokens."""

    def tickSpacing(self, low: float, high: float, size: float) -> list[tuple[float, float]]:
        """pyqtgraph's, without what is less than one apart."""
        found = super().tickSpacing(low, high, size)
        return [level for level in found if level[0] >= 1] or [(1.0, 0.0)]


class DecadeAxis(pg.AxisItem):  # type: ignore[misc]
    """Of logarithms: all as decimals where these are short, else all as powers of ten."""

    def logTickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:
        """For each logarithm in `values`."""
        low, high = sorted(self.range)
        plain = _PLAIN_DECADES[0] <= low and high <= _PLAIN_DECADES[1]
        return [_decimal(value) if plain else _power(value) for value in values]


def _decimal(logarithm: float) -> str:
    return f"{10**logarithm:.{max(0, -math.floor(logarithm + 1e-9))}f}"


def _power(logarithm: float) -> str:
    exponent = math.floor(logarithm + 1e-9)
    digit = round(10 ** (logarithm - exponent))
    return f"{f'{digit}·' * (digit != 1)}10{str(exponent).translate(_SUPERSCRIPTS)}"
