"""What a reader should know beside the figures: what spoilt them, and what explains them."""

from typing import NamedTuple

from qplayground.core.caveats import caveats, spoilt
from qplayground.core.explanations import why_not_smaller, why_slower
from qplayground.core.metrics import METRICS
from qplayground.core.results import Comparison, Run


class Note(NamedTuple):
    """A sentence about one run or several. `spoils`: some of their figures are not sound."""

    sentence: str
    spoils: bool


def notes_on(comparison: Comparison, run: Run) -> tuple[Note, ...]:
    """Those about one run; the ones that spoil figures come first."""
    found = [Note(caveat.sentence, True) for caveat in caveats(comparison, run)]
    found += [Note(f"{text[:1].upper()}{text[1:]}", spoils) for text, spoils in _remarks(comparison, run)]
    return tuple(sorted(found, key=lambda note: not note.spoils))


def notes(comparison: Comparison) -> tuple[Note, ...]:
    """Those about all runs, each beginning with whom it is about; what is true of several is said once."""
    about: dict[tuple[str, bool], list[str]] = {}
    for run in comparison.runs:
        for caveat in caveats(comparison, run):
            measure = f" ({caveat.measure})" if caveat.measure else ""
            about.setdefault((caveat.text, True), []).append(f"{run.precision}{measure}")
        for remark in _remarks(comparison, run):
            about.setdefault(remark, []).append(run.precision)
    found = [Note(f"{', '.join(names)}: {text}", spoils) for (text, spoils), names in about.items()]
    return tuple(sorted(found, key=lambda note: not note.spoils))


def _remarks(comparison: Comparison, run: Run) -> list[tuple[str, bool]]:
    """What has no measure, beginning in the middle of a sentence, and whether it is about spoilt figures."""
    withheld = _withheld_ratios(comparison, run)
    explained = (why_slower(comparison, run), why_not_smaller(comparison, run))
    found = [(withheld, True)] if withheld else []
    return found + [(f"{text[:1].lower()}{text[1:]}", False) for text in explained if text]


def _withheld_ratios(comparison: Comparison, run: Run) -> str:
    doubtful = spoilt(comparison, run)
    if run.precision != comparison.baseline or not doubtful:
        return ""
    others = [other for other in comparison.runs if other is not run]
    titles = [
        metric.title
        for metric in METRICS
        if metric.key in doubtful and any(metric.read(other) is not None for other in others)
    ]
    return f"the baseline's figures marked * give no ×: {', '.join(titles)}." if titles else ""
