"""pyqtgraph in the program's colours."""

import pyqtgraph as pg
from PySide6.QtGui import QColor, QFont, QPalette
from PySide6.QtWidgets import QWidget

from qplayground.ui.widgets import theme

MEGABYTE = 1_000_000
CURVE_WIDTH = 2
_PALE = 60
_LEGEND_POINTS = 9
"""The library's own size."""


def paint(plot: pg.PlotItem, shown: QWidget) -> None:
    """Give a plot's axes and its legend the palette and the size of text of the widget that shows it."""
    text = shown.palette().color(QPalette.ColorRole.Text)
    for side in ("left", "bottom", "top", "right"):
        axis = plot.getAxis(side)
        axis.setPen(pg.mkPen(secondary(shown)))
        axis.setTextPen(pg.mkPen(text))
        axis.label.setFont(shown.font())
        axis.setStyle(tickFont=tick_font(shown))
        # The labels name their units. Switching the prefixes off alone would keep the one of that moment's range.
        axis.setSIPrefixEnableRanges(())
        axis.enableAutoSIPrefix(False)
    if plot.legend is not None:
        paint_legend(plot.legend, shown)


def show_values(plot: pg.PlotItem, shown: bool) -> None:
    """Let its axes have numbers; at those of nothing they would say something."""
    for side in ("left", "bottom"):
        plot.getAxis(side).setStyle(showValues=shown)


def label(text: str, x: float, y: float, shown: QWidget, anchor: tuple[float, float] = (0, 0.5)) -> pg.TextItem:
    """A text in a plot, in small letters, whose `anchor` lies at that place."""
    item = pg.TextItem(text, color=shown.palette().color(QPalette.ColorRole.Text), anchor=anchor)
    item.setFont(tick_font(shown))
    item.setPos(x, y)
    return item


def paint_legend(legend: pg.LegendItem, shown: QWidget) -> None:
    """The same for a legend; by itself it colours new labels only."""
    text = shown.palette().color(QPalette.ColorRole.Text)
    size = f"{_LEGEND_POINTS * theme.text_scale():g}pt"
    legend.setLabelTextColor(text)
    legend.setLabelTextSize(size)
    for _, label in legend.items:
        label.setText(label.text, color=text, size=size)


def secondary(shown: QWidget) -> QColor:
    """The colour of what is not the data."""
    return shown.palette().color(QPalette.ColorRole.PlaceholderText)


def tick_font(shown: QWidget) -> QFont:
    """Small tabular digits."""
    return theme.tabular(theme.small(shown.font()))


def curve_pen(name: str, shown: QWidget, width: float = CURVE_WIDTH) -> object:
    """The pen of a precision's curve: its hue and its line style. `width` in pixels."""
    return pg.mkPen(theme.color(name, theme.is_dark(shown)), width=width, style=theme.line_style(name))


def data_look(hue: QColor, is_doubtful: bool) -> dict[str, object]:
    """Brush and pen of a bar or a dot: pale where something spoilt the figure, with an edge that shows its end."""
    if is_doubtful:
        return {"brush": faded(hue, _PALE), "pen": pg.mkPen(hue, width=1)}
    return {"brush": hue, "pen": pg.mkPen(None)}


def doubtful_pen(name: str, shown: QWidget) -> object:
    """The pen of a curve that something spoilt: its hue, pale."""
    color = faded(theme.color(name, theme.is_dark(shown)), 2 * _PALE)
    return pg.mkPen(color, width=1, style=theme.line_style(name))


def level_pen(name: str, shown: QWidget) -> object:
    """The pen of what was predicted: the precision's hue, thin."""
    return pg.mkPen(theme.color(name, theme.is_dark(shown)), width=1)


def faded(color: QColor, alpha: int) -> QColor:
    """That colour, see-through. `alpha` from 0 to 255."""
    copy = QColor(color)
    copy.setAlpha(alpha)
    return copy
