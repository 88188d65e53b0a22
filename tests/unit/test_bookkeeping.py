"""What an engine said, written into a run."""

from qplayground.core.baseline import refresh_divergence
from qplayground.core.memory import ProcessMemory
from qplayground.core.messages import Generated
from qplayground.runtime import bookkeeping
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
        bookkeeping.take_generated(run, generated(decode), repeated=True)
    before = run.speed
    bookkeeping.take_generated(run, generated(None, 9.0, "cancelled"), repeated=True, counts=False)
    assert run.speed == before
    assert run.speed.decode_tokens_per_s == 11.0
    assert run.speed.samples is not None and run.speed.samples.values == (10.0, 30.0, 11.0)
    assert run.finish_reason == "cancelled"


def test_a_usual_run_has_no_samples() -> None:
    run = done()
    bookkeeping.take_generated(run, generated(10.0))
    assert (run.speed.decode_tokens_per_s, run.speed.samples) == (10.0, None)
    assert run.memory.resident_bytes == 15


def test_divergence_waits_for_the_baseline() -> None:
    both = comparison(done(), done("nf4"))
    both.runs[0].state = type(both.runs[0].state).GENERATING
    refresh_divergence(both)
    assert [run.divergence for run in both.runs] == [None, None]
