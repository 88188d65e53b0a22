"""Writes an engine's events into a run. Called only by the session, which owns the runs."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from qplayground.core.capabilities import Capability, refusal
from qplayground.core.comparison.results import LoadFigures, Run, SpeedFigures
from qplayground.core.measures.quality import SCORING_STOPPED, Quality
from qplayground.core.measures.samples import Samples
from qplayground.core.memory.estimate import Estimate
from qplayground.core.memory.process_memory import ProcessMemory, VramFigures
from qplayground.core.messages.events import Generated, Loaded, Scored, TokensGenerated

_Number = TypeVar("_Number", int, float)


def clear(run: Run) -> None:
    """Reset a run to its state before the first result."""
    fresh = Run(id=run.id, model=run.model, precision=run.precision, engine=run.engine, state=run.state)
    for name in fresh.__struct_fields__:
        setattr(run, name, getattr(fresh, name))


def clear_text(run: Run) -> None:
    """Clear the run's text but keep its figures, before it generates again."""
    run.text = ""
    run.token_ids = []
    run.tokens = []
    run.finish_reason = None
    run.divergence = None


def record_tokens(run: Run, event: TokensGenerated) -> None:
    """Add tokens to the run and its text."""
    run.token_ids += (token.id for token in event.tokens)
    run.tokens += event.tokens
    run.text += "".join(token.text for token in event.tokens)


def record_loaded(
    run: Run, event: Loaded, *, repeated: bool = False, kept: bool = False, shown: Estimate | None = None
) -> None:
    """Record a load. `repeated`: one of several rounds. `kept`: loaded by an earlier comparison.

    `shown`: the estimate that the user saw before the load. If it is for this text, it becomes the prediction.
    """
    samples = _with(run.load.samples, event.seconds) if repeated else None
    run.load = LoadFigures(
        seconds=samples.median if samples is not None else event.seconds,
        other_cpus=_most(run.load.other_cpus, event.other_cpus),
        disk_share=_most(run.load.disk_share, event.disk_share),
        kept=kept,
        samples=samples,
    )
    run.device_map = event.device_map
    if not run.requested_map and event.estimate is not None:
        run.requested_map = event.estimate.device_map
    run.caution = "" if event.estimate is None else event.estimate.caution
    run.skips, run.attention = event.skips, event.attention
    predicted = _predicted(shown, event.estimate, kept=kept)
    run.memory = msgspec.structs.replace(
        run.memory,
        weight_bytes=event.weight_bytes,
        by_kind=event.by_kind,
        by_device=event.by_device,
        by_module=event.by_module,
        predicted=predicted,
        predicted_weight_bytes=None if predicted is None else predicted.weight_bytes,
        predicted_resident_bytes=None if predicted is None else predicted.resident_bytes,
        unforeseen=list(event.unforeseen),
        **_of_process(event.memory),
        runtime_bytes=None if event.runtime_memory is None else event.runtime_memory.resident_bytes,
        vram=event.vram,
        vram_allocated_bytes=_sum(event.vram, "allocated_bytes"),
        vram_load_peak_bytes=_sum(event.vram, "peak_bytes"),
        vram_peak_bytes=_sum(event.vram, "peak_bytes"),
    )


def record_generated(
    run: Run,
    event: Generated,
    *,
    repeated: bool = False,
    counts: bool = True,
    driver: Mapping[str, int] | None = None,
) -> None:
    """Record a finished text. `repeated`: one of several rounds, whose figures are medians.

    `driver`: the driver's last count of the engine's bytes, by GPU. If `counts` is false, the round was stopped: the
    text is stored, and the figures of the rounds before stay.
    """
    run.text = event.text
    run.finish_reason = event.finish_reason
    if counts:
        _record_speed(run, event, repeated)
    elif run.speed.ttft_samples is not None:
        return
    vram = {
        gpu: msgspec.structs.replace(figures, driver_bytes=(driver or {}).get(gpu))
        for gpu, figures in event.vram.items()
    }
    run.memory = msgspec.structs.replace(
        run.memory,
        weight_bytes=event.weight_bytes,
        **_of_process(event.memory),
        peak_resident_bytes=_most(event.peak_resident_bytes, run.memory.peak_resident_bytes),
        phases=list(event.phases),
        vram=vram,
        vram_allocated_bytes=_sum(vram, "allocated_bytes"),
        vram_reserved_bytes=_sum(vram, "reserved_bytes"),
        vram_peak_bytes=_most(_sum(vram, "peak_bytes"), run.memory.vram_load_peak_bytes),
        vram_driver_bytes=_sum(vram, "driver_bytes"),
        vram_context_bytes=_sum(vram, "context_bytes"),
    )


def record_scored(run: Run, event: Scored) -> None:
    """Record the result of scoring. Its memory is a phase of its own, outside the run's peak."""
    run.quality = event.quality
    run.scored = event.tokens
    run.layer_errors = list(event.layers)
    if event.phases:
        run.memory = msgspec.structs.replace(run.memory, phases=list(event.phases))


def note_unscored(run: Run, text: str) -> None:
    """Record why the text of that name was not scored: the engine cannot, or it was stopped."""
    reason = run.lacks.get(Capability.SCORING)
    run.quality = Quality(text=text, note=SCORING_STOPPED if reason is None else refusal(reason))


def _record_speed(run: Run, event: Generated, repeated: bool) -> None:
    before = run.speed if repeated else SpeedFigures()
    decode = _with(before.samples, event.decode_tokens_per_s) if repeated else None
    ttft = _with(before.ttft_samples, event.ttft_s) if repeated else None
    prefill = _with(before.prefill_samples, event.prefill_tokens_per_s) if repeated else None
    run.speed = SpeedFigures(
        ttft_s=ttft.median if ttft is not None else event.ttft_s,
        prefill_tokens_per_s=prefill.median if prefill is not None else event.prefill_tokens_per_s,
        decode_tokens_per_s=decode.median if decode is not None else event.decode_tokens_per_s,
        other_cpus=_most(before.other_cpus, event.other_cpus),
        held_s=event.held_s,
        samples=decode,
        ttft_samples=ttft,
        prefill_samples=prefill,
    )


def _of_process(memory: ProcessMemory | None) -> dict[str, int | None]:
    """The memory fields of the engine's process; None if the engine has no process to measure."""
    return {name: getattr(memory, name, None) for name in ("resident_bytes", "anonymous_bytes", "file_bytes")}


def _sum(vram: Mapping[str, VramFigures], name: str) -> int | None:
    """The sum over all GPUs; None if one is unknown or there is none."""
    found = [getattr(figures, name) for figures in vram.values()]
    return sum(found) if found and None not in found else None


def _with(samples: Samples | None, value: float | None) -> Samples | None:
    if value is None:
        return samples
    return Samples.of((*(samples.values if samples is not None else ()), value))


def _most(one: _Number | None, other: _Number | None) -> _Number | None:
    """The larger of the known values; None if both are unknown."""
    known = [value for value in (one, other) if value is not None]
    return max(known, default=None)


def _predicted(shown: Estimate | None, estimated: Estimate | None, *, kept: bool) -> Estimate | None:
    """The estimate that was shown, else the engine's own from before its first weight.

    A kept engine estimated another text, so the parts that depend on its length are dropped.
    """
    if shown is not None and shown.resident_bytes is not None:
        return shown
    return estimated if estimated is None or not kept else estimated.without_text
