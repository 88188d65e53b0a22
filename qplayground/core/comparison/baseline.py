"""Which run the others are compared with, and where their texts leave its."""

from qplayground.core.comparison.results import Comparison, Run, RunState
from qplayground.core.measures.divergence import Change, diverge, word_changes
from qplayground.core.precision import widest


def default_baseline(comparison: Comparison) -> str | None:
    """The widest precision that ran or may still run, of all when none did."""
    hopeful = [run for run in comparison.runs if run.state not in (RunState.FAILED, RunState.CANCELLED)]
    runs = hopeful or comparison.runs
    place = widest([run.precision for run in runs])
    return None if place is None else runs[place].id


def refresh_divergence(comparison: Comparison) -> None:
    """Say of every run that is over where its text leaves the baseline's, once that is over too."""
    baseline = comparison.baseline_run
    known = baseline is not None and baseline.state.is_final and bool(baseline.token_ids)
    for run in comparison.runs:
        comparable = known and run.state.is_final and bool(run.token_ids)
        run.divergence = diverge(run.token_ids, baseline.token_ids) if comparable and baseline is not None else None


def text_changes(run: Run, baseline: Run) -> list[Change]:
    """What a run's text has and lacks beside the baseline's, word by word, once both wrote something.

    Where one of the two was stopped, or failed, they are compared as far as both go: what it did not come to is not
    missing. Texts without their tokens are compared whole.
    """
    if not (run.tokens and baseline.tokens):
        return word_changes(run.text, baseline.text)
    both = min(len(run.tokens), len(baseline.tokens))
    ours = _text_of(run, len(run.tokens) if _is_whole(baseline) else both)
    theirs = _text_of(baseline, len(baseline.tokens) if _is_whole(run) else both)
    rest = run.text[len(ours) :]
    return [*word_changes(ours, theirs), *([Change(uncompared=rest)] if rest else [])]


def _is_whole(run: Run) -> bool:
    return run.finish_reason in ("stop", "length")


def _text_of(run: Run, tokens: int) -> str:
    """Of its first tokens; of one that was cut without what stands for half a character at its end."""
    if _is_whole(run) and tokens == len(run.tokens):
        return run.text
    return "".join(token.text for token in run.tokens[:tokens])
