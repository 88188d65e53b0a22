"""What a reader should know beside the figures: what spoilt them, and why a smaller precision is slower."""

from typing import NamedTuple

from qplayground.core.caveats import caveats
from qplayground.core.explanations import why_slower
from qplayground.core.results import Comparison, Run


class Note(NamedTuple):
    """A sentence, and whom it is about, each with its own measure where it has one. `spoils`: figures are not sound."""

    about: tuple[str, ...]
    sentence: str
    spoils: bool

    def __str__(self) -> str:
        return f"{', '.join(self.about)}: {self.sentence[:1].lower()}{self.sentence[1:]}"


def notes_on(comparison: Comparison, run: Run) -> tuple[str, ...]:
    """The sentences about one run."""
    slower = why_slower(comparison, run)
    return (*(caveat.sentence for caveat in caveats(comparison, run)), *((slower,) if slower else ()))


def notes(comparison: Comparison) -> tuple[Note, ...]:
    """Those about all runs, what is true of several of them said once; the ones that spoil figures come first."""
    found: dict[tuple[bool, str], list[str]] = {}
    for run in comparison.runs:
        for caveat in caveats(comparison, run):
            measure = f" ({caveat.measure})" if caveat.measure else ""
            found.setdefault((True, caveat.text), []).append(f"{run.precision}{measure}")
        slower = why_slower(comparison, run)
        if slower:
            found.setdefault((False, slower), []).append(run.precision)
    ordered = sorted(found.items(), key=lambda item: not item[0][0])
    return tuple(Note(tuple(about), sentence, spoils) for (spoils, sentence), about in ordered)
