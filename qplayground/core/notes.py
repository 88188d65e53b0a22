"""What a reader should know beside the figures: what spoilt them, and why a smaller precision is slower."""

from typing import NamedTuple

from qplayground.core.caveats import caveats
from qplayground.core.explanations import why_slower
from qplayground.core.results import Comparison, Run


class Note(NamedTuple):
    """A sentence about one run or several. `spoils`: some of their figures are not sound."""

    sentence: str
    spoils: bool


def notes_on(comparison: Comparison, run: Run) -> tuple[Note, ...]:
    """Those about one run; the ones that spoil figures come first."""
    slower = why_slower(comparison, run)
    spoiling = (Note(caveat.sentence, True) for caveat in caveats(comparison, run))
    return (*spoiling, *((Note(slower, False),) if slower else ()))


def notes(comparison: Comparison) -> tuple[Note, ...]:
    """Those about all runs, each beginning with whom it is about; what is true of several is said once."""
    about: dict[tuple[str, bool], list[str]] = {}
    for run in comparison.runs:
        for caveat in caveats(comparison, run):
            measure = f" ({caveat.measure})" if caveat.measure else ""
            about.setdefault((caveat.text, True), []).append(f"{run.precision}{measure}")
        slower = why_slower(comparison, run)
        if slower:
            about.setdefault((f"{slower[:1].lower()}{slower[1:]}", False), []).append(run.precision)
    found = [Note(f"{', '.join(names)}: {text}", spoils) for (text, spoils), names in about.items()]
    return tuple(sorted(found, key=lambda note: not note.spoils))
