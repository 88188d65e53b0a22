"""A comparison as rows of text, for the terminal and for Markdown."""

from qplayground.core.caveats import caveats
from qplayground.core.results import Comparison, Run, RunState
from qplayground.core.units import bytes_text, rate_text, seconds_text

# What a model writes can hold terminal commands; they are shown, not obeyed.
_CONTROLS = {code: 0xFFFD for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}

HEADINGS = ("Precision", "State", "Weights", "RAM", "Peak RAM", "VRAM", "Load", "First token", "Decode")


def rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """One row of figures a run, under HEADINGS."""
    return [_row(run, baseline=run.precision == comparison.baseline) for run in comparison.runs]


def plain_table(comparison: Comparison) -> str:
    """Aligned columns, then each run's text or error."""
    table = [HEADINGS, *rows(comparison)]
    widths = [max(len(row[column]) for row in table) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    lines.insert(1, "  ".join("-" * width for width in widths))
    for run in comparison.runs:
        lines.append("")
        text = f"{comparison.lead if run.error is None else ''}{outcome(run)}"
        lines.append(f"[{run.precision}] {text.translate(_CONTROLS)}")
        lines += [f"    ! {caveat}" for caveat in caveats(comparison, run)]
    return "\n".join(lines)


def outcome(run: Run) -> str:
    """The text of a run, or why there is none."""
    if run.error is not None:
        return f"{run.error}"
    if run.state is RunState.CANCELLED:
        return f"{run.text} … (stopped)"
    return run.text


def _row(run: Run, *, baseline: bool) -> tuple[str, ...]:
    memory = run.memory
    return (
        f"{run.precision} (baseline)" if baseline else run.precision,
        run.state,
        bytes_text(memory.weight_bytes),
        bytes_text(memory.resident_bytes),
        bytes_text(memory.peak_resident_bytes),
        bytes_text(memory.vram_peak_bytes),
        seconds_text(run.load.seconds),
        seconds_text(run.speed.ttft_s),
        rate_text(run.speed.decode_tokens_per_s),
    )
