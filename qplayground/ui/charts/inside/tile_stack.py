"""The tiles of a matrix, and which of them shows a given part best."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qplayground.core.inside import Tile

_FEW_LESS, _FEW_MORE = 0.95, 1.1


class Part(NamedTuple):
    """A rectangular part of a matrix."""

    first_row: int
    rows: int
    first_column: int
    columns: int


class TileStack:
    """An overview of the whole matrix, and a detailed tile of the part that is zoomed to."""

    def __init__(self) -> None:
        self.overview: Tile | None = None
        self.detail: Tile | None = None

    def put(self, tile: Tile, *, is_overview: bool) -> None:
        """Store a tile. An overview removes the detail."""
        if is_overview:
            self.overview, self.detail = tile, None
        else:
            self.detail = tile

    def clear(self) -> None:
        """Remove both tiles."""
        self.overview = self.detail = None

    def best(self, part: Part) -> Tile | None:
        """The sharpest tile that covers the part. None if there is none."""
        detail = self.detail
        return detail if detail is not None and _covers(detail, part) else self.overview

    def needs_detail(self, part: Part, height: int, width: int) -> bool:
        """Whether the part has more detail at this size, in pixels, than the current tiles."""
        tile = self.best(part)
        return tile is not None and not _is_sharp(tile, part, height, width)

    def table(self, part: Part) -> list[list[object]]:
        """The values of the part, for saving. Each row starts with the matrix rows it covers."""
        tile = self.best(part)
        if tile is None:
            return []
        down = _spans(tile.first_row, tile.rows, tile.height)
        across = _spans(tile.first_column, tile.columns, tile.width)
        ups = _places(down, part.first_row, part.rows)
        sides = _places(across, part.first_column, part.columns)
        values = tile_values(tile)
        heading: list[object] = [f"{tile.picture}: row / column", *(_span_text(across[place]) for place in sides)]
        return [heading, *([_span_text(down[up]), *values[up, sides].tolist()] for up in ups)]


def tile_values(tile: Tile) -> NDArray[np.float32]:
    """The tile's values, `height` × `width`."""
    return np.frombuffer(tile.values.data, np.float32).reshape(tile.height, tile.width)


def _covers(tile: Tile, part: Part) -> bool:
    return (
        tile.first_row <= part.first_row
        and part.first_row + part.rows <= tile.first_row + tile.rows
        and tile.first_column <= part.first_column
        and part.first_column + part.columns <= tile.first_column + tile.columns
    )


def _is_sharp(tile: Tile, part: Part, height: int, width: int) -> bool:
    """Whether the tile has one value per weight of the part, or per pixel if there are fewer pixels.

    More values than pixels are not acceptable either: drawing would drop some, possibly an outlier.
    """
    return _is_enough(part.rows, tile.height / tile.rows, height) and _is_enough(
        part.columns, tile.width / tile.columns, width
    )


def _is_enough(weights: int, values_a_weight: float, pixels: int) -> bool:
    """The same for one direction. Small deviations are not worth another tile."""
    if weights <= pixels:
        return values_a_weight == 1
    return _FEW_LESS * pixels <= weights * values_a_weight <= _FEW_MORE * pixels


def _spans(first: int, count: int, pixels: int) -> list[tuple[int, int]]:
    """The first and last row, or column, of each pixel, divided as the engine does."""
    edges = [first + place * count // pixels for place in range(pixels + 1)]
    return [(begin, end - 1) for begin, end in pairwise(edges)]


def _places(spans: list[tuple[int, int]], first: int, count: int) -> list[int]:
    """The indices of the spans that overlap `count` rows, or columns, from `first` on."""
    return [place for place, (begin, end) in enumerate(spans) if end >= first and begin < first + count]


def _span_text(span: tuple[int, int]) -> object:
    first, last = span
    return first if first == last else f"{first} to {last}"
