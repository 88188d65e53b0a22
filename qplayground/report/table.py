"""A comparison as rows of text, for the terminal and for Markdown."""

from collections.abc import Sequence

from qplayground.core.caveats import caveats, spoilt
from qplayground.core.explanations import why_slower
from qplayground.core.metrics import Metric, ratio, shown_metrics
from qplayground.core.results import Comparison, Run, RunState
from qplayground.core.units import ratio_text
from qplayground.report.describe import name_text

# What a model writes can hold terminal commands; they are shown, not obeyed.
_CONTROLS = {code: 0xFFFD for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


def table_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """The headings, then one row of figures a run, each with its ratio to the baseline's."""
    metrics = shown_metrics(comparison)
    headings = ("Precision", "State", *(metric.title for metric in metrics))
    return [headings, *(_row(comparison, run, metrics) for run in comparison.runs)]


def plain_table(comparison: Comparison) -> str:
    """Aligned columns, then each run's text or error."""
    table = table_rows(comparison)
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    lines.insert(1, "  ".join("-" * width for width in widths))
    for run in comparison.runs:
        lines.append("")
        text = f"{comparison.lead if run.error is None else ''}{outcome(run)}"
        lines.append(f"[{run.precision}] {text.translate(_CONTROLS)}")
        lines += [f"    * {note}" for note in notes(comparison, run)]
    return "\n".join(lines)


def notes(comparison: Comparison, run: Run) -> tuple[str, ...]:
    """What a reader should know beside the figures."""
    slower = why_slower(comparison, run)
    return (*(caveat.sentence for caveat in caveats(comparison, run)), *((slower,) if slower else ()))


def outcome(run: Run) -> str:
    """The text of a run, or why there is none."""
    if run.error is not None:
        return f"{run.error}"
    if run.state is RunState.CANCELLED:
        return f"{run.text} … (stopped)"
    return run.text


def _row(comparison: Comparison, run: Run, metrics: Sequence[Metric]) -> tuple[str, ...]:
    name = name_text(run)
    return (
        f"{name} (baseline)" if run.precision == comparison.baseline else name,
        run.state,
        *(_cell(comparison, run, metric) for metric in metrics),
    )


def _cell(comparison: Comparison, run: Run, metric: Metric) -> str:
    mark = "*" if metric.key in spoilt(comparison, run) else ""
    samples = metric.spread(run)
    if samples is not None and samples.n > 1:
        mark += f" ± {metric.text(samples.sd)}"
    return f"{metric.text(metric.read(run))}{mark} {ratio_text(ratio(metric, run, comparison))}".rstrip()
