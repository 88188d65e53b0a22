"""The borders between a matrix's blocks."""

import numpy as np

from qplayground.ui.charts.inside.arrays import Values


def block_borders(
    block: int, rows: int, columns: int, part: tuple[int, int, int, int], *, between_rows: bool = True
) -> tuple[Values, Values]:
    """The borders of blocks in row-major order, as pairs of points: x, y.

    `part`: first row, rows, first column, columns. If the block size and the row length do not divide each other,
    blocks continue in the next row and their borders have steps. `between_rows` False omits the lines between rows, if
    every row has one.
    """
    top, height, left, width = part
    bottom, right = top + height, left + width
    segments: list[Values] = []
    if columns % block == 0:
        x = np.arange(-(-left // block), right // block + 1) * block
        segments.append(_lines(x, top, x, bottom))
    if block <= columns:
        if between_rows:
            y = np.arange(top, bottom + 1)
            segments.append(_lines(left, y, right, y))
        if columns % block:
            at = np.arange(top * columns // block, bottom * columns // block + 1) * block
            row, column = np.divmod(at, columns)
            here = (column >= left) & (column <= right) & (column > 0) & (row >= top) & (row < bottom)
            segments.append(_lines(column[here], row[here], column[here], row[here] + 1))
    else:
        at = np.arange(top * columns // block, min(bottom * columns, rows * columns) // block + 1) * block
        row, column = np.divmod(at, columns)
        segments.append(_lines(column, row, np.full_like(column, columns), row))
        steps = column > 0
        row, column = row[steps], column[steps]
        segments.append(_lines(column, row, column, row + 1))
        segments.append(_lines(np.zeros_like(column), row + 1, column, row + 1))
    points = np.concatenate(segments) if segments else np.empty((0, 2))
    return points[:, 0], points[:, 1]


def _lines(x1: object, y1: object, x2: object, y2: object) -> Values:
    ends = np.broadcast_arrays(*(np.atleast_1d(np.asarray(each, np.float64)) for each in (x1, y1, x2, y2)))
    return np.stack(ends, axis=1).reshape(-1, 2)
