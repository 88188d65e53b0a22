"""The tour's pictures that compare several parameters, or parts of the model."""

from collections.abc import Sequence

from PySide6.QtCore import Qt, QTimer, Slot
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from qplayground.core.inside import Kept, ModelOutline, QuantizationParams, QuantizedMatrix
from qplayground.core.units import bytes_text, share_text, significant
from qplayground.ui.charts import style
from qplayground.ui.charts.choices import ChoicesChart
from qplayground.ui.inside.tour.tour_facts import TourFacts
from qplayground.ui.inside.tour.tour_pictures import EVEN, EVEN_WHOLE, TourPicture
from qplayground.ui.widgets import theme

BLOCKS = (EVEN_WHOLE, *(QuantizationParams(method=EVEN.method, block_size=size) for size in (4096, 1024, 256)), EVEN)
_HEADINGS = ("Bits a weight", "Relative error", "SNR", "Largest error")
_EXAMPLE_WIDTH = 128
_QUANTIZED = "quantized"
_PREFERRED = "nf4"
"""The precision used as the example, if the outline has it."""


class ChoicesPicture(TourPicture):
    """One matrix under several parameters: bars, and a table with all figures."""

    def __init__(self, name: str, params: tuple[QuantizationParams, ...]) -> None:
        self.chart = ChoicesChart(name)
        super().__init__({name: self.chart})
        methods = {each.kind.label for each in params}
        self._method = methods.pop() if len(methods) == 1 else ""
        self.table = SmallTable((self._method or "Choice", *_HEADINGS))
        self._params = self.needs = params
        self.body.addWidget(self.table)

    def draw(self, facts: TourFacts) -> None:
        found = [facts.quantized[params] for params in self._params]
        self._draw_bars(found)
        self.table.show_rows([_figures(quantized, self._name(quantized)) for quantized in found])
        assert facts.matrix is not None
        self.caption.setText(f"Measured on {facts.matrix.rows:,} × {facts.matrix.columns:,} weights.")

    def _name(self, quantized: QuantizedMatrix) -> str:
        """The parameters' label without the method, if all share it: the column heading names it."""
        return quantized.params.label.removeprefix(f"{self._method}, ")

    def _draw_bars(self, found: list[QuantizedMatrix]) -> None:
        bars = [(each.params.label, (100 * each.figures.relative_error,)) for each in found if each.figures is not None]
        self.chart.show_bars("relative error, %", bars)


class BitsPicture(ChoicesPicture):
    """How the bits per weight are spent."""

    def _draw_bars(self, found: list[QuantizedMatrix]) -> None:
        bars = []
        for each in found:
            if each.figures is not None:
                codes = each.params.kind.bits
                bars.append((each.params.label, (float(codes), each.figures.bits_per_weight - codes)))
        self.chart.show_bars("bits a weight", bars, ("codes", "scales and code tables"))


class KeptPicture(TourPicture):
    """Which parts of the model are quantized, which are kept, and why."""

    def __init__(self) -> None:
        self.chart = ChoicesChart("Quantized and kept")
        super().__init__({"Quantized and kept": self.chart})
        self.table = SmallTable(("Part", "Modules", "Bytes", "Share", "Such as"))
        header = self.table.horizontalHeader()  # names may be elided: tool tips give them in full
        header.setSectionResizeMode(4, QHeaderView.ResizeMode.Interactive)
        header.resizeSection(4, _EXAMPLE_WIDTH)
        self.body.addWidget(self.table)

    def draw(self, facts: TourFacts) -> None:
        assert facts.outline is not None
        precision = quantizing_precision(facts.outline)
        if not precision:
            before = facts.outline.quantized_by
            self.caption.setText(
                f"This checkpoint was quantized before it was saved ({before}): what each precision would keep is only "
                "known of the original model."
                if before
                else "No quantized precision is known for this model."
            )
            self.chart.show_bars("", [])
            self.table.show_rows([])
            return
        parts = parts_of(facts.outline, precision)
        total = sum(part[2] for part in parts)
        self.chart.show_bars("MB", [(_part_name(name), (size / style.MEGABYTE,)) for name, _, size, _ in parts if size])
        self.table.show_rows(
            [
                (_part_name(name), f"{count:,}", bytes_text(size), share_text(size / total if total else None), example)
                for name, count, size, example in parts
            ]
        )
        self.caption.setText(
            f"The model's weights in {precision}: {bytes_text(total)}. A weight that two modules share is counted "
            "where it comes first."
        )


class SmallTable(QTableWidget):
    """A few rows of text, as high as its content."""

    def __init__(self, headings: Sequence[str]) -> None:
        super().__init__(0, len(headings))
        self.setHorizontalHeaderLabels(list(headings))
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setFont(theme.tabular(self.font()))
        self.setShowGrid(False)
        self.setFrameShape(QTableWidget.Shape.NoFrame)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setAlternatingRowColors(True)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)  # names start and end alike
        self.verticalHeader().hide()
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)  # it would hide the last row
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self._soon = QTimer(self, singleShot=True, interval=0)
        self._soon.timeout.connect(self._fit_height)
        header.sectionResized.connect(self._soon.start)  # a narrow column wraps to more lines
        self.setAccessibleName("Figures")
        theme.follow_text(self, self._soon.start)  # after its headings have the new font too

    def show_rows(self, rows: Sequence[Sequence[str]]) -> None:
        """Show these texts. Those that start with a digit are right-aligned."""
        self.setRowCount(len(rows))
        for row, texts in enumerate(rows):
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setToolTip(theme.tip(text))
                if column and text[:1].isdigit():
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.setItem(row, column, item)
        self._fit_height()

    @Slot()
    def _fit_height(self) -> None:
        self.resizeRowsToContents()
        rows_height = sum(self.rowHeight(row) for row in range(self.rowCount()))
        self.setFixedHeight(self.horizontalHeader().sizeHint().height() + rows_height + 2)


def quantizing_precision(outline: ModelOutline) -> str:
    """A precision that quantizes: `nf4` if the outline has it, else the first one, empty if there is none."""
    names = list(dict.fromkeys(name for module in outline.modules for name in module.kept))
    return _PREFERRED if _PREFERRED in names else next(iter(names), "")


def parts_of(outline: ModelOutline, precision: str) -> list[tuple[str, int, int, str]]:
    """The quantized part, then one part per reason for keeping: name, modules, bytes in the precision, an example."""
    found: dict[str, list[tuple[str, int]]] = {_QUANTIZED: []}
    for module in outline.modules:
        reason: Kept | None = module.kept.get(precision)
        name = _QUANTIZED if reason is None else reason.value
        found.setdefault(name, []).append((module.name, module.bytes.get(precision, 0)))
    parts = []
    for name, modules in found.items():
        if modules:
            largest = max(modules, key=lambda each: each[1])
            parts.append((name, len(modules), sum(size for _, size in modules), largest[0]))
    return parts


def _part_name(name: str) -> str:
    return name if name == _QUANTIZED else f"kept: {name}"


def _figures(quantized: QuantizedMatrix, name: str) -> tuple[str, ...]:
    figures = quantized.figures
    if figures is None:
        return (name, *("–",) * len(_HEADINGS))
    return (
        name,
        f"{figures.bits_per_weight:.3f}",
        share_text(figures.relative_error),
        "–" if figures.snr_db is None else f"{figures.snr_db:.1f} dB",
        significant(figures.max_abs_error),
    )
