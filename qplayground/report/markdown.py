"""A comparison as Markdown."""

import re

from qplayground.core.caveats import caveats
from qplayground.core.results import Comparison
from qplayground.report.table import HEADINGS, outcome, rows

_SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\`*_{}[]()<>#+-.!|~&"})


def to_markdown(comparison: Comparison) -> str:
    """Heading, circumstances, table of figures, and every text. Model output is escaped or fenced, never markup."""
    model = comparison.model
    lines = [
        f"# {_inline(model.id)}: {len(comparison.runs)} precision{'s' * (len(comparison.runs) != 1)} compared",
        "",
        f"- Model: {_inline(model.id)} ({_inline(model.architecture or 'unknown')}), {_inline(model.provenance)}",
        f"- Machine: {_machine(comparison)}",
        f"- Settings: {_settings(comparison)}",
        "- RAM is the engine's whole resident memory, the libraries' share included; MB are 10^6 bytes.",
        "",
        "| " + " | ".join(HEADINGS) + " |",
        "|" + " --- |" * len(HEADINGS),
        *("| " + " | ".join(_inline(cell) for cell in row) + " |" for row in rows(comparison)),
        "",
        "## Prompt",
        "",
        *_fenced(comparison.prompt),
    ]
    for run in comparison.runs:
        lines += ["", f"## {_inline(run.precision)}", "", f"{_inline(run.recipe.summary)}.", ""]
        for caveat in caveats(comparison, run):
            lines += [f"**{_inline(caveat)}**", ""]
        lines += _fenced(outcome(run))
    return "\n".join(lines) + "\n"


def _inline(text: str) -> str:
    return " ".join(text.split()).translate(_SPECIAL)


def _fenced(text: str) -> list[str]:
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}text", text, fence]


def _machine(comparison: Comparison) -> str:
    machine = comparison.environment
    if machine is None:
        return "unknown"
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    gpus = f"; {', '.join(machine.gpus)}" if machine.gpus else ""
    return _inline(f"{machine.cpu} ({machine.cpu_capability}), {machine.cpu_threads} threads{gpus}; {versions}")


def _settings(comparison: Comparison) -> str:
    settings = comparison.settings
    how = (
        f"sampling (temperature {settings.temperature:g}, top-p {settings.top_p:g}, top-k {settings.top_k}, "
        f"seed {settings.seed})"
        if settings.do_sample
        else "greedy"
    )
    penalty = f", repetition penalty {settings.repetition_penalty:g}" if settings.repetition_penalty != 1 else ""
    chat = ", as a user's turn of a chat" if settings.chat_template else ""
    text = f"at most {settings.max_new_tokens} new tokens, {how}{penalty}{chat}, baseline {comparison.baseline}"
    return _inline(text)
