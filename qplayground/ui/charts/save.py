"""Saves a chart as a picture, or its numbers as CSV."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import pyqtgraph as pg
from PySide6.QtCore import QBuffer, QIODevice, QPointF, QRectF
from PySide6.QtGui import QImage, QPainter, QTransform
from PySide6.QtSvg import QSvgGenerator

from qplayground.core.system.saving import save_file

_SCALE = 2
_SVG = "http://www.w3.org/2000/svg"
_LINES = {f"{{{_SVG}}}{tag}": name for tag, name in (("path", "d"), ("polyline", "points"), ("polygon", "points"))}
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
_PAIR = re.compile(rf"({_NUMBER.pattern}),({_NUMBER.pattern})")


def save_chart(view: pg.GraphicsLayoutWidget, path: Path) -> None:
    """Write the view as SVG, or by any other suffix as PNG at twice the screen's resolution. Raises OSError."""
    save_file(path, _svg(view) if path.suffix.lower() == ".svg" else _png(view))


def save_csv(rows: Iterable[Sequence[object]], path: Path) -> None:
    """Write a chart's numbers as CSV, headings first, in full precision. Raises OSError."""
    text = io.StringIO()
    csv.writer(text).writerows(rows)  # RFC 4180
    save_file(path, text.getvalue().encode())


def _svg(view: pg.GraphicsLayoutWidget) -> bytes:
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    drawing = QSvgGenerator()
    drawing.setOutputDevice(buffer)
    drawing.setSize(view.size())
    drawing.setViewBox(view.rect())
    drawing.setResolution(view.logicalDpiX())  # the axes use the screen's, or they would be scaled
    drawing.setTitle(view.accessibleName())
    _draw(view, drawing)
    return _unscaled(bytes(buffer.data().data()))


def _unscaled(svg: bytes) -> bytes:
    """The drawing with its lines in the picture's own coordinates.

    Qt writes them in data coordinates with a scaling transform, and pens that ignore it. Many programs do not support
    such pens, and draw a curve as broad as the chart.
    """
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(svg)
    for group in root.iter(f"{{{_SVG}}}g"):
        numbers = [float(number) for number in _NUMBER.findall(group.get("transform", "").removeprefix("matrix"))]
        if len(numbers) != 6 or not all(child.tag in _LINES for child in group):
            continue
        matrix = QTransform(*numbers)
        group.set("transform", "matrix(1,0,0,1,0,0)")
        for child in group:
            name = _LINES[child.tag]
            child.set(name, _PAIR.sub(partial(_mapped, matrix), child.get(name, "")))
    data: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return data


def _mapped(matrix: QTransform, pair: re.Match[str]) -> str:
    point = matrix.map(QPointF(float(pair[1]), float(pair[2])))
    return f"{point.x():.2f},{point.y():.2f}"


def _png(view: pg.GraphicsLayoutWidget) -> bytes:
    picture = QImage(_SCALE * view.size(), QImage.Format.Format_RGB32)
    picture.setDevicePixelRatio(_SCALE)  # a scaled painter would not scale text in pixels
    _draw(view, picture)
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    picture.save(buffer, "PNG")  # type: ignore[call-overload]
    return bytes(buffer.data().data())


def _draw(view: pg.GraphicsLayoutWidget, target: QImage | QSvgGenerator) -> None:
    painter = QPainter(target)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.fillRect(view.rect(), view.backgroundBrush())
    view.render(painter, QRectF(view.rect()), view.rect())
    painter.end()
