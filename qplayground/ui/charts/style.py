"""Applies the program's theme to pyqtgraph."""

import pyqtgraph as pg
from PySide6.QtGui import QColor, QFont, QPalette
from PySide6.QtWidgets import QWidget

from qplayground.ui.widgets import theme

MEGABYTE = 1_000_000
CURVE_WIDTH = 2
_PALE = 60
_LEGEND_POINTS = 9
"""pyqtgraph's default."""


def paint(plot: pg.PlotItem, shown: QWidget) -> None:
    """Apply the palette and text size of `shown` to a plot's axes and legend."""
    text = shown.palette().color(QPalette.ColorRole.Text)
    for side in ("left", "bottom", "top", "right"):
        axis = plot.getAxis(side)
        axis.setPen(pg.mkPen(secondary(shown)))
        axis.setTextPen(pg.mkPen(text))
        axis.label.setFont(shown.font())
        axis.setStyle(tickFont=tick_font(shown))
        # The labels name their units. enableAutoSIPrefix(False) alone would keep the current range's prefix.
        axis.setSIPrefixEnableRanges(())
        axis.enableAutoSIPrefix(False)
    if plot.legend is not None:
        paint_legend(plot.legend, shown)


def show_values(plot: pg.PlotItem, shown: bool) -> None:
    """Show or hide the axis values. Without data they would be meaningless."""
    for side in ("left", "bottom"):
        plot.getAxis(side).setStyle(showValues=shown)


def label(text: str, x: float, y: float, shown: QWidget, anchor: tuple[float, float] = (0, 0.5)) -> pg.TextItem:
    """A small text in a plot, with its `anchor` at (x, y)."""
    item = pg.TextItem(text, color=shown.palette().color(QPalette.ColorRole.Text), anchor=anchor)
    item.setFont(tick_font(shown))
    item.setPos(x, y)
    return item


def paint_legend(legend: pg.LegendItem, shown: QWidget) -> None:
    """Apply the palette and text size to a legend, which would update only new labels."""
    text = shown.palette().color(QPalette.ColorRole.Text)
    size = f"{_LEGEND_POINTS * theme.text_scale():g}pt"
    legend.setLabelTextColor(text)
    legend.setLabelTextSize(size)
    for _, label in legend.items:
        label.setText(label.text, color=text, size=size)


def secondary(shown: QWidget) -> QColor:
    """The colour of axes and other secondary items."""
    return shown.palette().color(QPalette.ColorRole.PlaceholderText)


def tick_font(shown: QWidget) -> QFont:
    """A small font with tabular digits."""
    return theme.tabular(theme.small(shown.font()))


def curve_pen(name: str, shown: QWidget, width: float = CURVE_WIDTH) -> object:
    """The pen of a precision's curve: its hue and line style. `width` in pixels."""
    return pg.mkPen(theme.color(name, theme.is_dark(shown)), width=width, style=theme.line_style(name))


def data_look(hue: QColor, is_doubtful: bool) -> dict[str, object]:
    """Brush and pen of a bar or dot. A disturbed figure is pale, with an outline that shows its end."""
    if is_doubtful:
        return {"brush": faded(hue, _PALE), "pen": pg.mkPen(hue, width=1)}
    return {"brush": hue, "pen": pg.mkPen(None)}


def doubtful_pen(name: str, shown: QWidget) -> object:
    """The pen of a disturbed curve: the precision's hue, pale."""
    color = faded(theme.color(name, theme.is_dark(shown)), 2 * _PALE)
    return pg.mkPen(color, width=1, style=theme.line_style(name))


def level_pen(name: str, shown: QWidget) -> object:
    """The pen of a predicted value: the precision's hue, thin."""
    return pg.mkPen(theme.color(name, theme.is_dark(shown)), width=1)


def faded(color: QColor, alpha: int) -> QColor:
    """A semi-transparent copy. `alpha` from 0 to 255."""
    copy = QColor(color)
    copy.setAlpha(alpha)
    return copy
