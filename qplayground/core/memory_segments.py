"""What a run's memory is made of, predicted and measured: in RAM, and on the GPUs together."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from qplayground.core.estimate import WeightKinds
from qplayground.core.fit import CONTEXT_BYTES
from qplayground.core.placement import CPU, is_cuda, is_gpu
from qplayground.core.results import MemoryFigures
from qplayground.core.units import bytes_text

KINDS = ("quantized", "scales", "plain", "buffers")
_KIND_NAMES = {
    "quantized": "quantized weights",
    "scales": "their scales and tables",
    "plain": "weights left alone",
    "buffers": "buffers",
}


class Segment(NamedTuple):
    """One part of a bar; `role` says how it is filled: a kind of weights, `runtime`, `beside` or `unexplained`."""

    name: str
    role: str
    num_bytes: int


class Place(NamedTuple):
    """Where memory is: how its bars are made of a run's figures, and what is written beside them."""

    label: str
    predicted: Callable[[MemoryFigures], list[Segment]]
    measured: Callable[[MemoryFigures], list[Segment]]
    peak: Callable[[MemoryFigures], int | None]
    caption: Callable[[MemoryFigures], str]


def _predicted_in_ram(memory: MemoryFigures) -> list[Segment]:
    """What was reckoned before a weight was read; empty where it was not."""
    estimate = memory.predicted
    if estimate is None or estimate.resident_bytes is None or _was_counted_in_vram(memory):
        return []
    return [
        Segment("libraries", "runtime", estimate.runtime_bytes or 0),
        *_kinds(estimate.by_device.get(CPU, WeightKinds()) if estimate.by_device else estimate.by_kind),
        Segment("KV cache", "beside", estimate.kv_cache_bytes or 0),
        Segment("working memory", "beside", estimate.working_bytes),
    ]


def _measured_in_ram(memory: MemoryFigures) -> list[Segment]:
    """The resident memory after loading, then after the run: what tensors account for, and what they do not."""
    if memory.resident_bytes is None:
        return []
    found = [Segment("libraries", "runtime", memory.runtime_bytes or 0)]
    found += _kinds(memory.ram_by_kind) if memory.ram_by_kind.total else []
    if memory.peak_resident_bytes is not None and not _was_counted_in_vram(memory):
        found += _cache(memory)
    return _fitting(found, memory.resident_bytes)


def _caption_of_ram(memory: MemoryFigures) -> str:
    predicted = None if memory.predicted is None else memory.predicted.resident_bytes
    shown = bytes_text(memory.resident_bytes)
    return shown if predicted is None or _was_counted_in_vram(memory) else f"{shown}, predicted {bytes_text(predicted)}"


def _predicted_in_vram(memory: MemoryFigures) -> list[Segment]:
    estimate = memory.predicted
    if estimate is None or not estimate.gpus:
        return []
    return [
        Segment(
            "CUDA's own context, roughly",
            "runtime",
            CONTEXT_BYTES * sum(is_cuda(gpu) for gpu in estimate.gpus),
        ),
        *_kinds(_on_gpus(estimate.by_device)),
        Segment("KV cache", "beside", estimate.kv_cache_bytes or 0),
        Segment("working memory", "beside", estimate.working_bytes),
    ]


def _measured_in_vram(memory: MemoryFigures) -> list[Segment]:
    """What the driver counts, else what torch has: CUDA's own, tensors, what torch keeps for later, and the rest."""
    allocated, reserved = memory.vram_allocated_bytes, memory.vram_reserved_bytes
    if allocated is None:
        return []
    kept = max(0, (reserved or allocated) - allocated)
    context = memory.vram_context_bytes or 0
    found = [
        Segment("CUDA's own context", "runtime", context),
        *_kinds(_on_gpus(memory.by_device)),
        *(_cache(memory) if reserved is not None else []),
        Segment("kept by torch for later", "beside", kept),
    ]
    return _fitting(found, context + allocated + kept)


def _caption_of_vram(memory: MemoryFigures) -> str:
    total = sum(segment.num_bytes for segment in _measured_in_vram(memory))
    predicted = sum(segment.num_bytes for segment in _predicted_in_vram(memory))
    unknown = "" if memory.vram_context_bytes is not None or memory.vram_reserved_bytes is None else " and CUDA's own"
    return f"{bytes_text(total)}{unknown}, predicted {bytes_text(predicted)}" if predicted else bytes_text(total)


def _cache(memory: MemoryFigures) -> list[Segment]:
    cache = None if memory.predicted is None else memory.predicted.kv_cache_bytes
    return [Segment("KV cache, as predicted", "beside", cache)] if cache else []


def _fitting(found: Iterable[Segment], total: int) -> list[Segment]:
    """As much of each as there is room for, and what is left: what was swapped out, or given back, is not there."""
    left, fitting = total, []
    for segment in found:
        fitting.append(segment._replace(num_bytes=min(segment.num_bytes, left)))
        left -= fitting[-1].num_bytes
    return [*fitting, Segment("unexplained", "unexplained", left)]


def _kinds(kinds: WeightKinds) -> list[Segment]:
    return [Segment(_KIND_NAMES[kind], kind, getattr(kinds, kind)) for kind in KINDS]


def _on_gpus(by_device: dict[str, WeightKinds]) -> WeightKinds:
    return sum((kinds for device, kinds in by_device.items() if is_gpu(device)), WeightKinds())


def _was_counted_in_vram(memory: MemoryFigures) -> bool:
    """As torch does on NVIDIA's GPUs; Apple's have no memory of their own."""
    return memory.vram_allocated_bytes is not None


RAM = Place("RAM, MB", _predicted_in_ram, _measured_in_ram, lambda memory: memory.peak_resident_bytes, _caption_of_ram)
VRAM = Place("VRAM, MB", _predicted_in_vram, _measured_in_vram, lambda memory: None, _caption_of_vram)
