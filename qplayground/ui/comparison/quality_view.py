"""The Quality tab: the accuracy loss of each precision in sentences, figures and charts."""

from collections.abc import Callable
from typing import NamedTuple, cast

from PySide6.QtCore import QEvent, Qt, QTimer, Slot
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QLabel,
    QSplitter,
    QTableWidget,
    QTableWidgetItem,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from qplayground.core.commentary.recommendation import recommendation
from qplayground.core.commentary.verdicts import further_sentences, quality_sentence, reference_sentence, source_text
from qplayground.core.comparison.results import Comparison, Run
from qplayground.core.measures.quality import Quality
from qplayground.core.units import number_text, share_text, significant
from qplayground.ui.charts.comparison.divergences import DivergenceAlongText, DivergenceHistogram, compared
from qplayground.ui.charts.comparison.layer_errors import LayerErrors
from qplayground.ui.charts.comparison.trade_off import TradeOffChart
from qplayground.ui.comparison.scored_text_view import ScoredTextView
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.name_box import NameBox
from qplayground.ui.widgets.page import scroll_area
from qplayground.ui.widgets.parts import in_column, in_row, note, selectable_label

_MINIMUM_HEIGHT = 120
_LOW_PAGE = 260
"""In pixels: the height that a chart above a few lines of text needs."""


class _Figure(NamedTuple):
    title: str
    tip: str
    text: Callable[[Quality], str]


def _with_error(value: float | None, error: float | None, scale: float = 1.0) -> str:
    """The value with its standard error: two significant digits of the error, and as many decimals for the value."""
    if value is None:
        return "–"
    if not error:
        return number_text(scale * value)
    beside = significant(scale * error, 2)
    places = len(beside.partition(".")[2])
    return f"{scale * value:,.{places}f} ± {beside}"


_FIGURES = (
    _Figure(
        "Perplexity", "exp of the mean negative log-probability", lambda q: _with_error(q.perplexity, q.perplexity_se)
    ),
    _Figure(
        "Ratio",
        "Its perplexity over the reference's; paired, so that its error is small",
        lambda q: _with_error(q.ppl_ratio, q.ppl_ratio_se),
    ),
    _Figure(
        "Mean KLD",
        "Kullback-Leibler divergence from the reference's distribution, in nats",
        lambda q: _with_error(q.mean_kld, q.mean_kld_se),
    ),
    _Figure(
        "Rounding KLD",
        "What rounding the reference's logits to this number type alone gives; no run of that type is below it",
        lambda q: number_text(q.rounding_kld or None),
    ),
    _Figure("Median KLD", "Half of the tokens diverge less", lambda q: number_text(q.median_kld)),
    _Figure("90 % KLD", "of the tokens diverge less", lambda q: number_text(q.p90_kld)),
    _Figure("95 % KLD", "of the tokens diverge less", lambda q: number_text(q.p95_kld)),
    _Figure("99 % KLD", "of the tokens diverge less", lambda q: number_text(q.p99_kld)),
    _Figure("99.9 % KLD", "of the tokens diverge less", lambda q: number_text(q.p999_kld)),
    _Figure("Max. KLD", "the largest divergence", lambda q: number_text(q.max_kld)),
    _Figure(
        "Same top, %",
        "How often both put the same token first",
        lambda q: _with_error(q.same_top1, q.same_top1_se, 100),
    ),
    _Figure(
        "Δp, %",
        "Change of the right token's probability, mean",
        lambda q: _with_error(q.mean_delta_p, q.mean_delta_p_se, 100),
    ),
    _Figure(
        "Δp RMS, %", "Root of the mean square of that change", lambda q: share_text(q.rms_delta_p).removesuffix(" %")
    ),
    _Figure("Δp 1 %", "of the tokens lose more, in %", lambda q: share_text(q.p1_delta_p).removesuffix(" %")),
    _Figure("Δp 99 %", "of the tokens gain less, in %", lambda q: share_text(q.p99_delta_p).removesuffix(" %")),
)


def _in_two_lines(title: str) -> str:
    """Break before the last word, so that more columns fit."""
    return "\n".join(title.rsplit(" ", 1))


class _AlongPage(QSplitter):
    """The chart above the text, or beside it if the page is too low."""

    def __init__(self) -> None:
        super().__init__(Qt.Orientation.Vertical, childrenCollapsible=False)

    def resizeEvent(self, event: QResizeEvent) -> None:
        is_low = event.size().height() < _LOW_PAGE
        wanted = Qt.Orientation.Horizontal if is_low else Qt.Orientation.Vertical
        if self.orientation() is not wanted:
            self.setOrientation(wanted)
            self.setSizes([1000, 1000])  # equal parts: setSizes() scales them
        super().resizeEvent(event)


