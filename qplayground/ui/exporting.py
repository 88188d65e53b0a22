"""Asking where a comparison is to be saved, until it is or nobody wants it any more."""

from pathlib import Path

from PySide6.QtWidgets import QFileDialog, QMessageBox, QWidget

from qplayground.core.results import Comparison
from qplayground.report.files import FORMATS, STEM, write_report

_FILTERS = {f"{what} (*.{suffix})": suffix for suffix, (what, _) in FORMATS.items()}


def export(parent: QWidget, comparison: Comparison) -> Path | None:
    """Ask for a file and write it; where it cannot be written, say why and ask for another place. None: not saved."""
    start = f"{STEM}.json"
    while True:
        name, chosen = QFileDialog.getSaveFileName(parent, "Export the comparison", start, ";;".join(_FILTERS))
        if not name:
            return None
        path = Path(name)
        if path.suffix.lower().lstrip(".") not in FORMATS:
            path = path.with_name(f"{path.name}.{_FILTERS.get(chosen, 'json')}")
        try:
            write_report(comparison, path)
        except OSError as error:
            reason = error.strerror or str(error)
            QMessageBox.warning(
                parent, "Export the comparison", f"{path} cannot be written: {reason}. Choose another place."
            )
            start = path.name
            continue
        return path
