"""The weights of a matrix as numbers, whatever their source, and a summary of them."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from qplayground.core.errors import ErrorCode, PlaygroundError, fail
from qplayground.core.inside import Histogram
from qplayground.core.measures.floats import Counts, Floats
from qplayground.engines.transformers.inside.bands import bands, in_parallel

BINS = 400
_PATTERNS = 1 << 16


class Values(Protocol):
    """A matrix whose weights can be read in parts."""

    rows: int
    columns: int

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the parts."""

    def flat(self, first: int, last: int) -> torch.Tensor:
        """The weights from `first` up to `last`, row by row."""

    def part(self, rows: slice, columns: slice) -> torch.Tensor:
        """A rectangle of weights."""


@dataclass(frozen=True)
class Summary:
    """Figures of all weights. `std`: the population's. `square_sum`: the sum of their squares."""

    lowest: float
    highest: float
    mean: float
    std: float
    square_sum: float
    histogram: Histogram


def summarize(values: Values, name: str) -> Summary:
    """Summarize all weights.

    Raises PlaygroundError(NON_FINITE_WEIGHTS) that names the first place of one.
    """
    return _of_patterns(values, name) if values.dtype.itemsize == 2 else _of_numbers(values, name)


def floats(values: torch.Tensor) -> Floats:
    """Numbers for a message, float32, row by row."""
    return Floats(values.detach().to(torch.float32).contiguous().numpy().astype("<f4", copy=False).tobytes())


def histogram(values: NDArray[np.float32], bins: int = BINS) -> Histogram:
    """The histogram of finite numbers."""
    counts, edges = np.histogram(values, bins)
    return Histogram(float(edges[0]), float(edges[-1]), Counts.of(counts.tolist()))


def _non_finite(values: Values, name: str) -> PlaygroundError:
    """The error for the first weight that is not finite, with its place."""
    for begin, end in bands(values.rows * values.columns):
        wrong = (~torch.isfinite(values.flat(begin, end))).nonzero()
        if wrong.numel():
            row, column = divmod(begin + int(wrong[0]), values.columns)
            return fail(
                ErrorCode.NON_FINITE_WEIGHTS,
                f"{name} holds a weight that is not a finite number, first in row {row:,}, column {column:,}.",
                "Choose another layer, or download the model again.",
            )
    raise ValueError("all weights are finite")


def _of_patterns(values: Values, name: str) -> Summary:
    """16 bits have 65,536 patterns. Each is counted once; all else follows from that table in float64."""

    def count(band: tuple[int, int]) -> torch.Tensor:
        patterns = values.flat(*band).view(torch.int16).to(torch.int32).bitwise_and_(_PATTERNS - 1)
        return torch.bincount(patterns, minlength=_PATTERNS)

    counts = torch.stack(in_parallel(count, bands(values.rows * values.columns))).sum(0)
    numbers = torch.arange(_PATTERNS, dtype=torch.int32).to(torch.int16).view(values.dtype).double()
    numbers, counts = numbers[counts > 0], counts[counts > 0].double()
    if not bool(torch.isfinite(numbers).all()):
        raise _non_finite(values, name)
    total = float(counts.sum())
    mean = float((numbers * counts).sum()) / total
    variance = float(((numbers - mean) ** 2 * counts).sum()) / total
    low, high = float(numbers.min()), float(numbers.max())
    binned, edges = np.histogram(numbers.numpy(), BINS, weights=counts.numpy())
    return Summary(
        lowest=low,
        highest=high,
        mean=mean,
        std=variance**0.5,
        square_sum=float((numbers**2 * counts).sum()),
        histogram=Histogram(float(edges[0]), float(edges[-1]), Counts.of(binned.astype(np.int64).tolist())),
    )


def _of_numbers(values: Values, name: str) -> Summary:
    """Wider weights take two passes: first their range, then the histogram."""
    count = values.rows * values.columns

    def range_and_sum(band: tuple[int, int]) -> tuple[float, float, float]:
        found = values.flat(*band)
        lowest, highest = torch.aminmax(found)
        return float(lowest), float(highest), float(found.sum(dtype=torch.float64))

    lows, highs, sums = zip(*in_parallel(range_and_sum, bands(count)), strict=True)
    if not np.isfinite([*lows, *highs]).all():
        raise _non_finite(values, name)
    low, high, mean = min(lows), max(highs), math.fsum(sums) / count
    edges = np.histogram_bin_edges([low, high], BINS)

    def powers_and_bins(band: tuple[int, int]) -> tuple[float, float, torch.Tensor]:
        found = values.flat(*band).double()
        square = float(torch.dot(found, found))
        bins = torch.histc(found, BINS, float(edges[0]), float(edges[-1]))
        found = found - mean
        return square, float(torch.dot(found, found)), bins

    powers, deviations, bins = zip(*in_parallel(powers_and_bins, bands(count)), strict=True)
    return Summary(
        lowest=low,
        highest=high,
        mean=mean,
        std=math.sqrt(math.fsum(deviations) / count),
        square_sum=math.fsum(powers),
        histogram=Histogram(float(edges[0]), float(edges[-1]), Counts.of(torch.stack(bins).sum(0).long().tolist())),
    )
