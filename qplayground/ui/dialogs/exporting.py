"""Asks where to save a comparison, until it is saved or the user cancels."""

from pathlib import Path

from PySide6.QtWidgets import QFileDialog, QMessageBox, QWidget

from qplayground.core.comparison.results import Comparison
from qplayground.ui.widgets import theme


def may_replace(parent: QWidget, path: Path) -> bool:
    """Ask before overwriting a file."""
    answer = QMessageBox.question(parent, "Save", theme.literal(f"{path.name} is there already. Replace it?"))
    return answer == QMessageBox.StandardButton.Yes


def say_not_written(parent: QWidget, title: str, path: Path, error: OSError) -> None:
    """Show why a file cannot be written, and what to do."""
    sentence = f"{path} cannot be written: {error.strerror or error}. Choose another place."
    QMessageBox.warning(parent, title, theme.literal(sentence))


def export(parent: QWidget, comparison: Comparison) -> Path | None:
    """Ask for a file and write the comparison to it. Asks again if it cannot be written. None: not saved."""
    from qplayground.report.files import FORMATS, STEM, write_report

    filters = {f"{what} (*.{suffix})": suffix for suffix, (what, _) in FORMATS.items()}
    start = f"{STEM}.json"
    while True:
        name, chosen = QFileDialog.getSaveFileName(parent, "Export the comparison", start, ";;".join(filters))
        if not name:
            return None
        path = Path(name)
        if path.suffix.lower().lstrip(".") not in FORMATS:
            path = path.with_name(f"{path.name}.{_ending(filters.get(chosen, 'json'))}")
            if path.exists() and not may_replace(parent, path):  # the file dialog checked the name without the suffix
                start = path.name
                continue
        try:
            write_report(comparison, path)
        except OSError as error:
            say_not_written(parent, "Export the comparison", path, error)
            start = path.name
            continue
        return path


def _ending(suffix: str) -> str:
    """What a name without a suffix gets. `.qplayground.json` lets desktops tell a comparison from other JSON files."""
    return "qplayground.json" if suffix == "json" else suffix
