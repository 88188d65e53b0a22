"""Verdicts, and the sums behind them."""

import pytest
from msgspec.structs import replace

from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.memory.estimate import Estimate, Verdict, WeightKinds
from qplayground.core.memory.fit import CONTEXT_BYTES, fit, fit_in_ram, fit_in_vram

MB = 1_000_000
ESTIMATE = Estimate(
    precision="nf4",
    by_kind=WeightKinds(quantized=80 * MB, scales=10 * MB, plain=10 * MB),
    kv_cache_bytes=5 * MB,
    working_bytes=20 * MB,
    load_extra_bytes=90 * MB,
    runtime_bytes=400 * MB,
    shared_bytes=350 * MB,
)


@pytest.mark.parametrize(
    ("available", "verdict"),
    [(239, Verdict.WONT_FIT), (240, Verdict.TIGHT), (263, Verdict.TIGHT), (264, Verdict.FITS), (9999, Verdict.FITS)],
)
def test_the_worst_moment_decides(available: int, verdict: Verdict) -> None:
    fit = fit_in_ram([ESTIMATE], available * MB)
    assert fit.needed_bytes == (100 + 50 + 90) * MB  # weights, libraries, loading
    assert fit.verdict is verdict


def test_a_long_context_can_be_worse_than_the_load() -> None:
    long = Estimate(precision="nf4", kv_cache_bytes=500 * MB, working_bytes=20 * MB, runtime_bytes=0)
    assert [term.label for term in fit_in_ram([long], 1).terms][2:] == ["KV cache", "working memory"]


def test_the_sum_is_written_out() -> None:
    assert str(fit_in_ram([ESTIMATE], 1000 * MB)).splitlines() == [
        "100 MB  weights",
        "50.0 MB  libraries, what is not shared",
        "90.0 MB  while loading, for a moment",
        "= 240 MB needed, 1.00 GB available",
    ]


@pytest.mark.parametrize(
    ("estimate", "available"),
    [
        (None, 100),
        (ESTIMATE, None),
        (Estimate(precision="nf4"), 100),
        (Estimate(precision="nf4", runtime_bytes=1, problem=ErrorInfo(ErrorCode.BAD_PRECISION, "No.", "")), 100),
    ],
)
def test_what_cannot_be_known_is_unknown(estimate: Estimate | None, available: int | None) -> None:
    fit = fit_in_ram([estimate], available)
    assert fit.verdict is Verdict.UNKNOWN and fit.needed_bytes is None
    assert str(fit) == "What it needs is not known."


def test_without_its_cache_only_what_is_too_large_anyway_is_known() -> None:
    unknown = replace(ESTIMATE, kv_cache_bytes=None)
    assert unknown.resident_bytes is None and unknown.load_peak_bytes is not None
    assert fit_in_ram([unknown], 9999 * MB).verdict is Verdict.UNKNOWN
    assert fit_in_ram([unknown], 100 * MB).verdict is Verdict.WONT_FIT
    assert fit_in_vram([on_gpu(unknown)], 9999 * MB).verdict is Verdict.UNKNOWN


def on_gpu(estimate: Estimate, **held: WeightKinds) -> Estimate:
    """An estimate with all weights on the first GPU, or these weights on each."""
    by_device = {name.replace("_", ":"): kinds for name, kinds in held.items()} or {"cuda:0": estimate.by_kind}
    return replace(estimate, by_device=by_device, runtime_bytes=None, least_runtime_bytes=400 * MB)


def test_a_gpu_holds_weights_cache_context_and_what_is_computed() -> None:
    estimate, needed = on_gpu(ESTIMATE), 100 * MB + CONTEXT_BYTES + (5 + 20) * MB
    assert fit_in_vram([estimate], needed).needed_bytes == needed
    assert fit_in_vram([estimate], needed - 1).verdict is Verdict.WONT_FIT
    assert fit_in_vram([estimate], needed).verdict is Verdict.TIGHT
    assert fit_in_vram([estimate], 2 * needed).verdict is Verdict.FITS
    assert fit_in_vram([estimate], None).verdict is Verdict.UNKNOWN
    loading = replace(estimate, vram_load_extra_bytes=300 * MB)
    assert fit_in_vram([loading], needed).needed_bytes == 100 * MB + CONTEXT_BYTES + 300 * MB


