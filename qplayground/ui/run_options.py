"""How a comparison is run: once, as a benchmark, or as a race; and whether models stay in memory."""

from PySide6.QtCore import QSettings, Signal
from PySide6.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QLabel, QWidget

from qplayground.core.results import Mode
from qplayground.ui import theme

_ROUNDS = (3, 5, 10, 20)
_TIPS = {
    Mode.ONCE: "Each precision alone, one after another, one reading of its speed",
    Mode.BENCHMARK: "Greedy, every text of the same length, a warm-up thrown away, the order rotated each round; "
    "medians are shown and every sample is kept",
    Mode.RACE: "All load one after another and then write at once, the threads divided among them: "
    "a show, whose times are not comparable",
}


class RunOptions(QWidget):
    """Kept between two starts. Signal: `keep_loaded_changed(bool)`."""

    keep_loaded_changed = Signal(bool)

    def __init__(self, settings: QSettings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self.modes = QComboBox()
        self.modes.setAccessibleName("How to run")
        self.modes.addItem("Once", (Mode.ONCE, 1))
        for rounds in _ROUNDS:
            self.modes.addItem(f"Benchmark × {rounds}", (Mode.BENCHMARK, rounds))
        self.modes.addItem("Race", (Mode.RACE, 1))
        self.modes.setCurrentText(str(settings.value("mode", "Once")))
        self.keep_loaded = QCheckBox("&Keep loaded")
        self.keep_loaded.setToolTip(
            "Leave models in memory after a run, as long as there is room, so that the next prompt needs no loading"
        )
        self.keep_loaded.setChecked(settings.value("keep_loaded", False, bool) is True)
        label = QLabel("R&un")
        label.setBuddy(self.modes)
        row = QHBoxLayout(self)
        row.setContentsMargins(theme.GRID, 0, theme.GRID, theme.GRID)
        row.setSpacing(theme.GRID)
        for widget in (label, self.modes, self.keep_loaded):
            row.addWidget(widget)
        row.addStretch()
        self._show_tip()
        self.modes.currentIndexChanged.connect(self._on_changed)
        self.keep_loaded.toggled.connect(self._on_keep_toggled)

    @property
    def mode(self) -> Mode:
        """How to run."""
        return Mode(self.modes.currentData()[0])

    @property
    def rounds(self) -> int:
        """How many rounds a benchmark has; 1 otherwise."""
        return int(self.modes.currentData()[1])

    def _show_tip(self) -> None:
        self.modes.setToolTip(_TIPS[self.mode])

    def _on_changed(self) -> None:
        self._settings.setValue("mode", self.modes.currentText())
        self._show_tip()

    def _on_keep_toggled(self, keep: bool) -> None:
        self._settings.setValue("keep_loaded", keep)
        self.keep_loaded_changed.emit(keep)
