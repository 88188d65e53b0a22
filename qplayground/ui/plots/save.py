"""A chart as a file."""

from pathlib import Path

import pyqtgraph as pg
from PySide6.QtCore import QFile, QIODevice, QRectF, QSize
from PySide6.QtGui import QImage, QPainter
from PySide6.QtSvg import QSvgGenerator

_SCALE = 2


def save_chart(view: pg.GraphicsLayoutWidget, path: Path) -> None:
    """Write what is shown as SVG or, by any other suffix, as PNG at twice the screen's size. Raises OSError."""
    file = QFile(str(path))
    if not file.open(QIODevice.OpenModeFlag.WriteOnly):
        raise OSError(file.errorString())
    try:
        if path.suffix.lower() == ".svg":
            drawing = QSvgGenerator()
            drawing.setOutputDevice(file)
            drawing.setSize(view.size())
            drawing.setViewBox(view.rect())
            drawing.setTitle(view.accessibleName())
            _draw(view, drawing)
        else:
            picture = QImage(_SCALE * view.size(), QImage.Format.Format_RGB32)
            _draw(view, picture)
            if not picture.save(file, "PNG"):  # type: ignore[call-overload]
                raise OSError(file.errorString())
    finally:
        file.close()


def _draw(view: pg.GraphicsLayoutWidget, target: QImage | QSvgGenerator) -> None:
    painter = QPainter(target)
    size: QSize = target.size()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.fillRect(0, 0, size.width(), size.height(), view.backgroundBrush())
    view.render(painter, QRectF(0, 0, size.width(), size.height()), view.rect())
    painter.end()
