"""A button that saves a chart as a picture, or its numbers."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from PySide6.QtCore import Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QFileDialog, QMenu, QToolButton, QWidget

from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.ui.dialogs.exporting import may_replace

_FILES = {"PNG picture (*.png)": ".png", "SVG drawing (*.svg)": ".svg", "Its numbers, CSV (*.csv)": ".csv"}


class Savable(Protocol):
    """A chart with a view, and its numbers as a table with headings. The table is empty if there is nothing to save."""

    view: QWidget

    def table(self) -> list[list[object]]: ...


class SaveButton(QToolButton):
    """Saves a chart; with several `charts`, a menu offers them by name.

    Signals: `said(str)` when saved; `failed(str)`, the reason.
    """

    said = Signal(str)
    failed = Signal(str)

    def __init__(self, charts: Mapping[str, Savable]) -> None:
        super().__init__(autoRaise=True)
        self.setToolTip("Save as PNG or SVG, or the numbers as CSV")
        self.charts = dict(charts)
        self._offered: dict[QAction, Savable] = {}
        if len(charts) == 1:
            ((name, chart),) = charts.items()
            self.setText("Save…")
            self.setAccessibleName(f"Save: {name}")
            self.clicked.connect(self._asking(name, chart))
            return
        self.setText("Save")
        self.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self)
        for name, chart in charts.items():
            self._offered[menu.addAction(f"{name}…", self._asking(name, chart))] = chart
        menu.aboutToShow.connect(self._show_savable)
        self.setMenu(menu)

    def save(self, chart: Savable, path: Path) -> None:
        """Write the chart. The file's suffix chooses the format."""
        from qplayground.ui.charts.save import save_chart, save_csv

        try:
            if path.suffix.lower() == ".csv":
                save_csv(chart.table(), path)
            else:
                save_chart(chart.view, path)
        except OSError as error:
            sentence = f"{path} cannot be written: {error.strerror or error}."
            self.failed.emit(str(ErrorInfo(ErrorCode.BAD_FILE, sentence, "Choose another place.")))
            return
        self.said.emit(f"Saved as {path}")

    def _asking(self, name: str, chart: Savable) -> Callable[[], None]:
        return lambda: self._ask(name, chart)

    def _ask(self, name: str, chart: Savable) -> None:
        start = f"{name.lower().replace(' ', '-')}.png"
        chosen_name, chosen = QFileDialog.getSaveFileName(self, f"Save: {name}", start, ";;".join(_FILES))
        if not chosen_name:
            return
        path = Path(chosen_name)
        if path.suffix.lower() not in _FILES.values():
            path = path.with_name(path.name + _FILES.get(chosen, ".png"))
            if path.exists() and not may_replace(self, path):  # the file dialog checked the name without the suffix
                return
        self.save(chart, path)

    def _show_savable(self) -> None:
        for action, chart in self._offered.items():
            action.setEnabled(bool(chart.table()))
