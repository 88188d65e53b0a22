"""Which run the others are compared with, and where their texts leave its."""

from qplayground.core.divergence import diverge
from qplayground.core.precision import baseline_of
from qplayground.core.results import Comparison, RunState


def default_baseline(comparison: Comparison) -> str | None:
    """The widest precision that ran or may still run, of all when none did."""
    recipes = tuple(run.recipe for run in comparison.runs)
    hopeful = [run.precision for run in comparison.runs if run.state not in (RunState.FAILED, RunState.CANCELLED)]
    return baseline_of(hopeful or [run.precision for run in comparison.runs], recipes)


def refresh_divergence(comparison: Comparison) -> None:
    """Say of every run that is over where its text leaves the baseline's, once that is over too."""
    baseline = comparison.baseline_run
    known = baseline is not None and baseline.state.is_final and bool(baseline.token_ids)
    for run in comparison.runs:
        comparable = known and run.state.is_final and bool(run.token_ids)
        run.divergence = diverge(run.token_ids, baseline.token_ids) if comparable and baseline is not None else None
