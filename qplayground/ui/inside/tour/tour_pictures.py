"""The tour's pictures of a matrix or a part of it. Every number comes from the engine."""

from collections.abc import Mapping

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QLabel, QSpinBox, QWidget

from qplayground.core.inside import Picture, QuantizationParams, QuantizedMatrix
from qplayground.core.measures.floats import Counts
from qplayground.core.units import bytes_text, share_text, significant
from qplayground.ui.charts.choices import ChoicesChart
from qplayground.ui.charts.inside.heat_map import HeatMap
from qplayground.ui.charts.inside.rounding import RoundingPlot
from qplayground.ui.charts.inside.scales_plot import ScalesPlot, median_absmax
from qplayground.ui.charts.inside.weight_histogram import WeightHistogram
from qplayground.ui.inside.saving import SaveButton
from qplayground.ui.inside.tour.tour_facts import Need, ProbeNeed, TileNeed, TourFacts
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.parts import in_column, in_row, selectable_label

NF4 = QuantizationParams()
NF4_TWICE = QuantizationParams(double_quant=True)
EVEN = QuantizationParams(method="uniform4")
EVEN_WHOLE = QuantizationParams(method="uniform4", block_size=None)
INT8 = QuantizationParams(method="int8").checked()

_FEW = 64
"""The number of weights shown of a row: one block of the smallest size."""
_ORIGINAL = TileNeed(Picture.ORIGINAL, rows=1, columns=_FEW)
_Chart = HeatMap | RoundingPlot | ScalesPlot | WeightHistogram | ChoicesChart


def _row_needs(params: QuantizationParams) -> tuple[Need, ...]:
    return (params, _ORIGINAL, TileNeed(Picture.DEQUANTIZED, params, 1, _FEW), ProbeNeed(params, 0, 0))


class TourPicture(QWidget):
    """Charts with a line of figures below. `needs`: the data that `draw` reads. Signal: `needs_changed()`."""

    needs_changed = Signal()
    needs: tuple[Need, ...] = ()

    def __init__(self, charts: Mapping[str, _Chart]) -> None:
        """`charts` by the names to save them under. Subclasses add widgets to `body`, which holds the charts."""
        super().__init__()
        self.caption = selectable_label("Figures of the picture")
        self.caption.setMinimumWidth(1)
        self.caption.setFont(theme.tabular(self.caption.font()))
        self.save = SaveButton(charts)
        self.body = in_column(*charts.values(), spacing=-1)
        for chart in charts.values():
            self.body.setStretchFactor(chart, 1)
        below = in_row(self.caption, self.save, grows=self.caption, spacing=-1)
        below.setAlignment(self.save, Qt.AlignmentFlag.AlignTop)
        in_column(self.body, below, within=self, grows=self.body, spacing=-1)

    def draw(self, facts: TourFacts) -> None:
        """Draw the facts. All `needs` are met."""
        raise NotImplementedError


class MatrixPicture(TourPicture):
    """The whole matrix."""

    needs = (TileNeed(Picture.ORIGINAL),)

    def __init__(self) -> None:
        self.map = HeatMap()
        super().__init__({"Weight matrix": self.map})

    def draw(self, facts: TourFacts) -> None:
        matrix = facts.matrix
        assert matrix is not None
        reach = max(abs(matrix.lowest), abs(matrix.highest))
        self.map.show_matrix(matrix.rows, matrix.columns)
        self.map.show_tile(facts.tiles[TileNeed(Picture.ORIGINAL)], -reach, reach)
        self.caption.setText(
            f"{matrix.rows:,} rows × {matrix.columns:,} columns are {matrix.rows * matrix.columns:,} weights, "
            f"{bytes_text(matrix.stored_bytes)} in {matrix.stored_dtype}. They lie between "
            f"{significant(matrix.lowest)} and {significant(matrix.highest)}, most of them within "
            f"{significant(matrix.std)} of {significant(matrix.mean)} (the standard deviation and the mean)."
        )


class RoundingPicture(TourPicture):
    """The first weights of a row, with the levels of their own block."""

    needs = _row_needs(EVEN)

    def __init__(self) -> None:
        self.plot = RoundingPlot()
        super().__init__({"Rounding": self.plot})

    def draw(self, facts: TourFacts) -> None:
        before, after, levels = _row(facts, EVEN)
        self.plot.show_weights(before, after, levels)
        moved = max(abs(back - value) for value, back in zip(before, after, strict=True))
        self.caption.setText(
            f"{len(before)} weights of row 0. {len(levels)} levels from {significant(levels[0])} to "
            f"{significant(levels[-1])}, {significant(levels[1] - levels[0])} apart. The weight that was moved "
            f"farthest was moved by {significant(moved)}."
        )


class WholeScalePicture(TourPicture):
    """The same weights, with the levels of the whole matrix."""

    needs = (EVEN, TileNeed(Picture.DEQUANTIZED, EVEN, 1, _FEW), *_row_needs(EVEN_WHOLE))

    def __init__(self) -> None:
        self.plot = RoundingPlot()
        super().__init__({"One scale for all": self.plot})

    def draw(self, facts: TourFacts) -> None:
        before, after, levels = _row(facts, EVEN_WHOLE)
        own = facts.tiles[TileNeed(Picture.DEQUANTIZED, EVEN, 1, _FEW)].values.values
        self.plot.show_weights(before, after, levels)
        self.caption.setText(
            f"The largest of these {len(before)} weights is {significant(max(map(abs, before)))}, of the whole matrix "
            f"{significant(facts.probes[ProbeNeed(EVEN_WHOLE, 0, 0)].absmax)}. They now use {len(set(after))} of "
            f"{len(levels)} levels; with a scale of their own they used {len(set(own))}. Relative error of the whole "
            f"matrix: {_error(facts.quantized[EVEN_WHOLE])}; with a scale for each block of 64, "
            f"{_error(facts.quantized[EVEN])}."
        )


