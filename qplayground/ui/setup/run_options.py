"""How a comparison runs: once, as a benchmark or as a race; whether models stay in memory; what text is scored."""

from pathlib import Path

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QCheckBox, QComboBox, QFileDialog, QMessageBox, QWidget

from qplayground.core.comparison.results import Mode
from qplayground.core.errors import PlaygroundError
from qplayground.core.measures.quality import QualityRequest, TextSource
from qplayground.core.measures.windows import ALL_TOKENS, QUICK_TOKENS
from qplayground.runtime.storage.evaluation_text import quality_request, read_text_file
from qplayground.runtime.storage.preferences import Preferences
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.parts import caption, choice, in_column, in_row

_ROUNDS = (3, 5, 10, 20)
_SCORED = (QUICK_TOKENS, 2000, 4000)
_TIPS = {
    Mode.ONCE: "Each precision alone, one after another, one reading of its speed",
    Mode.BENCHMARK: "Several rounds in rotated order, greedy, after a warm-up, with texts of equal length. "
    "Medians are shown and every sample is kept",
    Mode.RACE: "All load one after another and then write at once, sharing the threads. "
    "It is for show: the times are not comparable",
}


class RunOptions(QWidget):
    """The choices are saved between sessions. Signal: `keep_loaded_changed(bool)`."""

    keep_loaded_changed = Signal(bool)

    def __init__(self, preferences: Preferences) -> None:
        super().__init__()
        self._preferences = preferences
        kept = preferences.run_choices
        benchmarks = [(f"Benchmark × {rounds}", (Mode.BENCHMARK, rounds)) for rounds in _ROUNDS]
        self.modes = choice("How to run", [("Once", (Mode.ONCE, 1)), *benchmarks, ("Race", (Mode.RACE, 1))])
        _choose(self.modes, (kept.mode, kept.rounds))
        self.keep_loaded = QCheckBox("&Keep loaded")
        self.keep_loaded.setToolTip(
            "Leave models in memory after a run, as long as there is room, so that the next prompt needs no loading"
        )
        self.keep_loaded.setChecked(kept.keep_loaded)
        self.quality = self._quality_box()
        self.text = QComboBox(
            minimumContentsLength=8,
            sizeAdjustPolicy=QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon,
        )
        self.text.setAccessibleName("Text that is scored")
        self.text.addItem("built-in text", str(TextSource.BUILTIN))
        self.text.addItem("prompt and answer", str(TextSource.PROMPT))
        self.text.addItem("file…", str(TextSource.FILE))
        self.text.setToolTip(
            "The built-in text mixes prose, dialogue, code, lists and languages. Or score the prompt with the "
            "baseline's answer, or a text file of your own"
        )
        self._file = kept.file
        self._show_file()
        _choose(self.text, str(kept.text))
        self.text.activated.connect(self._on_text_activated)
        self.quality.currentIndexChanged.connect(self._on_quality_changed)
        in_column(
            in_row(caption("R&un", self.modes), self.modes, self.keep_loaded, None),
            in_row(caption("&Quality", self.quality), self.quality, self.text, None),
            within=self,
            spacing=theme.HALF_GRID,
            margins=(theme.GRID, 0, theme.GRID, theme.GRID),
        )
        self._show_tip()
        self.text.setEnabled(self.scores)
        self.modes.currentIndexChanged.connect(self._on_changed)
        self.keep_loaded.toggled.connect(self._on_keep_toggled)

    @property
    def mode(self) -> Mode:
        """The chosen mode."""
        return Mode(self.modes.currentData()[0])

    @property
    def rounds(self) -> int:
        """The number of benchmark rounds; 1 in other modes."""
        return int(self.modes.currentData()[1])

    @property
    def scores(self) -> bool:
        """Whether a text is scored."""
        return self.quality.currentData() is not None

    def quality_request(self) -> QualityRequest | None:
        """What to score; None: nothing. Raises PlaygroundError for a file that cannot be scored."""
        if not self.scores:
            return None
        source = self.text.currentData()
        return quality_request(self._file if source == TextSource.FILE else source, self.quality.currentData())

    def _quality_box(self) -> QComboBox:
        amounts = [(f"{tokens:,} tokens", tokens) for tokens in _SCORED]
        box = choice("How much of a text is scored", [("off", None), *amounts, ("all", ALL_TOKENS)])
        _choose(box, self._preferences.run_choices.scored_tokens)
        box.setToolTip(
            "Score about so many tokens of a text after each run. It shows how well the model predicts them, and how "
            "far it is from the baseline"
        )
        return box

    @Slot()
    def _on_quality_changed(self) -> None:
        self._preferences.set_run_choices(scored_tokens=self.quality.currentData())
        self.text.setEnabled(self.scores)

    @Slot(int)
    def _on_text_activated(self, _index: int) -> None:
        if self.text.currentData() == TextSource.FILE:
            name, _ = QFileDialog.getOpenFileName(
                self, "Score a text file", "", "Text (*.txt *.md *.rst);;All files (*)"
            )
            if name and self._is_text(name):
                self._file = name
            elif not self._file:
                self.text.setCurrentIndex(0)
        self._show_file()
        self._preferences.set_run_choices(text=TextSource(self.text.currentData()), file=self._file)

    def _is_text(self, name: str) -> bool:
        """Whether the file can be scored. Shows a message if it cannot."""
        try:
            read_text_file(Path(name))
        except PlaygroundError as error:
            QMessageBox.warning(self, "Score a text file", theme.literal(str(error)))
            return False
        return True

    def _show_file(self) -> None:
        place = self.text.findData(str(TextSource.FILE))
        self.text.setItemText(place, f"{Path(self._file).name}…" if self._file else "file…")

    def _show_tip(self) -> None:
        self.modes.setToolTip(_TIPS[self.mode])

    def _on_changed(self) -> None:
        self._preferences.set_run_choices(mode=self.mode, rounds=self.rounds)
        self._show_tip()

    def _on_keep_toggled(self, keep: bool) -> None:
        self._preferences.set_run_choices(keep_loaded=keep)
        self.keep_loaded_changed.emit(keep)


def _choose(box: QComboBox, data: object) -> None:
    """Select the item with this data, or the first item. QComboBox.findData does not find tuples."""
    items = [box.itemData(row) for row in range(box.count())]
    box.setCurrentIndex(items.index(data) if data in items else 0)