class QualityView(QWidget):
    """Sentences, a table and charts of a comparison whose runs scored a text."""

    def __init__(self) -> None:
        super().__init__()
        self._comparison: Comparison | None = None
        self._stale: set[int] = set()  # pages not redrawn yet
        self.sentences = selectable_label("What each precision costs in accuracy")
        self.source = note("")
        self.table = QTableWidget(0, 1 + len(_FIGURES))
        self.table.setAccessibleName("Quality figures of every precision")
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setFont(theme.tabular(self.table.font()))
        self.table.setShowGrid(False)
        self.table.setFrameShape(QTableWidget.Shape.NoFrame)
        self.table.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.table.setAlternatingRowColors(True)
        self.table.verticalHeader().hide()
        self.histogram = DivergenceHistogram()
        self.along = DivergenceAlongText()
        self.text = ScoredTextView()
        self.candidate = NameBox()
        self.candidate.setAccessibleName("Whose divergence the text shows")
        self.candidate.currentIndexChanged.connect(self._show_text)
        self.layers = LayerErrors()
        self.trade_off = TradeOffChart(across="weight_bytes", up="mean_kld")
        self.expected = selectable_label("What was expected at the picked token")
        self.expected.setMinimumWidth(1)
        self._picked: int | None = None
        self.along.picked.connect(self.text.select)
        self.text.picked.connect(self.along.mark)
        for source in (self.along, self.text):
            source.picked.connect(self._on_picked)
        self.pages = QTabWidget(documentMode=True)
        self.pages.addTab(self._figures_page(), "Figures")
        self.pages.addTab(self.histogram, "Distribution")
        self.pages.addTab(self._along_page(), "Along the text")
        self.pages.addTab(self.layers, "Layers")
        self.pages.addTab(self.trade_off, "Against memory")
        self.pages.currentChanged.connect(self._draw_page)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.pages)
        self.setMinimumHeight(_MINIMUM_HEIGHT)  # the pages scroll, so that opening this tab does not move the splitter

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange and self._comparison is not None:
            QTimer.singleShot(0, self, self._fill_table)  # after the table has the new font too

    @property
    def view(self) -> QWidget | None:
        """The visible chart, or None."""
        charts = (None, self.histogram, self.along, self.layers, self.trade_off)
        shown = charts[self.pages.currentIndex()]
        return None if shown is None else cast(QWidget, shown.view)

    @Slot(object)
    def show_comparison(self, comparison: Comparison) -> None:
        """Show the scores of the runs. Each page is drawn when it becomes visible."""
        self._comparison = comparison
        self._stale = set(range(self.pages.count()))
        for place in range(1, self.pages.count()):
            self.pages.setTabEnabled(place, bool(compared(comparison)))
            self.pages.setTabToolTip(place, "" if compared(comparison) else "There is nothing to compare yet.")
        self._draw_page(self.pages.currentIndex())

    @Slot(int)
    def _draw_page(self, place: int) -> None:
        comparison = self._comparison
        if comparison is None or place not in self._stale:
            return
        self._stale.discard(place)
        draw = (
            self._show_figures,
            self.histogram.show_comparison,
            self._show_along,
            self.layers.show_comparison,
            self.trade_off.show_comparison,
        )[place]
        draw(comparison)

    def _show_figures(self, comparison: Comparison) -> None:
        lines = [recommendation(comparison), reference_sentence(comparison)]
        lines += (quality_sentence(comparison, run) for run in comparison.runs)
        for run in comparison.runs:
            lines += further_sentences(comparison, run)
        self.sentences.setText("\n".join(line for line in lines if line))
        self.source.setText(source_text(comparison))
        self._fill_table()

    def _show_along(self, comparison: Comparison) -> None:
        self.along.show_comparison(comparison)
        self._picked = None
        self.candidate.offer([run.id for run in compared(comparison)])
        self._show_text()

    def _figures_page(self) -> QWidget:
        """As high as its content; it scrolls in a small window."""
        page = QWidget()
        margins = (theme.GRID, theme.HALF_GRID, theme.GRID, theme.HALF_GRID)
        in_column(self.sentences, self.table, self.source, None, within=page, spacing=theme.GRID, margins=margins)
        return scroll_area(page)

    def _along_page(self) -> QWidget:
        key = note(
            "the stronger, the farther from the reference, full at 1 nat · click a spot in the chart or the text"
        )
        key.setMinimumWidth(1)
        margins = (theme.GRID, 0, theme.GRID, 0)
        chosen = in_row(QLabel("Colour:"), self.candidate, key, grows=key, spacing=theme.HALF_GRID, margins=margins)
        below = QWidget()
        in_column(
            chosen,
            in_row(self.expected, margins=margins),
            self.text,
            within=below,
            grows=self.text,
            spacing=theme.HALF_GRID,
        )
        splitter = _AlongPage()
        splitter.addWidget(self.along)
        splitter.addWidget(below)
        return splitter

    @Slot()
    def _fill_table(self) -> None:
        runs: list[Run] = [] if self._comparison is None else self._comparison.runs
        runs = [run for run in runs if run.quality is not None]
        for column, (title, tip) in enumerate([("Precision", ""), *((each.title, each.tip) for each in _FIGURES)]):
            heading = QTableWidgetItem(_in_two_lines(title))
            heading.setToolTip(tip)
            self.table.setHorizontalHeaderItem(column, heading)
        self.table.setRowCount(len(runs))
        for row, run in enumerate(runs):
            assert run.quality is not None
            texts = [run.id, *(figure.text(run.quality) for figure in _FIGURES)]
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                if column:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.table.setItem(row, column, item)
        self.table.resizeColumnsToContents()
        self.table.resizeRowsToContents()
        rows = sum(self.table.rowHeight(row) for row in range(self.table.rowCount()))
        bar = self.table.horizontalScrollBar().sizeHint().height()
        self.table.setFixedHeight(self.table.horizontalHeader().sizeHint().height() + rows + bar)

    @Slot(int)
    def _on_picked(self, token: int) -> None:
        self._picked = token
        self.expected.setText(" ".join(self.text.expectations(token)))
        self.expected.setToolTip(theme.literal(self.expected.text()))

    @Slot()
    def _show_text(self) -> None:
        comparison, name = self._comparison, self.candidate.currentText()
        if comparison is None:
            return
        run = next((run for run in compared(comparison) if run.id == name), None)
        reference = "" if run is None or run.quality is None else run.quality.reference or ""
        base = next((other for other in comparison.runs if other.id == reference), None)
        self.text.show_run(
            comparison.evaluation,
            (reference, name),
            None if base is None else base.scored,
            None if run is None else run.scored,
            theme.color(name, theme.is_dark(self)),
        )
        if self._picked is None:
            self.expected.clear()
        else:
            self._on_picked(self._picked)
