"""Median, mean and spread of repeated readings."""

import statistics

import pytest

from qplayground.core.measures.samples import Samples


def test_readings_are_summed_up_and_kept() -> None:
    samples = Samples.of([4.0, 1.0, 2.0, 5.0])
    assert samples.values == (4.0, 1.0, 2.0, 5.0)
    assert (samples.n, samples.median, samples.mean) == (4, 3.0, 3.0)
    assert samples.sd == pytest.approx(statistics.stdev([4.0, 1.0, 2.0, 5.0]))


def test_one_reading_has_no_spread() -> None:
    assert Samples.of([2.5]) == Samples(1, 2.5, 2.5, 0.0, (2.5,))


def test_no_reading_is_refused() -> None:
    with pytest.raises(statistics.StatisticsError):
        Samples.of([])