def test_the_tightest_device_decides() -> None:
    split = on_gpu(ESTIMATE, cuda_0=WeightKinds(plain=60 * MB), cuda_1=WeightKinds(plain=40 * MB))
    found = fit([split], {"cuda:0": 9000 * MB, "cuda:1": 100 * MB, "cpu": 9000 * MB})
    assert found.verdict is Verdict.WONT_FIT and found.device == "cuda:1"
    assert "available on cuda:1" in str(found)
    caches = [fit_in_vram([split], 9000 * MB, gpu).terms[2].num_bytes for gpu in ("cuda:0", "cuda:1")]
    assert caches == [3 * MB, 2 * MB]
    assert fit([split], {"cuda:0": 9000 * MB, "cuda:1": 9000 * MB, "cpu": 9000 * MB}).verdict is Verdict.FITS


def test_an_engine_on_a_gpu_needs_ram_too() -> None:
    away = on_gpu(ESTIMATE, cuda_0=WeightKinds(plain=60 * MB), cpu=WeightKinds(plain=40 * MB))
    found = fit([away], {"cuda:0": 9000 * MB, "cpu": 100 * MB})
    assert found.verdict is Verdict.WONT_FIT and found.device == "cpu"
    assert found.terms[0].num_bytes == 40 * MB and away.resident_bytes is None
    assert fit([away], {"cuda:0": 9000 * MB, "cpu": 9000 * MB}).device == "cuda:0"


def test_what_is_on_disk_takes_no_ram() -> None:
    away = replace(ESTIMATE, by_device={"cpu": WeightKinds(plain=30 * MB), "disk": WeightKinds(plain=70 * MB)})
    assert fit([away], {"cpu": 9000 * MB}).terms[0].num_bytes == 30 * MB
    assert away.weight_bytes - away.ram_weight_bytes == 70 * MB


def test_several_at_once_load_one_after_another_and_write_together() -> None:
    one, both = fit_in_ram([ESTIMATE], 10_000 * MB), fit_in_ram([ESTIMATE, ESTIMATE], 10_000 * MB)
    assert one.needed_bytes == (100 + 50 + 90) * MB
    assert both.needed_bytes == 2 * (100 + 50) * MB + 90 * MB
    long = replace(ESTIMATE, prompt_extra_bytes=500 * MB)
    assert fit_in_ram([long, long], 10_000 * MB).needed_bytes == 2 * (100 + 50 + 5 + 20 + 500) * MB


def test_what_is_unknown_among_several_hides_no_lack_of_room() -> None:
    assert fit_in_ram([ESTIMATE, None], 10_000 * MB).verdict is Verdict.UNKNOWN
    assert fit_in_ram([ESTIMATE, None], 100 * MB).verdict is Verdict.WONT_FIT
    broken = Estimate(precision="own", problem=ErrorInfo(ErrorCode.BAD_PRECISION, "No.", "Change it."))
    assert fit_in_ram([ESTIMATE, broken], 10_000 * MB).verdict is Verdict.FITS
    assert fit_in_ram([], 10_000 * MB).verdict is Verdict.UNKNOWN


def test_scoring_a_text_can_be_the_worst_moment() -> None:
    scored = replace(ESTIMATE, scoring_extra_bytes=300 * MB)
    assert fit_in_ram([scored], 400 * MB).verdict is Verdict.FITS
    with_it = fit_in_ram([scored], 400 * MB, scores=True)
    assert with_it.verdict is Verdict.WONT_FIT
    assert with_it.needed_bytes == (100 + 50 + 20 + 300) * MB  # by then the text's cache is freed
    assert with_it.terms[-1].label == "for a moment, while a text is scored"
    assert fit_in_ram([ESTIMATE], 400 * MB, scores=True) == fit_in_ram([ESTIMATE], 400 * MB)
    on_gpu = replace(scored, by_device={"cuda:0": WeightKinds(plain=30 * MB)})
    needed = fit([on_gpu], {"cuda:0": 9000 * MB, "cpu": 9000 * MB}, scores=True).needed_bytes
    assert needed == (30 + 20 + 300) * MB + CONTEXT_BYTES
