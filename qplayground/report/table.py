"""A comparison as rows of text, for the terminal and for Markdown."""

from collections.abc import Sequence

from qplayground.core.commentary.notes import notes_on
from qplayground.core.commentary.recommendation import recommendation
from qplayground.core.commentary.verdicts import further_sentences, quality_sentence, reference_sentence, source_text
from qplayground.core.comparison.metrics import Metric, beside_text, figure_text, range_text, shown_metrics
from qplayground.core.comparison.results import Comparison, Run, RunState
from qplayground.report.columns import aligned
from qplayground.report.describe import name_text, state_text

# What a model writes can hold terminal commands; they are shown, not obeyed.
_CONTROLS = {code: 0xFFFD for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


def table_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """The headings, then one row of figures a run, each with its ratio to the baseline's."""
    metrics = shown_metrics(comparison)
    headings = ("Precision", "State", *(metric.title for metric in metrics))
    return [headings, *(_row(comparison, run, metrics) for run in comparison.runs)]


def plain_table(comparison: Comparison) -> str:
    """Aligned columns, then each run's text or error."""
    lines = aligned(table_rows(comparison))
    advice = recommendation(comparison)
    lines += ["", advice] if advice else []
    for run in comparison.runs:
        lines.append("")
        text = f"{comparison.lead if run.error is None else ''}{outcome(run)}"
        lines.append(f"[{run.id}] {text}")
        lines += [f"    * {note.sentence}" for note in notes_on(comparison, run)]
        lines += [f"    {sentence}" for sentence in quality_lines(comparison, run)]
    scored = source_text(comparison)
    lines += ["", f"Quality: {scored}"] if scored else []
    return "\n".join(lines).translate(_CONTROLS)


def quality_lines(comparison: Comparison, run: Run) -> list[str]:
    """What scoring a text says of it."""
    said = [quality_sentence(comparison, run), *further_sentences(comparison, run)]
    if run.id == comparison.baseline:
        said.append(reference_sentence(comparison))
    return [sentence for sentence in said if sentence]


def outcome(run: Run) -> str:
    """The text of a run, or why there is none."""
    if run.error is not None:
        return f"{run.error}"
    if run.state is RunState.CANCELLED and not run.text:
        return f"({state_text(run)})"
    if run.state is RunState.CANCELLED:
        return f"{run.text} … (stopped)"
    return run.text


def cell_text(metric: Metric, run: Run, comparison: Comparison) -> str:
    """A figure with the range of its readings or its error, `24.1 tok/s (18.1 … 24.6 tok/s)`."""
    spread = range_text(metric, run)
    return figure_text(metric, run, comparison) + (f" ({spread})" if spread else "")


def _row(comparison: Comparison, run: Run, metrics: Sequence[Metric]) -> tuple[str, ...]:
    name = name_text(run)
    return (
        f"{name} (baseline)" if run.id == comparison.baseline else name,
        state_text(run),
        *(_cell(comparison, run, metric) for metric in metrics),
    )


def _cell(comparison: Comparison, run: Run, metric: Metric) -> str:
    return f"{cell_text(metric, run, comparison)} {beside_text(metric, run, comparison)}".rstrip()
