"""What a reader should know beside the figures: what spoilt them, and what explains them."""

from typing import NamedTuple

from qplayground.core.capabilities import Capability
from qplayground.core.commentary.explanations import no_speed, why_not_smaller, why_slower
from qplayground.core.comparison.caveats import caveats, is_load_alone, spoilt
from qplayground.core.comparison.metrics import METRICS
from qplayground.core.comparison.results import Comparison, Run, RunState

_FIGURES = {
    Capability.MEMORY: "memory",
    Capability.WEIGHTS: "weights",
    Capability.PREDICTION: "predicted memory",
}
"""Of what there are figures in every comparison. Scoring has its sentence in `verdicts`, placement in `caveats`."""


class Note(NamedTuple):
    """A sentence about one run or several.

    `spoils`: some of their figures are not sound; `is_grave`: and others among them than the load time.
    """

    sentence: str
    spoils: bool
    is_grave: bool = False


def notes_on(comparison: Comparison, run: Run) -> tuple[Note, ...]:
    """Those about one run; the ones that spoil figures come first."""
    found = [Note(caveat.sentence, True, caveat.is_grave) for caveat in caveats(comparison, run)]
    found += [remark._replace(sentence=_begun(remark.sentence)) for remark in _remarks(comparison, run)]
    return _sorted(found)


def notes(comparison: Comparison) -> tuple[Note, ...]:
    """Those about all runs, each beginning with whom it is about; what is true of several is said once."""
    about: dict[Note, list[str]] = {}
    for run in comparison.runs:
        for caveat in caveats(comparison, run):
            measure = f" ({caveat.measure})" if caveat.measure else ""
            note = Note(caveat.text, True, caveat.is_grave)
            about.setdefault(note, []).append(f"{run.id}{measure}")
        for remark in _remarks(comparison, run):
            about.setdefault(remark, []).append(run.id)
    return _sorted([note._replace(sentence=f"{', '.join(names)}: {note.sentence}") for note, names in about.items()])


def _sorted(found: list[Note]) -> tuple[Note, ...]:
    return tuple(sorted(found, key=lambda note: (not note.spoils, not note.is_grave)))


def _begun(text: str) -> str:
    return text[:1].upper() + text[1:]


def _remarks(comparison: Comparison, run: Run) -> list[Note]:
    """What has no measure, beginning in the middle of a sentence."""
    withheld = _withheld_ratios(comparison, run)
    explained = (why_slower(comparison, run), why_not_smaller(comparison, run), no_speed(comparison, run))
    found = [Note(withheld, True, not is_load_alone(spoilt(comparison, run)))] if withheld else []
    found += [Note(text, False) for text in _lacking(run)]
    return found + [Note(f"{text[:1].lower()}{text[1:]}", False) for text in explained if text]


def _lacking(run: Run) -> list[str]:
    """Which figures its engine cannot give, and why, a sentence a reason; and what it does beyond a stop."""
    if run.state is RunState.FAILED:
        return []
    about: dict[str, list[str]] = {}
    for capability, figures in _FIGURES.items():
        if capability in run.lacks:
            about.setdefault(run.lacks[capability], []).append(figures)
    found = []
    for reason, (*first, last) in about.items():
        found.append(f"no figures (–) for {', '.join(first)}{' and ' * bool(first)}{last}. {reason}")
    was_stopped_in_load = run.state is RunState.CANCELLED and run.finish_reason is not None and run.load.seconds is None
    if was_stopped_in_load and Capability.LOAD_STOP in run.lacks:
        found.append(f"the load may continue after the stop. {run.lacks[Capability.LOAD_STOP]}")
    return found


def _withheld_ratios(comparison: Comparison, run: Run) -> str:
    doubtful = spoilt(comparison, run)
    if run.id != comparison.baseline or not doubtful:
        return ""
    others = [other for other in comparison.runs if other is not run]
    titles = [
        metric.title
        for metric in METRICS
        if metric.key in doubtful and any(metric.read(other) is not None for other in others)
    ]
    if not titles:
        return ""
    figures, are = ("figures", "are") if len(titles) > 1 else ("figure", "is")
    return f"no ratio (×) is shown for {', '.join(titles)}. The baseline's own {figures} (*) {are} not sound."
