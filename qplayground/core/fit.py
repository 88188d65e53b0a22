"""Whether a precision fits into the memory that can be had now, and the sum that says so."""

from collections.abc import Sequence
from typing import NamedTuple

from qplayground.core.estimate import Estimate, Verdict
from qplayground.core.units import bytes_text

TIGHT_SHARE = 0.1
"""Less than this share of what is needed left over is tight: other programs grow, and an estimate is one."""


class Term(NamedTuple):
    """One part of what is needed."""

    label: str
    num_bytes: int


class Fit(NamedTuple):
    """`needed_bytes` is the sum of the `terms`; both it and what is available can be unknown."""

    verdict: Verdict
    terms: tuple[Term, ...] = ()
    available_bytes: int | None = None

    @property
    def needed_bytes(self) -> int | None:
        return sum(term.num_bytes for term in self.terms) if self.terms else None

    def __str__(self) -> str:
        """The sum, a line a term."""
        if self.needed_bytes is None or self.available_bytes is None:
            return "What it needs cannot be known."
        lines = [f"{bytes_text(term.num_bytes)}  {term.label}" for term in self.terms]
        lines += [f"= {bytes_text(self.needed_bytes)} needed, {bytes_text(self.available_bytes)} available"]
        return "\n".join(lines)


def fit_in_ram(estimates: Sequence[Estimate | None], available_bytes: int | None) -> Fit:
    """Of engines on the processor, all of them at once, at their worst moment: while one loads, or while all write.

    Pages of libraries that other processes hold anyway need no room. What cannot be loaded at all needs none either.
    """
    known = [estimate for estimate in _loadable(estimates) if estimate.runtime_bytes is not None]
    own = sum(max(0, (estimate.runtime_bytes or 0) - estimate.shared_bytes) for estimate in known)
    terms = [Term("weights", _total_weights(known)), Term("libraries, what is not shared", own)]
    writing = sum(_writing_bytes(estimate) for estimate in known)
    loading = max((estimate.load_extra_bytes for estimate in known), default=0)
    if loading > writing:
        terms.append(Term("while loading, for a moment", loading))
    else:
        terms += _writing_terms(known)
    return _fit(estimates, known, terms, available_bytes)


def fit_in_vram(estimates: Sequence[Estimate | None], available_bytes: int | None) -> Fit:
    """Of engines on one GPU, all of them at once."""
    known = [estimate for estimate in _loadable(estimates) if estimate.weight_bytes]
    return _fit(estimates, known, [Term("weights", _total_weights(known)), *_writing_terms(known)], available_bytes)


def _loadable(estimates: Sequence[Estimate | None]) -> list[Estimate]:
    return [estimate for estimate in estimates if estimate is not None and estimate.problem is None]


def _total_weights(estimates: Sequence[Estimate]) -> int:
    return sum(estimate.weight_bytes for estimate in estimates)


def _writing_bytes(estimate: Estimate) -> int:
    return (estimate.kv_cache_bytes or 0) + estimate.working_bytes + estimate.prompt_extra_bytes


def _writing_terms(estimates: Sequence[Estimate]) -> list[Term]:
    terms = [
        Term("KV cache", sum(estimate.kv_cache_bytes or 0 for estimate in estimates)),
        Term("working memory", sum(estimate.working_bytes for estimate in estimates)),
        Term("while the prompt is read, for a moment", sum(estimate.prompt_extra_bytes for estimate in estimates)),
    ]
    return [term for term in terms if term.num_bytes]


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
