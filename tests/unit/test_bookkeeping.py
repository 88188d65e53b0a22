"""An engine's events, recorded in a run."""

import msgspec

from qplayground.core.comparison.baseline import refresh_divergence
from qplayground.core.memory.estimate import Estimate
from qplayground.core.memory.process_memory import ProcessMemory, VramFigures
from qplayground.core.messages.events import Generated, Loaded
from qplayground.runtime.comparison import bookkeeping
from tests.comparisons import comparison, done


def generated(decode: float | None, ttft: float = 0.1, reason: str = "length") -> Generated:
    return Generated(
        command_id=1,
        text=" text",
        finish_reason=reason,
        ttft_s=ttft,
        prefill_tokens_per_s=50.0,
        decode_tokens_per_s=decode,
        memory=ProcessMemory(10, 5),
        peak_resident_bytes=20,
        weight_bytes=7,
    )


def test_rounds_add_up_and_a_stopped_one_does_not_count() -> None:
    run = done()
    run.speed = type(run.speed)()
    for decode in (10.0, 30.0, 11.0):
        bookkeeping.record_generated(run, generated(decode), repeated=True)
    before, memory = run.speed, run.memory
    stopped = msgspec.structs.replace(generated(None, 9.0, "cancelled"), memory=ProcessMemory(9, 1), text=" te")
    bookkeeping.record_generated(run, stopped, repeated=True, counts=False)
    assert (run.speed, run.memory, run.text) == (before, memory, " te")
    assert run.speed.decode_tokens_per_s == 11.0
    assert run.speed.samples is not None and run.speed.samples.values == (10.0, 30.0, 11.0)
    assert run.finish_reason == "cancelled"


def test_a_usual_run_has_no_samples() -> None:
    run = done()
    bookkeeping.record_generated(run, generated(10.0))
    assert (run.speed.decode_tokens_per_s, run.speed.samples) == (10.0, None)
    assert run.memory.resident_bytes == 15


def test_a_load_is_held_against_what_was_shown_before_it() -> None:
    shown, estimated = estimate(runtime=100, cache=40), estimate(runtime=109, cache=41)
    run, event = done(), msgspec.structs.replace(load_event({}), estimate=estimated)
    bookkeeping.record_loaded(run, event, shown=shown)
    assert (run.memory.predicted, run.memory.predicted_resident_bytes) == (shown, 140)
    for other in (None, shown.without_text, estimate(runtime=None, cache=40)):  # the last one is on a GPU
        bookkeeping.record_loaded(run, event, shown=other)
        assert (run.memory.predicted, run.memory.predicted_resident_bytes) == (estimated, 150)


def test_a_kept_engine_is_never_held_against_the_text_before() -> None:
    run, event = done(), msgspec.structs.replace(load_event({}), estimate=estimate(runtime=109, cache=4))
    bookkeeping.record_loaded(run, event, kept=True, shown=estimate(runtime=100, cache=4000))
    found = [run.memory.predicted_resident_bytes]
    bookkeeping.record_loaded(run, event, kept=True)
    found += [run.memory.predicted_resident_bytes, run.memory.predicted_weight_bytes]
    assert found == [4100, None, 0]


def estimate(runtime: int | None, cache: int) -> Estimate:
    return Estimate(precision="fp32", runtime_bytes=runtime, kv_cache_bytes=cache)


def test_vram_is_summed_over_gpus_and_cudas_own_share_is_what_the_driver_has_beyond_torch() -> None:
    run = done()
    first = VramFigures(allocated_bytes=100, reserved_bytes=150, peak_bytes=130)
    second = VramFigures(allocated_bytes=10, reserved_bytes=15, peak_bytes=13)
    loaded = msgspec.structs.replace(first, peak_bytes=900)
    bookkeeping.record_loaded(run, load_event({"cuda:0": loaded, "cuda:1": second}))
    assert run.memory.vram_load_peak_bytes == 913
    event = msgspec.structs.replace(generated(10.0), vram={"cuda:0": first, "cuda:1": second})
    bookkeeping.record_generated(run, event, driver={"cuda:0": 450, "cuda:1": 315})
    memory = run.memory
    assert (memory.vram_allocated_bytes, memory.vram_reserved_bytes, memory.vram_peak_bytes) == (110, 165, 913)
    assert (memory.vram_driver_bytes, memory.vram_context_bytes) == (765, 600)
    assert memory.vram["cuda:0"].context_bytes == 300
    bookkeeping.record_generated(run, event, driver={"cuda:0": 450})  # the driver reports only one GPU
    assert run.memory.vram_driver_bytes is None and run.memory.vram_context_bytes is None


def load_event(vram: dict[str, VramFigures]) -> Loaded:
    memory = ProcessMemory(10, 5)
    return Loaded(
        command_id=1,
        seconds=1,
        device_map={},
        weight_bytes=7,
        quantized_modules=0,
        runtime_memory=memory,
        memory=memory,
        vram=vram,
    )


def test_divergence_waits_for_the_baseline() -> None:
    both = comparison(done(), done("nf4"))
    both.runs[0].state = type(both.runs[0].state).GENERATING
    refresh_divergence(both)
    assert [run.divergence for run in both.runs] == [None, None]
