"""A comparison written to files, in every format."""

from collections.abc import Callable
from pathlib import Path

from qplayground.core.comparison.results import TRANSFORMERS, Comparison, to_json
from qplayground.core.system.saving import save_file
from qplayground.report.csv import to_csv
from qplayground.report.markdown import to_markdown
from qplayground.report.script import to_script

STEM = "qplayground-report"


def _html(comparison: Comparison) -> bytes:
    from qplayground.report.html import to_html  # with jinja2, which would keep the window waiting at the start

    return to_html(comparison).encode()


FORMATS: dict[str, tuple[str, Callable[[Comparison], bytes]]] = {
    "json": ("JSON, opens again in qplayground", to_json),
    "html": ("HTML with charts, for a browser", _html),
    "md": ("Markdown", lambda comparison: to_markdown(comparison).encode()),
    "csv": ("CSV, for spreadsheets", lambda comparison: to_csv(comparison).encode("utf-8-sig")),
}
"""Suffix → what it is, and what makes it."""


def write_report(comparison: Comparison, path: Path) -> None:
    """Write one format, told by the suffix; an unknown one means JSON. Raises OSError."""
    _, make = FORMATS.get(path.suffix.lower().lstrip("."), FORMATS["json"])
    save_file(path, make(comparison))


def write_all(comparison: Comparison, folder: Path) -> list[Path]:
    """Write every format, and the script of each run that is one of transformers, into a folder, made where there is
    none. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for suffix in FORMATS:
        written.append(folder / f"{STEM}.{suffix}")
        write_report(comparison, written[-1])
    for run in [run for run in comparison.runs if run.engine == TRANSFORMERS]:
        written.append(folder / f"{run.id}.py")
        save_file(written[-1], to_script(comparison, run).encode())
    return written
