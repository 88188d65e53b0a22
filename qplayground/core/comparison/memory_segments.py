"""What a run's memory is made of, predicted and measured: in RAM, and on the GPUs together."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from qplayground.core.comparison.results import MemoryFigures
from qplayground.core.memory.estimate import WeightKinds
from qplayground.core.memory.fit import CONTEXT_BYTES
from qplayground.core.placement import CPU, is_cuda, is_gpu
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
    """Where memory is: how its bars are made of a run's figures, and what is written beside them.

    `accounted` are the parts that are known of the `total`, which is None where nothing was measured. `beyond` says
    what the total lacks.
    """

    label: str
    predicted: Callable[[MemoryFigures], list[Segment]]
    accounted: Callable[[MemoryFigures], list[Segment]]
    total: Callable[[MemoryFigures], int | None]
    peak: Callable[[MemoryFigures], int | None] = lambda memory: None
    beyond: Callable[[MemoryFigures], str] = lambda memory: ""

    @property
    def name(self) -> str:
        """Without the unit."""
        return self.label.partition(",")[0]

    def measured(self, memory: MemoryFigures) -> list[Segment]:
        """As much of each part as there is room for, and what is left: what was swapped out, or given back, is not
        there. What had no room says so.
        """
        left, fitting = self.total(memory), []
        if left is None:
            return []
        for segment in self.accounted(memory):
            there = min(segment.num_bytes, left)
            name = segment.name
            if there < segment.num_bytes:
                name = f"{name}, of {bytes_text(segment.num_bytes)} that are accounted for"
            fitting.append(segment._replace(name=name, num_bytes=there))
            left -= there
        return [*fitting, Segment("unexplained", "unexplained", left)]

    def excess(self, memory: MemoryFigures) -> int:
        """By how many bytes the parts come to more than was measured."""
        total = self.total(memory)
        return 0 if total is None else max(0, _sum(self.accounted(memory)) - total)

    def caption(self, memory: MemoryFigures) -> str:
        """What was measured, and what was predicted if it was."""
        predicted, excess = _sum(self.predicted(memory)), self.excess(memory)
        text = f"{bytes_text(self.total(memory))}{self.beyond(memory)}"
        text += f", predicted {bytes_text(predicted)}" if predicted else ""
        return text + (f"\nits parts: {bytes_text(excess)} more" if excess else "")


def _sum(segments: Iterable[Segment]) -> int:
    return sum(segment.num_bytes for segment in segments)


def _predicted_in_ram(memory: MemoryFigures) -> list[Segment]:
    """What was estimated before a weight was read; empty where it was not."""
    estimate = memory.predicted
    if estimate is None or estimate.resident_bytes is None or _was_counted_in_vram(memory):
        return []
    return [
        Segment("libraries", "runtime", estimate.runtime_bytes or 0),
        *_kinds(estimate.by_device.get(CPU, WeightKinds()) if estimate.by_device else estimate.by_kind),
        Segment("KV cache", "beside", estimate.kv_cache_bytes or 0),
        Segment("working memory", "beside", estimate.working_bytes),
    ]


def _accounted_in_ram(memory: MemoryFigures) -> list[Segment]:
    """Of the resident memory after loading, then after the run, what tensors account for."""
    found = [Segment("libraries", "runtime", memory.runtime_bytes or 0)]
    found += _kinds(memory.ram_by_kind) if memory.ram_by_kind.total else []
    if memory.peak_resident_bytes is not None and not _was_counted_in_vram(memory):
        found += _cache(memory)
    return found


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


def _accounted_in_vram(memory: MemoryFigures) -> list[Segment]:
    """CUDA's own, tensors, and what torch keeps for later."""
    return [
        Segment("CUDA's own context", "runtime", memory.vram_context_bytes or 0),
        *_kinds(_on_gpus(memory.by_device)),
        *(_cache(memory) if memory.vram_reserved_bytes is not None else []),
        Segment("kept by torch for later", "beside", _kept_by_torch(memory)),
    ]


def _kept_by_torch(memory: MemoryFigures) -> int:
    allocated = memory.vram_allocated_bytes or 0
    return max(0, (memory.vram_reserved_bytes or allocated) - allocated)


def _vram_total(memory: MemoryFigures) -> int | None:
    """What the driver counts, else what torch has."""
    if memory.vram_allocated_bytes is None:
        return None
    return (memory.vram_context_bytes or 0) + memory.vram_allocated_bytes + _kept_by_torch(memory)


def _beyond_torch(memory: MemoryFigures) -> str:
    return "" if memory.vram_context_bytes is not None or memory.vram_reserved_bytes is None else " and CUDA's own"


def _cache(memory: MemoryFigures) -> list[Segment]:
    cache = None if memory.predicted is None else memory.predicted.kv_cache_bytes
    return [Segment("KV cache, as predicted", "beside", cache)] if cache else []


def _kinds(kinds: WeightKinds) -> list[Segment]:
    return [Segment(_KIND_NAMES[kind], kind, getattr(kinds, kind)) for kind in KINDS]


def _on_gpus(by_device: dict[str, WeightKinds]) -> WeightKinds:
    return sum((kinds for device, kinds in by_device.items() if is_gpu(device)), WeightKinds())


def _was_counted_in_vram(memory: MemoryFigures) -> bool:
    """As torch does on NVIDIA's GPUs; Apple's have no memory of their own."""
    return memory.vram_allocated_bytes is not None


RAM = Place(
    "RAM, MB",
    _predicted_in_ram,
    _accounted_in_ram,
    lambda memory: memory.resident_bytes,
    lambda memory: memory.peak_resident_bytes,
)
VRAM = Place("VRAM, MB", _predicted_in_vram, _accounted_in_vram, _vram_total, beyond=_beyond_torch)


def memory_sentences(memory: MemoryFigures) -> tuple[str, ...]:
    """What is to be said of the measured memory: of what kinds of pages it is, and where its parts come to more."""
    excesses = ((place.name, place.excess(memory)) for place in (RAM, VRAM))
    found = [_pages_sentence(memory), *(_excess_sentence(where, excess) for where, excess in excesses)]
    return tuple(filter(None, found))


def _pages_sentence(memory: MemoryFigures) -> str:
    """Empty where the system does not tell them apart."""
    if memory.resident_bytes is None or memory.anonymous_bytes is None or not memory.file_bytes:
        return ""
    resident, anonymous, files = map(bytes_text, (memory.resident_bytes, memory.anonymous_bytes, memory.file_bytes))
    return (
        f"Of its {resident} of RAM, {anonymous} are anonymous, in RAM alone, and {files} are pages of mapped files, "
        "which the system can drop."
    )


def _excess_sentence(where: str, excess: int) -> str:
    if not excess:
        return ""
    return (
        f"Its known parts come to {bytes_text(excess)} more than was measured in {where}. Some of it was swapped "
        "out or given back, or is less than estimated."
    )
