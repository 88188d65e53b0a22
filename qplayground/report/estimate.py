"""What precisions will take in memory, as JSON and as a table."""

import msgspec

from qplayground.core.memory.estimate import Estimate
from qplayground.core.memory.fit import Fit
from qplayground.core.messages.events import MemoryEstimated
from qplayground.core.model import ModelEntry
from qplayground.core.placement import CPU, Placement
from qplayground.core.units import bytes_text
from qplayground.report.columns import aligned

_LOAD_PEAK = (
    "Load peak leaves out the KV cache, which fills later. It includes what quantizing the largest layer takes for a "
    "moment on the processor."
)


def estimate_json(entry: ModelEntry, placement: Placement, answer: MemoryEstimated, fits: dict[str, Fit]) -> bytes:
    """Bytes throughout; null for what cannot be known, and `error` where a precision cannot be loaded at all."""
    rows = [_row(estimate, fits[estimate.precision]) for estimate in answer.estimates]
    shown = {
        "model": entry.id,
        "placement": placement,
        "context_tokens": answer.context_tokens,
        "precisions": rows,
        "tokenizer_error": answer.tokenizer_problem,
    }
    return msgspec.json.format(msgspec.json.encode(shown), indent=2)


def estimate_table(entry: ModelEntry, placement: Placement, answer: MemoryEstimated, fits: dict[str, Fit]) -> str:
    """A line a precision, then what is wrong with those that cannot be loaded, and where weights are unless it is
    simply the device that was asked for, or RAM.
    """
    headings = ("Precision", "Weights", "KV cache", "Load peak", "RAM", "Fits")
    shown = aligned([headings, *(_line(estimate, fits[estimate.precision]) for estimate in answer.estimates)])
    shown += [f"{estimate.precision}: {estimate.problem}" for estimate in answer.estimates if estimate.problem]
    simply = {placement.device if placement.is_single else CPU}
    shown += [
        f"{estimate.precision}: {_places(estimate)}"
        for estimate in answer.estimates
        if estimate.by_device and set(estimate.by_device) != simply
    ]
    shown += [f"{estimate.precision}: {estimate.caution}" for estimate in answer.estimates if estimate.caution]
    shown += dict.fromkeys(f"KV cache unknown: {each.unknown}" for each in answer.estimates if each.unknown)
    if entry.context_tokens is not None and answer.context_tokens > entry.context_tokens:
        shown.append(f"{answer.context_tokens:,} tokens are more than the {entry.context_tokens:,} it was made for.")
    if answer.tokenizer_problem is not None:
        shown.append(f"No text can be written with it. {answer.tokenizer_problem}")
    shown.append(_LOAD_PEAK)
    shown.append(f"RAM is the whole engine's, libraries included, after a text of {answer.context_tokens:,} tokens.")
    return "\n".join(shown)


def _places(estimate: Estimate) -> str:
    held = {"in RAM" if device == CPU else f"on {device}": kinds for device, kinds in estimate.by_device.items()}
    return "weights: " + ", ".join(f"{bytes_text(kinds.total)} {where}" for where, kinds in held.items())


def _row(estimate: Estimate, fit: Fit) -> dict[str, object]:
    known = estimate.problem is None
    return {
        "precision": estimate.precision,
        "weight_bytes": estimate.weight_bytes if known else None,
        "by_kind": estimate.by_kind if known else None,
        "kv_cache_bytes": estimate.kv_cache_bytes,
        "kv_cache_unknown": estimate.unknown or None,
        "working_bytes": estimate.working_bytes if known else None,
        "load_extra_bytes": estimate.load_extra_bytes if known else None,
        "runtime_bytes": estimate.runtime_bytes,
        "shared_bytes": estimate.shared_bytes if known else None,
        "load_peak_bytes": estimate.load_peak_bytes,
        "resident_bytes": estimate.resident_bytes,
        "needed_bytes": fit.needed_bytes,
        "available_bytes": fit.available_bytes,
        "fits": fit.verdict,
        "device_map": estimate.device_map if known else None,
        "by_device": estimate.by_device if known else None,
        "caution": estimate.caution or None,
        "error": estimate.problem,
    }


def _line(estimate: Estimate, fit: Fit) -> tuple[str, ...]:
    if estimate.problem is not None:
        return (estimate.precision, "–", "–", "–", "–", "cannot be loaded")
    figures = (estimate.weight_bytes, estimate.kv_cache_bytes, estimate.load_peak_bytes, estimate.resident_bytes)
    return (estimate.precision, *map(bytes_text, figures), fit.verdict.replace("_", " ").replace("wont", "won't"))
