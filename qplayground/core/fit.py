"""Whether a precision fits into the memory that can be had now, and the sum that says so."""

from collections.abc import Mapping
from typing import NamedTuple

from qplayground.core.estimate import Estimate, Verdict
from qplayground.core.units import bytes_text

_CACHE = "KV cache"
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


def together(fits: Mapping[str, Fit]) -> Fit:
    """Of all of them at once, each of which was judged against the same memory."""
    terms = tuple(Term(name, fit.needed_bytes) for name, fit in fits.items() if fit.needed_bytes is not None)
    available = next((fit.available_bytes for fit in fits.values()), None)
    if available is None or len(terms) < len(fits):
        return Fit(Verdict.UNKNOWN)
    return Fit(_verdict(sum(term.num_bytes for term in terms), available), terms, available)


def fit_in_ram(estimate: Estimate | None, available_bytes: int | None) -> Fit:
    """Of an engine on the processor, at its worst moment: while it loads, or while it writes.

    Pages of libraries that other processes hold anyway need no room.
    """
    if estimate is None or estimate.runtime_bytes is None or estimate.problem is not None or available_bytes is None:
        return Fit(Verdict.UNKNOWN)
    own = max(0, estimate.runtime_bytes - estimate.shared_bytes)
    terms = [Term("weights", estimate.weight_bytes), Term("libraries, what is not shared", own)]
    writing = (estimate.kv_cache_bytes or 0) + estimate.working_bytes
    if estimate.load_extra_bytes > writing:
        terms.append(Term("while loading, for a moment", estimate.load_extra_bytes))
    else:
        terms += [Term(_CACHE, estimate.kv_cache_bytes or 0), Term("working memory", estimate.working_bytes)]
    return _fit(estimate, tuple(terms), available_bytes)


def fit_in_vram(estimate: Estimate | None, available_bytes: int | None) -> Fit:
    """Of an engine on a GPU."""
    if estimate is None or estimate.problem is not None or not estimate.weight_bytes or available_bytes is None:
        return Fit(Verdict.UNKNOWN)
    terms = (
        Term("weights", estimate.weight_bytes),
        Term(_CACHE, estimate.kv_cache_bytes or 0),
        Term("working memory", estimate.working_bytes),
    )
    return _fit(estimate, terms, available_bytes)


def _fit(estimate: Estimate, terms: tuple[Term, ...], available_bytes: int) -> Fit:
    """What is too large without its cache is so with it; whether the rest fits is not known without."""
    verdict = _verdict(sum(term.num_bytes for term in terms), available_bytes)
    if estimate.kv_cache_bytes is not None:
        return Fit(verdict, terms, available_bytes)
    known = tuple(term for term in terms if term.label != _CACHE)
    return Fit(verdict, known, available_bytes) if verdict is Verdict.WONT_FIT else Fit(Verdict.UNKNOWN)


def _verdict(needed: int, available: int) -> Verdict:
    if needed > available:
        return Verdict.WONT_FIT
    return Verdict.TIGHT if available - needed < TIGHT_SHARE * needed else Verdict.FITS
