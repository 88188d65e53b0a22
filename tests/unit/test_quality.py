"""The quality measures, computed from values per token."""

import math
import random
import statistics

import msgspec
import pytest

from qplayground.core.measures.floats import Counts, Floats
from qplayground.core.measures.quality import ScoredTokens, comparison_figures, percentile, perplexity_figures


def scored(nll: list[float], kld: list[float] | None = None, same: list[int] | None = None) -> ScoredTokens:
    return ScoredTokens(
        nll=Floats.of(nll),
        top=("a",) * len(nll),
        top_ids=(1,) * len(nll),
        top_p=Floats.of([0.5] * len(nll)),
        kld=Floats.of(kld or []),
        same_top=bytes(same or []),
    )


def test_numbers_survive_the_wire_and_a_file() -> None:
    numbers = Floats.of([0.1, 2.0, -3.5])
    assert len(numbers) == 3 and list(numbers.values) == pytest.approx([0.1, 2.0, -3.5])
    for codec in (msgspec.json, msgspec.msgpack):
        assert codec.decode(codec.encode(scored([1.0, 2.0])), type=ScoredTokens) == scored([1.0, 2.0])


def test_counts_are_exact_where_single_precision_has_no_place_for_them() -> None:
    counts = Counts.of([2**24 + 1, 0, 2**40 + 3])
    assert len(counts) == 3 and list(counts.values) == [2**24 + 1, 0, 2**40 + 3]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(counts), type=Counts) == counts


def test_perplexity_and_its_error() -> None:
    nll = [random.Random(1).uniform(0, 6) for _ in range(400)]
    figures = perplexity_figures(nll)
    assert figures["perplexity"] == pytest.approx(math.exp(statistics.fmean(nll)))
    assert figures["perplexity_se"] == pytest.approx(
        figures["perplexity"] * statistics.stdev(nll) / math.sqrt(len(nll))
    )


def test_nothing_is_summed_up_under_a_hundred_tokens() -> None:
    assert perplexity_figures([1.0] * 99) == {} and perplexity_figures([1.0] * 100)
    few = scored([1.0] * 99, [0.1] * 99, [1] * 99)
    assert comparison_figures(few, few) == {}


def test_the_ratio_is_paired() -> None:
    """Each token of the candidate is worse by 0.1, so the ratio has hardly any error, whatever the text's spread."""
    base = [float(numpy) for numpy in range(200)]
    ours = [value + 0.1 for value in base]
    figures = comparison_figures(scored(ours, [0.0] * 200, [1] * 200), scored(base))
    assert figures["ppl_ratio"] == pytest.approx(math.exp(0.1), rel=1e-4)
    assert figures["ppl_ratio_se"] < 1e-5


def test_divergences_and_tops() -> None:
    kld = [float(value) for value in range(101)]
    same = [1] * 80 + [0] * 21
    figures = comparison_figures(scored([1.0] * 101, kld, same), scored([1.0] * 101))
    assert (figures["mean_kld"], figures["median_kld"], figures["max_kld"]) == (50, 50, 100)
    assert figures["p90_kld"] == pytest.approx(90) and figures["p999_kld"] == pytest.approx(99.9)
    share = 80 / 101
    assert figures["same_top1"] == pytest.approx(share)
    assert figures["same_top1_se"] == pytest.approx(math.sqrt(share * (1 - share) / 100))


def test_the_change_of_the_right_tokens_probability() -> None:
    base, ours = [-math.log(0.5)] * 120, [-math.log(0.25)] * 60 + [-math.log(0.5)] * 60
    figures = comparison_figures(scored(ours, [0.0] * 120, [1] * 120), scored(base))
    assert figures["mean_delta_p"] == pytest.approx(-0.125, rel=1e-5)
    assert figures["rms_delta_p"] == pytest.approx(math.sqrt(0.5 * 0.25**2), rel=1e-5)
    assert figures["p1_delta_p"] == pytest.approx(-0.25, rel=1e-5)


def test_percentiles_are_linear_between_neighbours() -> None:
    assert percentile([0.0, 10.0], 25) == 2.5
    assert percentile([7.0], 99.9) == 7.0
