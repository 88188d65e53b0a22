"""Figures relative to the baseline, the efficient front, and why a smaller precision is slower."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from qplayground.core.commentary.explanations import why_slower
from qplayground.core.comparison.metrics import (
    BY_KEY,
    METRICS,
    beside_text,
    efficient,
    figure_text,
    range_text,
    ratio,
    shown_metrics,
)
from qplayground.core.comparison.results import Run, RunState
from qplayground.core.dtype import Dtype
from qplayground.core.measures.quality import Quality
from qplayground.core.measures.samples import Samples
from qplayground.core.quantizers.bitsandbytes_4bit import FourBit
from qplayground.core.units import ratio_text
from tests.comparisons import MACHINE, comparison, done, failed


def test_a_ratio_is_to_the_baseline() -> None:
    smaller = done("nf4")
    smaller.memory.weight_bytes = 134_515_072
    both = comparison(done(), smaller, failed("int8"))
    weights = BY_KEY["weight_bytes"]
    assert ratio(weights, smaller, both) == 0.25
    assert ratio(weights, both.runs[0], both) is None
    assert ratio(weights, both.runs[2], both) is None
    assert ratio(BY_KEY["new_tokens"], smaller, both) is None
    both.baseline = None
    assert ratio(weights, smaller, both) is None


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((0.5,), ""),
        ((0.4, 0.2, 0.3), "200 … 400 ms"),
        ((1.02, 0.98), "980 ms … 1.02 s"),
        ((1.5, 1.25), "1.25 … 1.50 s"),
    ],
)
def test_a_range_is_from_the_lowest_to_the_highest(values: tuple[float, ...], text: str) -> None:
    run = done()
    run.speed.ttft_samples = Samples.of(values)
    assert range_text(BY_KEY["ttft_s"], run) == text


def test_a_spoilt_figure_is_marked_unless_there_is_none() -> None:
    run = done()
    run.load.disk_share = 0.9
    assert figure_text(BY_KEY["load_s"], run, comparison(run)) == "1.50 s*"
    run.load.seconds = None
    assert figure_text(BY_KEY["load_s"], run, comparison(run)) == "–"


@pytest.mark.parametrize(("value", "text"), [(0.3124, "×0.31"), (1.0, "×1.0"), (12.3, "×12"), (None, "")])
def test_ratios_as_people_read_them(value: float | None, text: str) -> None:
    assert ratio_text(value) == text


def test_only_figures_that_there_are_are_shown() -> None:
    assert "vram_peak_bytes" not in [metric.key for metric in shown_metrics(comparison(done()))]
    on_gpu = done()
    on_gpu.memory.vram_peak_bytes = 5
    assert "vram_peak_bytes" in [metric.key for metric in shown_metrics(comparison(on_gpu))]
    assert len({metric.key for metric in METRICS}) == len(METRICS)


points = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=8)


@given(points, st.booleans(), st.booleans())
def test_nothing_beats_the_front_and_the_front_beats_the_rest(
    found: list[tuple[float, float]], more_x: bool, more_y: bool
) -> None:
    def cost(point: tuple[float, float]) -> tuple[float, float]:
        return (-point[0] if more_x else point[0], -point[1] if more_y else point[1])

    front = efficient(found, more_x, more_y)
    costs = [cost(point) for point in found]
    for index, (x, y) in enumerate(costs):
        beaten = any(other[0] <= x and other[1] <= y and other != (x, y) for other in costs)
        assert (index in front) is not beaten
    assert [found[index] for index in front] == sorted(found[index] for index in front)


def slower(name: str, speed: float = 10.0) -> Run:
    run = done(name)
    run.memory.weight_bytes = 1000
    run.speed.decode_tokens_per_s = speed
    return run


def told(run: Run, **machine: object) -> str:
    made = comparison(done(), run, machine=replace(MACHINE, **machine))
    return why_slower(made, run) or ""


def test_a_reason_fits_the_device_and_the_precision() -> None:
    assert "outliers" in told(slower("int8")) and "this processor" in told(slower("int8"))
    assert "no fused kernel" in told(slower("nf4"))
    assert "fused 4-bit kernel of this processor" in told(slower("nf4"), avx512_bf16=True)
    other = slower("nf4")
    other.precision = replace(other.precision, quantization=FourBit(compute_dtype=Dtype.FLOAT16))
    assert "float16" in told(other, avx512_bf16=True)
    assert "bfloat16 arithmetic" in told(slower("bf16"))
    on_gpu = slower("nf4")
    on_gpu.device_map = {"": "cuda:0"}
    assert "this processor" not in told(on_gpu) and told(on_gpu)
    for name in ("bf16", "fp16", "nf4", "int8"):  # Apple's GPU is not a CPU without fast arithmetic
        on_apples = slower(name)
        on_apples.device_map = {"": "mps"}
        assert "this processor" not in told(on_apples)


def test_what_is_not_slower_needs_no_reason() -> None:
    assert told(slower("nf4", 24.0)) == ""
    assert told(slower("nf4", 23.5)) == ""  # within the noise
    larger = slower("nf4")
    larger.memory.weight_bytes = 10**12
    assert told(larger) == ""
    assert told(done()) == ""


def test_a_difference_within_the_spread_is_none() -> None:
    run, baseline = slower("nf4", 20.0), done()
    run.speed.samples, baseline.speed.samples = Samples.of([10.0, 20.0, 30.0]), Samples.of([24.0, 24.1, 24.3])
    assert why_slower(comparison(baseline, run), run) is None
    run.speed.samples = Samples.of([19.9, 20.0, 20.1])
    assert why_slower(comparison(baseline, run), run)


def test_doubtful_figures_explain_nothing() -> None:
    raced, stopped, disturbed = slower("int8"), slower("int8"), slower("int8")
    raced.beside = 1
    stopped.state = RunState.CANCELLED
    disturbed.speed.other_cpus = 1.5
    for run in (raced, stopped, disturbed):
        assert why_slower(comparison(done(), run), run) is None
    assert "bfloat16 arithmetic" not in told(slower("bf16"), avx512_bf16=True)


def test_a_mean_has_its_error_and_a_perplexitys_ratio_a_digit_more() -> None:
    base, other = done(), done("nf4")
    for run, perplexity in ((base, 28.7), (other, 29.2)):
        run.quality = Quality(
            text="builtin",
            text_sha256="",
            window=256,
            stride=128,
            scored_tokens=1024,
            perplexity=perplexity,
            perplexity_se=2.7,
        )
    both, metric = comparison(base, other), BY_KEY["perplexity"]
    assert range_text(metric, other) == "± 2.7" and range_text(BY_KEY["mean_kld"], other) == ""
    assert beside_text(metric, other, both) == "×1.02"
    assert beside_text(BY_KEY["weight_bytes"], other, both) == "×1.0"
