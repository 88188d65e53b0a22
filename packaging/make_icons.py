"""Makes the PNG, ICO and ICNS files of the application icon from its SVG: `python packaging/make_icons.py`.

The PNGs are committed, so the window needs no SVG renderer. A test compares them with the SVG.
"""

import struct
import sys
from pathlib import Path

from PySide6.QtCore import QBuffer, QByteArray, QIODevice, Qt
from PySide6.QtGui import QGuiApplication, QImage, QImageWriter, QPainter
from PySide6.QtSvg import QSvgRenderer

from qplayground.ui.widgets.theme import ICON_SIZES

FOLDER = Path(__file__).parents[1] / "resources" / "icons"
SVG = FOLDER / "qplayground.svg"
_ICNS = {16: b"icp4", 32: b"icp5", 64: b"icp6", 128: b"ic07", 256: b"ic08", 512: b"ic09", 1024: b"ic10"}


def rendered(size: int) -> QImage:
    """The icon as a square of `size` pixels."""
    image = QImage(size, size, QImage.Format.Format_ARGB32)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    QSvgRenderer(str(SVG)).render(painter)
    painter.end()
    return image


def png(size: int) -> bytes:
    """The icon as a PNG file."""
    data = QByteArray()
    buffer = QBuffer(data)
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    QImageWriter(buffer, QByteArray(b"png")).write(rendered(size))
    return bytes(data.data())


def ico(pictures: dict[int, bytes]) -> bytes:
    """A Windows icon from PNG pictures by size: a header, a 16-byte row for each picture, then the pictures."""
    rows, offset = [], 6 + 16 * len(pictures)
    for size, data in pictures.items():
        side = size % 256  # 256 is written as 0
        rows.append(struct.pack("<BBBBHHII", side, side, 0, 0, 1, 32, len(data), offset))
        offset += len(data)
    return struct.pack("<HHH", 0, 1, len(pictures)) + b"".join(rows) + b"".join(pictures.values())


def icns(pictures: dict[int, bytes]) -> bytes:
    """A macOS icon from PNG pictures by size: for each a type, its length and the picture."""
    blocks = b"".join(_ICNS[size] + struct.pack(">I", len(data) + 8) + data for size, data in pictures.items())
    return b"icns" + struct.pack(">I", len(blocks) + 8) + blocks


def main(target: Path | None) -> None:
    """Write the PNGs into the resources. With a folder, write the ICO and ICNS files there instead."""
    QGuiApplication(["make_icons", "-platform", "offscreen"])
    if target is None:
        for size in ICON_SIZES:
            (FOLDER / f"{size}.png").write_bytes(png(size))
        return
    target.mkdir(parents=True, exist_ok=True)
    (target / "qplayground.ico").write_bytes(ico({size: png(size) for size in ICON_SIZES}))
    (target / "qplayground.icns").write_bytes(icns({size: png(size) for size in _ICNS}))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
