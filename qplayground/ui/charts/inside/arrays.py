"""Converts the engine's bulk data to float64 arrays."""

import numpy as np
from numpy.typing import NDArray

from qplayground.core.inside import Histogram
from qplayground.core.measures.floats import Counts, Floats

Values = NDArray[np.float64]


def values_of(floats: Floats | None) -> Values:
    """The values as float64. None gives an empty array."""
    return np.empty(0) if floats is None else np.frombuffer(floats.data, np.float32).astype(np.float64)


def counts_of(counts: Counts | None) -> Values:
    """The counts as float64, which is exact up to 2⁵³. None gives an empty array."""
    return np.empty(0) if counts is None else np.frombuffer(counts.data, np.int64).astype(np.float64)


def bins_of(histogram: Histogram) -> tuple[Values, Values]:
    """The n + 1 edges and n counts of the bins."""
    counts = counts_of(histogram.counts)
    return np.linspace(histogram.low, histogram.high, len(counts) + 1), counts


def bin_rows(histogram: Histogram) -> list[list[object]]:
    """Each bin's edges and count, for saving."""
    edges, counts = bins_of(histogram)
    return [[low, high, int(count)] for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)]
