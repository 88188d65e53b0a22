"""A matrix as an image to pan and zoom: an overview, with a detailed tile above it."""

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, QObject, QPointF, QRectF, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QImage, QKeyEvent, QPalette

from qplayground.core.inside import Picture, Tile
from qplayground.ui.charts import style
from qplayground.ui.charts.chart import Chart
from qplayground.ui.charts.inside.block_borders import block_borders
from qplayground.ui.charts.inside.code_scale import CodeScale
from qplayground.ui.charts.inside.tile_stack import Part, TileStack, tile_values
from qplayground.ui.widgets import theme

TILE_HEIGHT, TILE_WIDTH = 700, 1000
"""The maximum size of a requested tile, in pixels."""
SETTLE_MS = 60
_LOWEST_BLOCK, _LOWEST_ROW = 6.0, 4.0
"""Block borders, and borders between rows, are hidden below this many pixels."""
_AXIS_WIDTH, _AXIS_HEIGHT, _KEY_WIDTH = 62, 40, 62
_MOST_BLOCKS = 10_000
_CLOSE_ROWS, _CLOSE_COLUMNS = 40, 80
_FEWEST = 4
"""The minimum number of visible rows and columns."""
_ENDS = {False: ("#0B5CAD", "#B3261E"), True: ("#5CB3FF", "#FF8A5C")}
_ARROWS = {
    Qt.Key.Key_Up: (-1, 0),
    Qt.Key.Key_Down: (1, 0),
    Qt.Key.Key_Left: (0, -1),
    Qt.Key.Key_Right: (0, 1),
}


class _Picture(pg.ImageItem):  # type: ignore[misc]  # it publishes no types
    """Keeps its image in the screen's format, because converting an indexed image for each paint is slow."""

    def __init__(self) -> None:
        super().__init__(axisOrder="row-major")

    def render(self) -> None:
        super().render()
        drawn: QImage | None = self.qimage
        if drawn is not None:
            self.qimage: QImage | None = drawn.convertToFormat(QImage.Format.Format_RGB32)


