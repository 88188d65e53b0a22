"""The Tour tab: how quantization works, step by step, on the picked model's weights."""

from collections.abc import Callable
from functools import partial

from PySide6.QtCore import Qt, QUrl, Signal, Slot
from PySide6.QtGui import QPalette, QShowEvent
from PySide6.QtWidgets import QLabel, QListWidget, QPushButton, QStackedWidget, QTextBrowser, QWidget

from qplayground.core.inside import ModelOutline
from qplayground.runtime.inside.inspector import Inspector
from qplayground.ui.inside.tour.tour_facts import TourFacts
from qplayground.ui.inside.tour.tour_figures import BLOCKS, BitsPicture, ChoicesPicture, KeptPicture
from qplayground.ui.inside.tour.tour_pictures import (
    INT8,
    NF4,
    NF4_TWICE,
    AbsmaxPicture,
    CodebooksPicture,
    DequantizePicture,
    MatrixPicture,
    RoundingPicture,
    TourPicture,
    WholeScalePicture,
)
from qplayground.ui.inside.tour.tour_steps import read_steps
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.parts import held, in_column, in_row, splitter

PICTURES: dict[str, Callable[[], TourPicture]] = {
    "weight-matrix": MatrixPicture,
    "rounding": RoundingPicture,
    "one-scale": WholeScalePicture,
    "blocks": partial(ChoicesPicture, "Error by block size", BLOCKS),
    "absmax": AbsmaxPicture,
    "codebooks": CodebooksPicture,
    "double-quantization": partial(BitsPicture, "Bits of a weight", (NF4, NF4_TWICE)),
    "dequantize": DequantizePicture,
    "llm-int8": partial(ChoicesPicture, "INT8 beside NF4", (INT8, NF4)),
    "what-stays": KeptPicture,
}
"""The picture of each step, by the step's name."""
_LEFT_WIDTH = 280
_OUTLIERS = "outliers"


class TourView(QWidget):
    """A list of steps with their texts at the left, a picture of the model at the right.

    The tour has its own inspector, whose engine starts when the tour is first visible. Signals: `outliers_wanted()`
    when the user follows the link to the Outliers tab; `said(str)` for the status bar.
    """

    outliers_wanted = Signal()
    said = Signal(str)

    def __init__(self, inspector: Inspector) -> None:
        super().__init__()
        self._facts = TourFacts(inspector, self)
        self._facts.changed.connect(self._show)
        self._paused = False
        self._drawn: set[TourPicture] = set()  # for this model
        self._stale: set[TourPicture] = set()  # drawn, but outdated
        self._pictures: dict[str, TourPicture] = {}
        self.steps = read_steps()
        self.list = QListWidget()
        self.list.setAccessibleName("Steps of the tour")
        self.list.addItems([f"{number}. {step.title}" for number, step in enumerate(self.steps, 1)])
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.text = QTextBrowser(openLinks=False)
        self.text.setFrameShape(QTextBrowser.Shape.NoFrame)
        self.text.setAccessibleName("Text of the step")
        self.text.anchorClicked.connect(self._on_link)
        self.back = QPushButton("&Back")
        self.next = QPushButton("&Next")
        self.heading = QLabel(textFormat=Qt.TextFormat.PlainText)
        self.heading.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        self.heading.setMinimumWidth(1)
        self.message = QLabel(textFormat=Qt.TextFormat.PlainText, alignment=Qt.AlignmentFlag.AlignCenter, wordWrap=True)
        self.stack = QStackedWidget()
        self.stack.addWidget(self.message)
        theme.follow_text(self.list, self._fit_list)
        self._lay_out()
        self.back.clicked.connect(lambda: self.list.setCurrentRow(self.list.currentRow() - 1))
        self.next.clicked.connect(lambda: self.list.setCurrentRow(self.list.currentRow() + 1))
        self.list.currentRowChanged.connect(self._on_step_chosen)
        self.list.setCurrentRow(0)

    def _fit_list(self) -> None:
        self.list.setFixedHeight(len(self.steps) * self.list.sizeHintForRow(0) + 2 * self.list.frameWidth())

    def _lay_out(self) -> None:
        buttons = in_row(self.back, self.next, spacing=-1)
        left = in_column(
            self.list, self.text, buttons, grows=self.text, spacing=theme.GRID, margins=(0, 0, theme.GRID, 0)
        )
        right = in_column(self.heading, self.stack, grows=self.stack, spacing=theme.GRID, margins=(theme.GRID, 0, 0, 0))
        across = splitter(Qt.Orientation.Horizontal, held(left), held(right))
        across.setStretchFactor(1, 1)
        across.setSizes([_LEFT_WIDTH, 2 * _LEFT_WIDTH])
        in_column(across, within=self, spacing=-1, margins=theme.GRID)

    # ---- public methods -------------------------------------------------------------------------------------------

    def show_model(self, outline: ModelOutline | None) -> None:
        """Show this model's weights. The inspector already has its path."""
        self._drawn.clear()
        self._facts.start(outline)
        self._collect()

    def set_paused(self, paused: bool) -> None:
        """Show in an undrawn picture's place that the inspector is paused during a comparison."""
        self._paused = paused
        self._show()

    # ---- current step ---------------------------------------------------------------------------------------------

    @property
    def picture(self) -> TourPicture:
        """The current step's picture, created when first needed."""
        name = self.steps[self.list.currentRow()].name
        if name not in self._pictures:
            made = self._pictures[name] = PICTURES[name]()
            made.needs_changed.connect(self._on_needs_changed)
            made.save.failed.connect(made.caption.setText)
            made.save.said.connect(self.said)
            self.stack.addWidget(made)
        return self._pictures[name]

    @Slot(int)
    def _on_step_chosen(self, place: int) -> None:
        self.back.setEnabled(place > 0)
        self.next.setEnabled(place < len(self.steps) - 1)
        self.text.setMarkdown(f"##{self.steps[place].text}")  # a level-1 heading would be too large
        self._collect()

    @Slot()
    def _on_needs_changed(self) -> None:
        self._stale.add(self.picture)
        self._collect()

    def _collect(self) -> None:
        """Request the data of the picture, if the tour is visible."""
        if self.isVisible():
            self._facts.collect(self.picture.needs)
            self._show()

    @Slot()
    def _show(self) -> None:
        if not self.isVisible():
            return
        picture, matrix = self.picture, self._facts.matrix
        self.heading.setText("" if matrix is None or not picture.needs else matrix.module)
        if self._facts.is_complete:
            if picture not in self._drawn or picture in self._stale:
                self._drawn.add(picture)
                self._stale.discard(picture)
                picture.draw(self._facts)
            self.stack.setCurrentWidget(picture)
        elif picture not in self._drawn or self._facts.problem:
            self.message.setText(self._facts.problem or self._waiting())
            self.stack.setCurrentWidget(self.message)

    def _waiting(self) -> str:
        if self._paused:
            return "A comparison is running. The picture is drawn when it is over, so that its timings stay true."
        if self._facts.outline is None:
            return "The picture is drawn here once the model's modules are known."
        return "The matrix is being read and quantized …"

    @Slot(QUrl)
    def _on_link(self, url: QUrl) -> None:
        if url.path() == _OUTLIERS:
            self.outliers_wanted.emit()

    def showEvent(self, event: QShowEvent) -> None:
        """Request the current picture's data, because the tour was hidden."""
        super().showEvent(event)
        self._collect()
