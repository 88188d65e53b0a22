"""Whether a precision fits into the memory that can be had now, and the sum that says so."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from qplayground.core.memory.estimate import Estimate, Verdict
from qplayground.core.placement import CPU, devices_in_order, is_cuda
from qplayground.core.units import bytes_text

TIGHT_SHARE = 0.1
"""Less than this share of what is needed left over is tight: other programs grow, and an estimate is one."""

CONTEXT_BYTES = 500_000_000
"""What CUDA takes of a GPU for each process by itself: 0.3 to 0.6 GB by all accounts, not measured."""
_LOADING = "while loading, for a moment"
_WORST_FIRST = (Verdict.WONT_FIT, Verdict.UNKNOWN, Verdict.TIGHT, Verdict.FITS)


class Term(NamedTuple):
    """One part of what is needed."""

    label: str
    num_bytes: int


class Fit(NamedTuple):
    """On one device. `needed_bytes` is the sum of the `terms`; both it and what is available can be unknown."""

    verdict: Verdict
    terms: tuple[Term, ...] = ()
    available_bytes: int | None = None
    device: str = CPU

    @property
    def needed_bytes(self) -> int | None:
        return sum(term.num_bytes for term in self.terms) if self.terms else None

    def __str__(self) -> str:
        """The sum, a line a term."""
        if self.needed_bytes is None or self.available_bytes is None:
            return "What it needs is not known."
        lines = [f"{bytes_text(term.num_bytes)}  {term.label}" for term in self.terms]
        where = "" if self.device == CPU else f" on {self.device}"
        lines += [f"= {bytes_text(self.needed_bytes)} needed, {bytes_text(self.available_bytes)} available{where}"]
        return "\n".join(lines)


def fit(estimates: Sequence[Estimate | None], available: Mapping[str, int], *, scores: bool = False) -> Fit:
    """Of engines at once, where it is the tightest of all the devices that they use. `available`: bytes by device.
    `scores`: whether they score a text once they have written theirs.
    """
    known = _loadable(estimates)
    gpus = devices_in_order(device for estimate in known for device in estimate.gpus)
    fits = [fit_in_vram(estimates, available.get(gpu), gpu, scores=scores) for gpu in gpus]
    ram = fit_in_ram(estimates, available.get(CPU), scores=scores)
    if not gpus or ram.verdict is Verdict.WONT_FIT:  # beside a GPU what is needed in RAM is known to be more, at least
        fits.append(ram)
    return min(fits, key=lambda fit: _WORST_FIRST.index(fit.verdict))


def fit_in_ram(estimates: Sequence[Estimate | None], available_bytes: int | None, *, scores: bool = False) -> Fit:
    """Of engines on the processor, all of them at once, at their worst moment: while one loads, or while all write, or
    score.

    Pages of libraries that other processes hold anyway need no room. What cannot be loaded at all needs none either.
    Of an engine on a GPU it is what is known of it, and no less.
    """
    known = _loadable(estimates)
    own = sum(max(0, _runtime_bytes(estimate) - estimate.shared_bytes) for estimate in known)
    weights = sum(estimate.ram_weight_bytes for estimate in known)
    terms = [Term("weights", weights), Term("libraries, what is not shared", own)]
    loading = [Term(_LOADING, max((estimate.load_extra_bytes for estimate in known), default=0))]
    here = [estimate for estimate in known if not estimate.gpus]
    writing = _writing_terms(here, sum(estimate.kv_cache_bytes or 0 for estimate in here))
    terms += _worst(loading, writing, _scoring_terms(here) if scores else ())
    measured = [estimate for estimate in known if estimate.runtime_bytes is not None]
    found = _fit(estimates, measured, terms, available_bytes)
    needed = sum(term.num_bytes for term in terms)
    if found.verdict is Verdict.UNKNOWN and known and available_bytes is not None and needed > available_bytes:
        return Fit(Verdict.WONT_FIT, tuple(terms), available_bytes)
    return found


def fit_in_vram(
    estimates: Sequence[Estimate | None], available_bytes: int | None, gpu: str = "cuda:0", *, scores: bool = False
) -> Fit:
    """Of engines on that GPU, all of them at once, at their worst moment. The KV cache goes with the weights."""
    known = [estimate for estimate in _loadable(estimates) if gpu in estimate.gpus]
    terms = [
        Term("weights", sum(estimate.by_device[gpu].total for estimate in known)),
        Term("CUDA's own context, roughly", CONTEXT_BYTES * len(known) if is_cuda(gpu) else 0),
    ]
    loading = [Term(_LOADING, max((each.vram_load_extra_bytes for each in known), default=0))]
    writing = _writing_terms(known, sum(_cache_on(estimate, gpu) for estimate in known))
    worst = _worst(loading, writing, _scoring_terms(known) if scores else ())
    found = _fit(estimates, known, [*terms, *worst], available_bytes)
    return found._replace(device=gpu)


def _runtime_bytes(estimate: Estimate) -> int:
    return estimate.least_runtime_bytes if estimate.runtime_bytes is None else estimate.runtime_bytes


def _cache_on(estimate: Estimate, gpu: str) -> int:
    """Its share of the KV cache: each layer's is where the layer computes."""
    computing = sum(estimate.by_device[each].total for each in estimate.gpus)
    return round((estimate.kv_cache_bytes or 0) * estimate.by_device[gpu].total / max(1, computing))


def _loadable(estimates: Sequence[Estimate | None]) -> list[Estimate]:
    return [estimate for estimate in estimates if estimate is not None and estimate.problem is None]


def _writing_terms(estimates: Sequence[Estimate], cache_bytes: int) -> list[Term]:
    return [
        Term("KV cache", cache_bytes),
        Term("working memory", sum(estimate.working_bytes for estimate in estimates)),
        Term("for a moment, while tokens are computed", sum(estimate.prompt_extra_bytes for estimate in estimates)),
    ]


def _scoring_terms(estimates: Sequence[Estimate]) -> list[Term]:
    """The text is written by then, and its cache gone."""
    return [
        Term("working memory", sum(estimate.working_bytes for estimate in estimates)),
        Term("for a moment, while a text is scored", sum(estimate.scoring_extra_bytes for estimate in estimates)),
    ]


def _worst(*moments: Sequence[Term]) -> list[Term]:
    """The moment that needs the most, without what it does not need."""
    worst = max(moments, key=lambda terms: sum(term.num_bytes for term in terms))
    return [term for term in worst if term.num_bytes]


def _fit(
    estimates: Sequence[Estimate | None], known: Sequence[Estimate], terms: Sequence[Term], available_bytes: int | None
) -> Fit:
    """What is too large without what is unknown is so with it; whether the rest fits is not known."""
    if available_bytes is None or not known:
        return Fit(Verdict.UNKNOWN)
    verdict = _verdict(sum(term.num_bytes for term in terms), available_bytes)
    hopeless = [estimate for estimate in estimates if estimate is not None and estimate.problem is not None]
    whole = len(known) + len(hopeless) == len(estimates)
    if verdict is not Verdict.WONT_FIT and not (whole and all(each.kv_cache_bytes is not None for each in known)):
        return Fit(Verdict.UNKNOWN)
    return Fit(verdict, tuple(terms), available_bytes)


def _verdict(needed: int, available: int) -> Verdict:
    if needed > available:
        return Verdict.WONT_FIT
    return Verdict.TIGHT if available - needed < TIGHT_SHARE * needed else Verdict.FITS
