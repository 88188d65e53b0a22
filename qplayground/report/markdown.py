"""A comparison as Markdown."""

import re

from qplayground.core.commentary.notes import notes_on
from qplayground.core.commentary.recommendation import recommendation
from qplayground.core.commentary.verdicts import source_text
from qplayground.core.comparison.memory_segments import memory_sentences
from qplayground.core.comparison.results import Comparison
from qplayground.report.describe import machine_text, name_text, settings_text, title_text, when_text
from qplayground.report.table import outcome, quality_lines, table_rows

# Those that mean something inside a line; nothing written here begins one.
_SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\`*_[]<>|~&$"})


def to_markdown(comparison: Comparison) -> str:
    """Heading, circumstances, table of figures, and every text. Model output is escaped or fenced, never markup."""
    headings, *figures = table_rows(comparison)
    scored = source_text(comparison)
    advice = recommendation(comparison)
    lines = [
        f"# {_inline(title_text(comparison))}",
        "",
        *(
            f"- Model: {_inline(', '.join((model.title, model.architecture or 'unknown', model.provenance)))}"
            for model in comparison.models
        ),
        f"- Machine: {_inline(machine_text(comparison))}",
        f"- Settings: {_inline(settings_text(comparison))}",
        *([f"- Started: {_inline(when_text(comparison))}"] if comparison.started_at else []),
        *([f"- Quality: {_inline(scored)}"] if scored else []),
        "- RAM is the engine's whole resident memory, the libraries' share included; MB are 10^6 bytes.",
        "- × is the figure over the baseline's. A benchmark gives the median of its rounds, and the lowest … highest.",
        "- A figure with \\* was disturbed; its text says by what.",
        "",
        "| " + " | ".join(headings) + " |",
        "|" + " --- |" * len(headings),
        *("| " + " | ".join(_inline(cell) for cell in row) + " |" for row in figures),
        *(["", _inline(advice)] if advice else []),
        "",
        "## Prompt",
        "",
        *_fenced(comparison.prompt),
    ]
    for run in comparison.runs:
        lines += ["", f"## {_inline(name_text(run))}", "", f"{_inline(run.precision.summary)}.", ""]
        for note in notes_on(comparison, run):
            lines += [f"**{_inline(note.sentence)}**", ""]
        for sentence in (*memory_sentences(run.memory), *quality_lines(comparison, run)):
            lines += [_inline(sentence), ""]
        lines += _fenced(outcome(run))
    return "\n".join(lines) + "\n"


def _inline(text: str) -> str:
    return " ".join(text.split()).translate(_SPECIAL)


def _fenced(text: str) -> list[str]:
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}text", text, fence]