class HeatMap(Chart):
    """Pictures of one matrix, with row 0 on top. It requests no tiles itself: its owner provides them.

    Signals: `settled()` when the visible part changed and now stays; `hovered(row, column)`, `clicked(row, column)` and
    `left()` with the mouse; `stepped(rows, columns)` with the arrow keys.
    """

    settled = Signal()
    hovered = Signal(int, int)
    clicked = Signal(int, int)
    left = Signal()
    stepped = Signal(int, int)

    def __init__(self) -> None:
        super().__init__("The matrix as an image")
        self._rows = self._columns = 0
        self._block_size: int | None = None
        self.tiles = TileStack()
        self._under_mouse: tuple[int, int] | None = None
        self._levels = (-1.0, 1.0)
        self._codes: CodeScale | None = None
        self.view.setAntialiasing(False)  # no slanted lines here, and drawing is faster
        self.view.installEventFilter(self)
        self.plot = self.view.addPlot(labels={"bottom": "column", "left": "row"}, enableMenu=False)
        self.plot.invertY(True)
        for side in ("left", "bottom"):
            self.plot.getAxis(side).setStyle(maxTickLevel=0)  # ticks are redrawn in each frame
        self.overview = _Picture()
        self.detail = _Picture()
        self.borders = pg.PlotCurveItem(connect="pairs", antialias=False)
        self._mark = pg.ScatterPlotItem(size=11, symbol="s", brush=None)
        for item in (self.overview, self.detail, self.borders, self._mark):
            self.plot.addItem(item, ignoreBounds=item is not self.overview)
        self.key = pg.ColorBarItem(values=self._levels, width=12, interactive=False, colorMapMenu=False)
        self.view.addItem(self.key)
        self._settle = QTimer(self, singleShot=True, interval=SETTLE_MS)
        self._settle.timeout.connect(self.settled)
        self.plot.vb.sigRangeChanged.connect(self._on_range_changed)
        self.plot.vb.sigResized.connect(self._on_range_changed)
        self.plot.scene().sigMouseMoved.connect(self._on_mouse_moved)
        self.plot.scene().sigMouseClicked.connect(self._on_mouse_clicked)
        self._paint()
        self.clear()

    # ---- content ---------------------------------------------------------------------------------------------

    def show_matrix(self, rows: int, columns: int) -> None:
        """Set the shape of the matrix. The previous one and its blocks are removed."""
        self.clear()
        self._rows, self._columns = rows, columns
        self._show_axes(True)
        self._block_size = None
        self.plot.setLimits(
            xMin=0, xMax=columns, yMin=0, yMax=rows, minXRange=min(_FEWEST, columns), minYRange=min(_FEWEST, rows)
        )
        self.show_whole()

    @Slot()
    def show_whole(self) -> None:
        """Show the whole matrix."""
        self.plot.setRange(xRange=(0, self._columns or 1), yRange=(0, self._rows or 1), padding=0)

    def show_blocks(self, block_size: int | None) -> None:
        """Draw the borders of blocks of this many weights, in row-major order. None removes them."""
        self._block_size = block_size
        self._draw_borders()

    def show_tile(self, tile: Tile, low: float, high: float, codes: CodeScale | None = None) -> None:
        """Show a tile in its place, with colours from `low` to `high`. Values beyond are clipped.

        For codes, `low` and `high` are ranks, and `codes` maps codes to ranks. A tile of the whole matrix becomes the
        overview and removes the detail.
        """
        is_overview = (tile.rows, tile.columns) == (self._rows, self._columns)
        self.tiles.put(tile, is_overview=is_overview)
        if is_overview:
            self.detail.clear()
        item = self.overview if is_overview else self.detail
        self._levels = (low, high) if high > low else (low - 1.0, low + 1.0)
        self._codes = codes
        values = tile_values(tile)
        item.setImage(values if codes is None else codes.ranks(values), autoLevels=False, levels=self._levels)
        item.setRect(QRectF(tile.first_column, tile.first_row, tile.columns, tile.rows))
        self._color(tile.picture)

    def clear(self) -> None:
        """Remove everything."""
        self._rows = self._columns = 0
        self.tiles.clear()
        self._under_mouse = None
        for item in (self.overview, self.detail, self.borders, self._mark):
            item.clear()
        self._show_axes(False)

    def _show_axes(self, shown: bool) -> None:
        style.show_values(self.plot, shown)
        self.key.setOpacity(float(shown))

    def mark(self, row: int, column: int) -> None:
        """Mark a weight."""
        self._mark.setData([column + 0.5], [row + 0.5])

    def look_at(self, row: int, column: int) -> None:
        """Zoom to a weight and mark it."""
        width, height = min(_CLOSE_COLUMNS, self._columns), min(_CLOSE_ROWS, self._rows)
        left = min(max(0, column - width // 2), self._columns - width)
        top = min(max(0, row - height // 2), self._rows - height)
        self.plot.setRange(xRange=(left, left + width), yRange=(top, top + height), padding=0)
        self.mark(row, column)

    def keep_in_view(self, row: int, column: int) -> None:
        """Pan, if necessary, to make a weight visible."""
        (left, right), (top, bottom) = self.plot.viewRange()
        x = min(0.0, column - left) + max(0.0, column + 1 - right)
        y = min(0.0, row - top) + max(0.0, row + 1 - bottom)
        if x or y:
            self.plot.vb.translateBy(x=x, y=y)

    # ---- visible part ----------------------------------------------------------------------------------------

    def seen(self) -> Part:
        """The visible part."""
        (left, right), (top, bottom) = self.plot.viewRange()
        first_row, last_row = max(0, int(top)), min(self._rows, int(np.ceil(bottom)))
        first_column, last_column = max(0, int(left)), min(self._columns, int(np.ceil(right)))
        return Part(first_row, last_row - first_row, first_column, last_column - first_column)

    def middle(self) -> tuple[int, int]:
        """The row and column in the centre of the view."""
        first_row, rows, first_column, columns = self.seen()
        return first_row + rows // 2, first_column + columns // 2

    def pixels(self) -> tuple[int, int]:
        """Height and width of a tile at screen resolution, at most TILE_HEIGHT × TILE_WIDTH."""
        size, ratio = self.plot.vb.size(), self.devicePixelRatioF()
        height, width = round(size.height() * ratio), round(size.width() * ratio)
        return min(max(1, height), TILE_HEIGHT), min(max(1, width), TILE_WIDTH)

    @property
    def needs_detail(self) -> bool:
        """Whether the visible part has more detail than the current tiles."""
        return self.tiles.needs_detail(self.seen(), *self.pixels())

    def table(self) -> list[list[object]]:
        """The visible values, for saving. Each row starts with the matrix rows it covers."""
        return self.tiles.table(self.seen())

    # ---- drawing ---------------------------------------------------------------------------------------------

    @Slot()
    def _on_range_changed(self) -> None:
        self._draw_borders()
        self._settle.start()

    def _draw_borders(self) -> None:
        (left, right), (top, bottom) = self.plot.viewRange()
        size, block = self.plot.vb.size(), self._block_size
        if block is None or not self._columns or right <= left or bottom <= top:
            self.borders.clear()
            return
        row_pixels, column_pixels = size.height() / (bottom - top), size.width() / (right - left)
        seen_as = block * column_pixels if block <= self._columns else block / self._columns * row_pixels
        part = self.seen()
        uneven = self._columns % block and part[1] * max(1, part[3] // block) > _MOST_BLOCKS
        if seen_as < _LOWEST_BLOCK or uneven:
            self.borders.clear()
            return
        x, y = block_borders(block, self._rows, self._columns, part, between_rows=row_pixels >= _LOWEST_ROW)
        self.borders.setData(x, y)

    def _color(self, picture: Picture) -> None:
        dark = theme.is_dark(self)
        if picture is Picture.CODES:
            colors = pg.colormap.get("viridis")
        else:
            low, high = _ENDS[dark]
            middle = self.palette().color(QPalette.ColorRole.Base)
            colors = pg.ColorMap([0.0, 0.5, 1.0], [low, middle, high])
        for item in (self.key, self.overview, self.detail):
            item.setColorMap(colors)
        self.key.setLevels(self._levels)
        self.key.axis.setTicks(None if self._codes is None else [self._codes.ticks()])

    def _paint(self) -> None:
        super()._paint()
        text = self.palette().color(QPalette.ColorRole.Text)
        scale = theme.text_scale()
        self.plot.getAxis("left").setWidth(_AXIS_WIDTH * scale)  # else numbers would resize the picture
        self.plot.getAxis("bottom").setHeight(_AXIS_HEIGHT * scale)
        self.key.axis.setWidth(_KEY_WIDTH * scale)
        self.key.axis.setTextPen(pg.mkPen(text))
        self.key.axis.setPen(pg.mkPen(style.secondary(self)))
        self.key.axis.setStyle(tickFont=style.tick_font(self))
        self.borders.setPen(pg.mkPen(style.faded(text, 110), width=1))
        self._mark.setPen(pg.mkPen(text, width=2))
        shown = self.tiles.overview
        self._color(Picture.ORIGINAL if shown is None else shown.picture)

    # ---- mouse and keys --------------------------------------------------------------------------------------

    def _weight_at(self, position: QPointF) -> tuple[int, int] | None:
        if not self._columns or not self.plot.vb.sceneBoundingRect().contains(position):
            return None
        at = self.plot.vb.mapSceneToView(position)
        row, column = int(np.floor(at.y())), int(np.floor(at.x()))
        return (row, column) if 0 <= row < self._rows and 0 <= column < self._columns else None

    def _on_mouse_moved(self, position: QPointF) -> None:
        self._take_under_mouse(self._weight_at(position))

    def _on_mouse_clicked(self, event: object) -> None:
        under = self._weight_at(event.scenePos())  # type: ignore[attr-defined]
        if under is not None and event.button() == Qt.MouseButton.LeftButton:  # type: ignore[attr-defined]
            self.clicked.emit(*under)

    def _take_under_mouse(self, under: tuple[int, int] | None) -> None:
        if under == self._under_mouse:
            return
        self._under_mouse = under
        if under is None:
            self.left.emit()
        else:
            self.hovered.emit(*under)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Handle arrow keys and mouse leave events, which go to the inner view."""
        if watched is self.view and event.type() == QEvent.Type.Leave:
            self._take_under_mouse(None)
        if watched is self.view and isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            step = _ARROWS.get(Qt.Key(event.key()))
            if step is not None:
                self.stepped.emit(*step)
                return True
        return super().eventFilter(watched, event)
