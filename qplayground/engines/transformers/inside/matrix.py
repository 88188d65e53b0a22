"""The open matrix: read once, quantized each time a parameter changes."""

from qplayground.core.errors import ErrorCode, fail
from qplayground.core.inside import Matrix, ProbedWeight, QuantizationParams, QuantizedMatrix, Tile
from qplayground.core.messages.inside import ReadTile
from qplayground.engines.transformers.inside.quantized import QuantizedValues, described, figures, quantize
from qplayground.engines.transformers.inside.source import Source, is_transposed, read_weight
from qplayground.engines.transformers.inside.stored import is_stored_quantized, method_name, read_stored
from qplayground.engines.transformers.inside.tiles import read_tile
from qplayground.engines.transformers.inside.values import Summary, Values, floats, summarize

_SHOWN_OF_BLOCK = 4096


class OpenedMatrix:
    """One weight, and its quantization with the last parameters. Made from a module of a folder.

    Raises PlaygroundError, with the reason, for a module whose weight cannot be shown, and OSError where the files are
    gone.
    """

    def __init__(self, source: Source, module: str) -> None:
        self._values: Values
        self._quantized: QuantizedValues | None = None
        self._summary: Summary
        if is_stored_quantized(source, module):
            self.matrix = self._open_stored(source, module)
        else:
            self.matrix = self._open(source, module)

    def quantize(self, params: QuantizationParams) -> QuantizedMatrix:
        """Quantize the matrix with these parameters. If that fails, the previous result stays.

        Raises PlaygroundError: UNSUPPORTED where the parameters are fixed, else what `quantized.quantize` raises.
        """
        if self.matrix.fixed_because:
            raise fail(ErrorCode.UNSUPPORTED, self.matrix.fixed_because, "Choose another layer or another model.")
        made = quantize(self._values, params, self.matrix.tensor)
        found = described(made, figures(self._values, self._summary.square_sum, made))
        self._quantized = made
        return found

    def tile(self, asked: ReadTile) -> Tile:
        """A part of a picture. Raises PlaygroundError(BAD_SETTINGS)."""
        return read_tile(asked, self._values, self._quantized)

    def probe(self, row: int, column: int) -> ProbedWeight:
        """One weight's value, code and dequantized value.

        Raises PlaygroundError(BAD_SETTINGS) for a weight outside, or before anything is quantized.
        """
        made = self._quantized
        if made is None or not (0 <= row < made.rows and 0 <= column < made.columns):
            raise fail(ErrorCode.BAD_SETTINGS, "There is no such weight, or it has no code.", "Point at another one.")
        index = row * made.columns + column
        block = index // made.block_size
        block_first = block * made.block_size
        block_length = min(made.block_size, made.count - block_first)
        shown_first = block_first + (index - block_first) // _SHOWN_OF_BLOCK * _SHOWN_OF_BLOCK
        shown_last = min(shown_first + _SHOWN_OF_BLOCK, block_first + block_length)
        scales, codec = made.scales, made.codec
        code = made.code(index)
        return ProbedWeight(
            row=row,
            column=column,
            value=float(self._values.part(slice(row, row + 1), slice(column, column + 1))),
            block=block,
            block_first=block_first,
            block_length=block_length,
            absmax=float(scales.used[block]),
            exact_absmax=float(scales.exact[block]),
            absmax_code=None if scales.codes is None else int(scales.codes[block]),
            code=code,
            level=float(codec.levels[code - codec.first_code]),
            back=float(made.part(slice(row, row + 1), slice(column, column + 1))),
            block_values=floats(self._values.flat(shown_first, shown_last)),
        )

    def _open(self, source: Source, module: str) -> Matrix:
        stored = source.weight(module)
        weight = read_weight(source, module, stored)
        self._values = weight
        self._summary = summary = summarize(weight, stored.name)
        return Matrix(
            module=module,
            tensor=stored.name,
            rows=weight.rows,
            columns=weight.columns,
            stored_dtype=stored.dtype,
            stored_bytes=stored.num_bytes,
            transposed=is_transposed(source.module(module)),
            lowest=summary.lowest,
            highest=summary.highest,
            mean=summary.mean,
            std=summary.std,
            histogram=summary.histogram,
        )

    def _open_stored(self, source: Source, module: str) -> Matrix:
        made, num_bytes = read_stored(source, module)
        name = source.below(module)["weight"].name
        self._values = self._quantized = made
        self._summary = summary = summarize(made, name)
        kind = f"in blocks of {made.block_size}" if made.codec.params.kind.has_blocks else "by row"
        return Matrix(
            module=module,
            tensor=name,
            rows=made.rows,
            columns=made.columns,
            stored_dtype=source.below(module)["weight"].dtype,
            stored_bytes=num_bytes,
            lowest=summary.lowest,
            highest=summary.highest,
            mean=summary.mean,
            std=summary.std,
            histogram=summary.histogram,
            fixed_because=(
                f"This checkpoint was quantized before it was saved ({method_name(source)}, {kind}). Its codes and "
                "scales are shown as they are. The original weights are not here, so no other method can be tried. "
                '"Original" shows what comes back.'
            ),
            stored=described(made, None),
        )