class AbsmaxPicture(TourPicture):
    """The absmax of every block."""

    needs = (NF4,)

    def __init__(self) -> None:
        self.plot = ScalesPlot()
        super().__init__({"Absmax of every block": self.plot})

    def draw(self, facts: TourFacts) -> None:
        quantized = facts.quantized[NF4]
        scales = quantized.scales
        self.plot.show_scales(scales, _FEW)
        self.caption.setText(
            f"{scales.count:,} blocks of {_FEW} weights. The smallest absmax is "
            f"{significant(min(scales.lowest.values))}, a typical one {significant(median_absmax(scales))}, "
            f"the largest {significant(max(scales.highest.values))}."
        )


class CodebooksPicture(TourPicture):
    """The distribution of the weights, with NF4's levels and with even ones."""

    needs = (NF4, EVEN)

    def __init__(self) -> None:
        self.plots = {NF4: WeightHistogram(), EVEN: WeightHistogram()}
        super().__init__({"NF4's levels": self.plots[NF4], "Even levels": self.plots[EVEN]})

    def draw(self, facts: TourFacts) -> None:
        assert facts.matrix is not None
        parts = []
        for params, plot in self.plots.items():
            quantized = facts.quantized[params]
            plot.show_matrix(facts.matrix, quantized.levels, median_absmax(quantized.scales))
            parts.append(
                f"{params.kind.label}: relative error {_error(quantized)}, the level used most has "
                f"{share_text(_largest_share(quantized.usage))} of the weights"
            )
        self.caption.setText(f"{'; '.join(parts)}.{price_of(facts.quantized[NF4], facts.quantized[EVEN])}")


class DequantizePicture(TourPicture):
    """One weight, quantized and dequantized. Its column is chosen below the chart."""

    def __init__(self) -> None:
        self.plot = RoundingPlot()
        super().__init__({"One weight": self.plot})
        self.column = QSpinBox(maximum=_FEW - 1)
        self.column.setAccessibleName("Column of the weight")
        self.column.valueChanged.connect(self._follow)
        label = QLabel("Follow the weight in row 0, column")
        label.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        self.body.addLayout(in_row(label, self.column, None, spacing=-1))
        self._follow(0)

    @Slot(int)
    def _follow(self, column: int) -> None:
        self.needs = (*_row_needs(NF4), ProbeNeed(NF4, 0, column))
        self.needs_changed.emit()

    def draw(self, facts: TourFacts) -> None:
        before, after, levels = _row(facts, NF4)
        weight = facts.probes[ProbeNeed(NF4, 0, self.column.value())]
        self.column.setMaximum(len(before) - 1)
        self.plot.show_weights(before, after, levels, marked=weight.column)
        scaled = significant(weight.value / weight.absmax) if weight.absmax else "0"
        self.caption.setText(
            f"Value {significant(weight.value, 4)}  →  divided by its block's absmax, {significant(weight.absmax, 4)}: "
            f"{scaled}  →  nearest level: code {weight.code}  →  level {significant(weight.level, 4)}  →  times the "
            f"absmax: {significant(weight.back, 4)}, error {significant(weight.error)}."
        )


def _row(facts: TourFacts, params: QuantizationParams) -> tuple[list[float], list[float], list[float]]:
    """The first weights of row 0, their dequantized values, and the levels of their block as weights."""
    before = list(facts.tiles[_ORIGINAL].values.values)
    after = list(facts.tiles[TileNeed(Picture.DEQUANTIZED, params, 1, _FEW)].values.values)
    absmax = facts.probes[ProbeNeed(params, 0, 0)].absmax
    return before, after, [absmax * level for level in facts.quantized[params].levels.values]


def _error(quantized: QuantizedMatrix) -> str:
    return "unknown" if quantized.figures is None else share_text(quantized.figures.relative_error)


def price_of(nf4: QuantizedMatrix, even: QuantizedMatrix) -> str:
    """The price of NF4's smaller relative error: a larger single error. Empty if there is none."""
    if nf4.figures is None or even.figures is None:
        return ""
    is_better = nf4.figures.relative_error < even.figures.relative_error
    if not (is_better and nf4.figures.max_abs_error > even.figures.max_abs_error):
        return ""
    levels = sorted(zip(nf4.levels.values, nf4.usage.values, strict=True))
    (lowest, lowest_used), (low, _), (high, _), (highest, highest_used) = *levels[:2], *levels[-2:]
    near, far = sorted((low - lowest, highest - high))
    first, second, *_ = sorted(even.levels.values)
    return (
        f" Yet NF4 moves a single weight by up to {significant(nf4.figures.max_abs_error)}, even levels by up to "
        f"{significant(even.figures.max_abs_error)}. Next to its ends NF4's levels are {significant(near)} and "
        f"{significant(far)} of the absmax apart; even ones are {significant(second - first)} apart. Only "
        f"{share_text((lowest_used + highest_used) / sum(nf4.usage.values))} of the weights are stored as one of the "
        "two ends."
    )


def _largest_share(usage: Counts) -> float | None:
    counts = usage.values
    return max(counts) / sum(counts) if sum(counts) else None
