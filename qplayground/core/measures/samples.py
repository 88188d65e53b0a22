"""Repeated readings of one figure, summed up."""

import statistics
from collections.abc import Sequence

import msgspec


class Samples(msgspec.Struct, frozen=True):
    """Every reading in the order it was taken, with median, mean and standard deviation (n-1; 0 for one reading)."""

    n: int
    median: float
    mean: float
    sd: float
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> "Samples":
        """Sum up one reading or more. Raises statistics.StatisticsError for none."""
        return cls(
            n=len(values),
            median=statistics.median(values),
            mean=statistics.fmean(values),
            sd=statistics.stdev(values) if len(values) > 1 else 0.0,
            values=tuple(values),
        )
