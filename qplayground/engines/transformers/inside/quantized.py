"""A matrix as a method stores it: codes and scales, and dequantizing them."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from qplayground.core.errors import ErrorCode, fail
from qplayground.core.inside import ErrorFigures, QuantizationParams, QuantizedMatrix, Scales
from qplayground.core.measures.floats import Counts, Floats
from qplayground.engines.transformers.inside.bands import bands, in_parallel
from qplayground.engines.transformers.inside.values import Values, histogram
from qplayground.engines.transformers.quantizers.codec import BlockScales, Codec
from qplayground.engines.transformers.quantizers.registry import codec_of

_CURVE_POINTS = 1000
_SCALE_BINS = 100


class QuantizedValues:
    """Codes and scales of a whole matrix. As Values, it gives the dequantized weights.

    `codes` are flat and stored as the library stores them.
    """

    def __init__(self, codec: Codec, rows: int, columns: int, codes: torch.Tensor, scales: BlockScales) -> None:
        self.codec = codec
        self.rows = rows
        self.columns = columns
        self.codes = codes
        self.scales = scales
        self._by_row = not codec.params.kind.has_blocks

    @property
    def dtype(self) -> torch.dtype:
        return self.codec.dtype

    @property
    def count(self) -> int:
        """Number of weights."""
        return self.rows * self.columns

    @property
    def block_size(self) -> int:
        """Weights per block. The last block can have fewer."""
        return self.columns if self._by_row else self.codec.params.block_size or self.count

    @property
    def num_bytes(self) -> int:
        """Bytes that the library would store: packed codes, scales and tables."""
        return self.codec.code_bytes(self.count) + self.scales.num_bytes + self.codec.table_bytes

    def flat(self, first: int, last: int) -> torch.Tensor:
        block = self.block_size
        if self.scales.used.numel() == 1 and not self._by_row:
            block = 2
        begin = first // block * block
        end = -(-last // block) * block if self._by_row else last
        codes = self.codes[self.codec.code_span(begin, end)]
        back = self.codec.dequantize(codes, self._absmax(begin, end), end - begin)
        return back[first - begin : last - begin]

    def part(self, rows: slice, columns: slice) -> torch.Tensor:
        return self._part(rows, columns, codes=False)

    def displayed(self, rows: slice, columns: slice) -> torch.Tensor:
        """The codes of a rectangle as numbers, int16."""
        return self._part(rows, columns, codes=True)

    def code(self, index: int) -> int:
        """The displayed code of the weight with that flat index."""
        begin = index // 2 * 2
        codes = self.codes[self.codec.code_span(begin, index + 1)]
        return int(self.codec.displayed(codes, index + 1 - begin)[-1])

    def _part(self, rows: slice, columns: slice, *, codes: bool) -> torch.Tensor:
        """Where no block spans a row's end, only the blocks that the columns need are read."""
        width = self.columns
        whole = self.scales.used.numel() == 1
        step = (1 if self._by_row else 2) if whole or self._by_row else self.block_size
        height = rows.stop - rows.start
        if width % step:
            first, last = rows.start * width, rows.stop * width
            if codes:
                begin = first // 2 * 2
                stored = self.codes[self.codec.code_span(begin, last)]
                found = self.codec.displayed(stored, last - begin)[first - begin :]
            else:
                found = self.flat(first, last)
            return found.view(height, width)[:, columns]
        begin, end = columns.start // step * step, min(-(-columns.stop // step) * step, width)
        span = self.codec.code_span(begin, end)
        stored = self.codes.view(self.rows, -1)[rows, span].reshape(-1)
        count = height * (end - begin)
        if codes:
            found = self.codec.displayed(stored, count)
        else:
            absmax = self.scales.used
            if self._by_row:
                absmax = absmax[rows]
            elif not whole:
                absmax = absmax.view(self.rows, -1)[rows, begin // step : end // step].reshape(-1)
            found = self.codec.dequantize(stored, absmax, count)
        return found.view(height, -1)[:, columns.start - begin : columns.stop - begin]

    def _absmax(self, first: int, last: int) -> torch.Tensor:
        if self.scales.used.numel() == 1:
            return self.scales.used
        return self.scales.used[first // self.block_size : -(-last // self.block_size)]


def quantize(values: Values, params: QuantizationParams, name: str) -> QuantizedValues:
    """Quantize a matrix. transformers casts a weight to the precision's dtype before the library sees it.

    Raises PlaygroundError: BAD_SETTINGS, or NON_FINITE_WEIGHTS where a weight is too large for the dtype that it is
    cast to first.
    """
    codec = codec_of(params.checked(), values.columns)
    count = values.rows * values.columns
    largest = None
    if codec.params.block_size is None and codec.params.kind.has_blocks:
        largest = torch.stack(in_parallel(lambda band: _largest(values, band, codec.dtype), bands(count))).max()
    codes = torch.empty(codec.code_span(0, count).stop, dtype=codec.code_dtype)

    def one_band(band: tuple[int, int]) -> torch.Tensor:
        codes[codec.code_span(*band)], absmax = codec.quantize(values.flat(*band).to(codec.dtype), largest)
        return absmax

    scales = in_parallel(one_band, bands(count, codec.unit))
    absmax = torch.cat(scales if largest is None else scales[:1])
    if not bool(torch.isfinite(absmax).all()):
        raise _too_large(values, codec, name)
    return QuantizedValues(codec, values.rows, values.columns, codes, codec.scales(absmax))


def figures(values: Values, square_sum: float, quantized: QuantizedValues) -> ErrorFigures:
    """The error against the checkpoint's weights. `square_sum`: the sum of their squares."""
    wide = torch.float64 if values.dtype is torch.float64 else torch.float32

    def error(band: tuple[int, int]) -> torch.Tensor:
        return quantized.flat(*band).to(wide).sub_(values.flat(*band))

    def measure(band: tuple[int, int]) -> tuple[float, float]:
        off = error(band)
        largest = max(abs(float(edge)) for edge in torch.aminmax(off))
        off.div_(largest or 1)  # so that the squares neither overflow nor vanish
        return largest**2 * float(torch.dot(off, off)), largest

    cut = list(bands(quantized.count, quantized.codec.unit))
    squares, highest = zip(*in_parallel(measure, cut), strict=True)
    worst = max(highest)
    worst_band = cut[highest.index(worst)]
    place = worst_band[0] + int(error(worst_band).abs_().argmax())
    relative = math.sqrt(math.fsum(squares) / square_sum) if square_sum else 0.0
    return ErrorFigures(
        bits_per_weight=8 * quantized.num_bytes / quantized.count,
        relative_error=relative,
        snr_db=ErrorFigures.decibels(relative),
        max_abs_error=worst,
        worst=divmod(place, quantized.columns),
    )


def described(quantized: QuantizedValues, found: ErrorFigures | None) -> QuantizedMatrix:
    """The quantized matrix, for display."""
    codec = quantized.codec

    def count(band: tuple[int, int]) -> torch.Tensor:
        return codec.usage(quantized.codes[codec.code_span(*band)], band[1] - band[0])

    usage = torch.stack(in_parallel(count, bands(quantized.count))).sum(0)
    blocks = quantized.scales.used.numel()
    return QuantizedMatrix(
        params=codec.params,
        levels=Floats.of(codec.levels.tolist()),
        first_code=codec.first_code,
        usage=Counts.of(usage.tolist()),
        blocks=blocks,
        last_block=quantized.count - (blocks - 1) * quantized.block_size,
        scales=_scales(quantized.scales.used.numpy()),
        figures=found,
    )


def _scales(absmax: NDArray[np.float32]) -> Scales:
    per_point = -(-len(absmax) // _CURVE_POINTS)
    starts = np.arange(0, len(absmax), per_point)
    sums = np.add.reduceat(absmax, starts, dtype=np.float64)
    lengths = np.diff(np.append(starts, len(absmax)))
    return Scales(
        count=len(absmax),
        per_point=per_point,
        lowest=Floats.of(np.minimum.reduceat(absmax, starts).tolist()),
        mean=Floats.of((sums / lengths).tolist()),
        highest=Floats.of(np.maximum.reduceat(absmax, starts).tolist()),
        histogram=histogram(absmax, _SCALE_BINS),
    )


def _largest(values: Values, band: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
    lowest, highest = torch.aminmax(values.flat(*band).to(dtype))
    return torch.maximum(-lowest, highest)


def _too_large(values: Values, codec: Codec, name: str) -> Exception:
    narrow = codec.input_dtype
    limit = torch.finfo(narrow).max
    for first, last in bands(values.rows * values.columns):
        wrong = (~torch.isfinite(values.flat(first, last).to(codec.dtype).to(narrow))).nonzero()
        if wrong.numel():
            row, column = divmod(first + int(wrong[0]), values.columns)
            return fail(
                ErrorCode.NON_FINITE_WEIGHTS,
                f"{name} holds a weight in row {row:,}, column {column:,} that is beyond ±{limit:,.0f}, the range of "
                f"{str(narrow).removeprefix('torch.')}, which {codec.caster} casts it to first.",
                "Choose another method, or bfloat16 or float32 as the type.",
            )
    return ValueError("the library gave a scale that is not finite")
