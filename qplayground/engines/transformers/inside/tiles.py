"""Reduces a part of a matrix to the pixels that show it."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import pairwise

import torch

from qplayground.core.errors import ErrorCode, fail
from qplayground.core.inside import Picture, Tile
from qplayground.core.messages.inside import ReadTile
from qplayground.engines.transformers.inside.bands import in_parallel
from qplayground.engines.transformers.inside.quantized import QuantizedValues
from qplayground.engines.transformers.inside.values import Values, floats

_PIECE = 1 << 19
"""Weights that are processed at once."""
_CODE_BITS = 9
_CODE_OFFSET = 128
_CODE_MASK = (1 << _CODE_BITS) - 1

_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def read_tile(asked: ReadTile, values: Values, quantized: QuantizedValues | None) -> Tile:
    """The requested part, as far as the matrix has it.

    Raises PlaygroundError(BAD_SETTINGS) for a part outside of it, or a picture of codes where there are none.
    """
    rows = slice(max(0, asked.first_row), min(values.rows, asked.first_row + asked.rows))
    columns = slice(max(0, asked.first_column), min(values.columns, asked.first_column + asked.columns))
    if rows.start >= rows.stop or columns.start >= columns.stop or asked.height < 1 or asked.width < 1:
        raise fail(ErrorCode.BAD_SETTINGS, "That part lies outside of the matrix.", "Show another part.")
    if quantized is None and asked.picture is not Picture.ORIGINAL:
        raise fail(ErrorCode.BAD_SETTINGS, "There are no codes to show.", "Choose other parameters.")
    height = min(asked.height, rows.stop - rows.start)
    width = min(asked.width, columns.stop - columns.start)
    pixels = _pixels(asked.picture, values, quantized, rows, columns, height, width)
    return Tile(
        picture=asked.picture,
        first_row=rows.start,
        rows=rows.stop - rows.start,
        first_column=columns.start,
        columns=columns.stop - columns.start,
        height=height,
        width=width,
        values=floats(pixels),
    )


def _pixels(
    picture: Picture,
    values: Values,
    quantized: QuantizedValues | None,
    rows: slice,
    columns: slice,
    height: int,
    width: int,
) -> torch.Tensor:
    """Works in pieces. A pixel with too many rows for one piece is merged afterwards."""
    row_edges = _edges(rows.start, rows.stop, height)
    column_edges = _edges(0, columns.stop - columns.start, width)
    reads = list(_reads(row_edges, max(1, _PIECE // (columns.stop - columns.start))))

    def piece(read: tuple[int, list[int]]) -> torch.Tensor:
        edges = read[1]
        part = slice(edges[0], edges[-1])
        if picture is Picture.CODES and quantized is not None:
            keys = _code_keys(quantized, part, columns)
        else:
            keys = _to_keys(_numbers(picture, values, quantized, part, columns))
        return _merged(keys, [edge - edges[0] for edge in edges])

    pieces = in_parallel(piece, reads)
    owners = [owner for pixel, edges in reads for owner in range(pixel, pixel + len(edges) - 1)]
    starts = [bisect_left(owners, pixel) for pixel in range(height)]
    keys = _merged(torch.cat(pieces), [*starts, len(owners)])
    if width < keys.shape[1]:
        keys = _merged(keys.T.contiguous(), column_edges).T
    if picture is Picture.CODES:
        return (keys & _CODE_MASK) - _CODE_OFFSET
    one = slice(rows.start, rows.start + 1), slice(columns.start, columns.start + 1)
    return _from_keys(keys, _numbers(picture, values, quantized, *one).dtype)


def _edges(first: int, last: int, pixels: int) -> list[int]:
    """Pixel i covers edge i up to edge i + 1."""
    return [first + index * (last - first) // pixels for index in range(pixels + 1)]


def _reads(edges: list[int], most: int) -> Iterator[tuple[int, list[int]]]:
    """Pieces of at most `most` rows: the first pixel, and the edges of the pixels."""
    first = 0
    while first < len(edges) - 1:
        last = max(first + 1, bisect_right(edges, edges[first] + most) - 1)
        if last == first + 1:
            for cut in pairwise([*range(edges[first], edges[last], most), edges[last]]):
                yield first, list(cut)
        else:
            yield first, edges[first : last + 1]
        first = last


def _numbers(
    picture: Picture, values: Values, quantized: QuantizedValues | None, rows: slice, columns: slice
) -> torch.Tensor:
    """The picture's values. For codes, the weights that they stand for."""
    if picture is Picture.ORIGINAL:
        return values.part(rows, columns)
    assert quantized is not None
    back = quantized.part(rows, columns)
    if picture is Picture.ERROR:
        return back.to(torch.float32).sub_(values.part(rows, columns))
    return back


def _code_keys(quantized: QuantizedValues, rows: slice, columns: slice) -> torch.Tensor:
    """Keys with the weights' magnitudes in the upper bits, and their codes in the lower bits."""
    back = quantized.part(rows, columns).contiguous()
    if back.dtype.itemsize == 2:
        magnitudes = back.view(torch.int16).to(torch.int32).bitwise_and_(0x7FFF)
    else:
        magnitudes = back.view(torch.int32).to(torch.int64).bitwise_and_(0x7FFF_FFFF)
    return magnitudes.bitwise_left_shift_(_CODE_BITS).add_(quantized.displayed(rows, columns)).add_(_CODE_OFFSET)


def _merged(keys: torch.Tensor, edges: list[int]) -> torch.Tensor:
    """The largest of each pixel's rows. Takes the first row of all pixels, then the second of all, and so on."""
    if len(edges) == len(keys) + 1:
        return keys
    starts, stops = torch.tensor(edges[:-1]), torch.tensor(edges[1:])
    found = keys.index_select(0, starts)
    for offset in range(1, int((stops - starts).max())):
        torch.maximum(found, keys.index_select(0, torch.minimum(starts + offset, stops - 1)), out=found)
    return found


def _to_keys(numbers: torch.Tensor) -> torch.Tensor:
    """Integers of the same width, in order of magnitude: a float's sign moves from the first bit to the last."""
    bits = numbers.contiguous().view(_INTEGERS[numbers.dtype.itemsize])
    limits = torch.iinfo(bits.dtype)
    sign = (bits >> (limits.bits - 1)).bitwise_and_(1)
    return (bits << 1).bitwise_or_(sign).bitwise_xor_(limits.min)


def _from_keys(keys: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    limits = torch.iinfo(keys.dtype)
    keys = keys ^ limits.min
    bits = (keys >> 1) & limits.max
    return torch.where(keys & 1 == 1, bits | limits.min, bits).view(dtype)
