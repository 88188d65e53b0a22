"""The fake engine's answers for Inside: small matrices made by a formula, really quantized.

A folder named `broken` cannot be read. The models in `gptq` and `gptq-unreadable` are already quantized. The suggested
layer of `gptq-unreadable` cannot be shown. The last name of a module can be a behaviour:

- `rests`: already quantized; its parameters are fixed and its codes are shown
- `breaks`: cannot be read
- `norm`, and a module that only contains others: not a matrix
- `exits`, `hangs`: on opening, the engine ends with code 3 or sends nothing more
- `large`: 1,500 × 2,100 weights, more than a picture has pixels; all others have 48 × 100

FP4 with double quantization fails. A threshold of 77 is tried until it is cancelled. A prompt with the word
`fail-capture` cannot be captured.
"""

import os
import threading
from pathlib import Path

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from qplayground.core.errors import ErrorCode, fail
from qplayground.core.inside import (
    ErrorFigures,
    Histogram,
    Kept,
    LayerInputs,
    LayerRow,
    LeftOut,
    Matrix,
    ModelOutline,
    ModuleOutline,
    Picture,
    ProbedWeight,
    QuantizationParams,
    QuantizedMatrix,
    Scales,
    ThresholdTrial,
    Tile,
)
from qplayground.core.measures.floats import Counts, Floats
from qplayground.core.messages.channel import Channel
from qplayground.core.messages.events import Progressed
from qplayground.core.messages.inside import (
    CaptureInputs,
    InputsCaptured,
    InsideCommand,
    LayerMeasured,
    LayersMeasured,
    MatrixOpened,
    MatrixQuantized,
    MeasureLayers,
    ModelOutlined,
    OpenMatrix,
    OutlineModel,
    ProbeWeight,
    QuantizeMatrix,
    ReadTile,
    ThresholdTried,
    TileRead,
    TryThreshold,
    WeightProbed,
)
from qplayground.core.precision import Precision

Values = NDArray[np.float32]

ROWS, COLUMNS = 48, 100
LARGE_ROWS, LARGE_COLUMNS = 1500, 2100
SUGGESTED = "model.layers.1.mlp.up_proj"
REFUSED = QuantizationParams(method="fp4", double_quant=True)
SLOW_THRESHOLD = 77.0
UNREADABLE = "model.layers.2.mlp.breaks"
"""A layer that cannot be opened."""
TOKENS = 7
HIDDEN = 100
LINEAR = tuple(
    f"model.layers.{layer}.{part}"
    for layer in range(3)
    for part in ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.large")
)
_FAILURE = fail(ErrorCode.UNSUPPORTED, "The fake engine was told to fail.", "Tell it something else.", "scripted")
_BINS = 40


class FakeInside:
    """Carries out the commands of Inside."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._matrix: Matrix | None = None
        self._weights: Values = np.zeros((0, 0), np.float32)
        self._params = QuantizationParams()
        self._codes = self._back = self._weights
        self._absmax: Values = np.zeros(0, np.float32)

    def carry_out(self, command: InsideCommand) -> None:
        """Send the answers. Raises PlaygroundError where the script says so."""
        if isinstance(command, OutlineModel):
            self._outline(command)
        elif isinstance(command, OpenMatrix):
            self._open(command)
        elif isinstance(command, QuantizeMatrix):
            self._channel.send(MatrixQuantized(command.id, self._quantize(command.params)))
        elif isinstance(command, ReadTile):
            self._channel.send(TileRead(command.id, self._tile(command)))
        elif isinstance(command, ProbeWeight):
            self._channel.send(WeightProbed(command.id, self._probe(command.row, command.column)))
        elif isinstance(command, MeasureLayers):
            self._measure(command)
        elif isinstance(command, CaptureInputs):
            self._capture(command)
        else:
            self._try_threshold(command)

    def _outline(self, command: OutlineModel) -> None:
        if Path(command.path).name == "broken":
            raise _FAILURE
        before = {"gptq": quantized_before(), "gptq-unreadable": quantized_before(UNREADABLE)}
        found = before.get(Path(command.path).name) or outline(command.precisions)
        self._channel.send(ModelOutlined(command.id, found))

    def _open(self, command: OpenMatrix) -> None:
        name = command.module.rpartition(".")[2]
        if name == "exits":
            os._exit(3)
        if name == "hangs":
            threading.Event().wait()
        if name == "breaks":
            raise _FAILURE
        if name == "norm" or command.module not in {module.name for module in outline(()).modules}:
            raise fail(ErrorCode.UNSUPPORTED, f"{command.module} is no matrix.", "Choose another layer.")
        self._weights = self._codes = self._back = weights(command.module)
        rests = name == "rests"
        stored = self._quantize(QuantizationParams(), with_figures=False) if rests else None
        rows, columns = self._weights.shape
        self._matrix = Matrix(
            module=command.module,
            tensor=f"{command.module}.weight",
            rows=rows,
            columns=columns,
            stored_dtype="bfloat16",
            stored_bytes=2 * self._weights.size,
            lowest=float(self._weights.min()),
            highest=float(self._weights.max()),
            mean=float(self._weights.mean()),
            std=float(self._weights.std()),
            histogram=_histogram(self._weights),
            fixed_because="It was quantized before, so nothing can be tried on it." if rests else "",
            stored=stored,
        )
        self._channel.send(MatrixOpened(command.id, self._matrix))

    def _quantize(self, params: QuantizationParams, *, with_figures: bool = True) -> QuantizedMatrix:
        if (params.method, params.double_quant) == (REFUSED.method, REFUSED.double_quant):
            raise _FAILURE
        size = block_size(params, self._weights)
        self._params = params
        self._codes, self._absmax, self._back = quantized(self._weights, params)
        levels = levels_of(params)
        codes = self._codes.astype(int)
        first = -127 if params.method == "int8" else 0
        return QuantizedMatrix(
            params=params,
            levels=Floats.of(levels.tolist()),
            first_code=first,
            usage=Counts.of(np.bincount(codes.ravel() - first, minlength=len(levels)).tolist()),
            blocks=len(self._absmax),
            last_block=self._weights.size - (len(self._absmax) - 1) * size,
            scales=_scales(self._absmax),
            figures=figures(self._weights, params) if with_figures else None,
        )

    def _tile(self, command: ReadTile) -> Tile:
        pictures = {
            Picture.ORIGINAL: self._weights,
            Picture.CODES: self._codes,
            Picture.DEQUANTIZED: self._back,
            Picture.ERROR: self._back - self._weights,
        }
        rows = slice(command.first_row, command.first_row + command.rows)
        columns = slice(command.first_column, command.first_column + command.columns)
        part = pictures[command.picture][rows, columns]
        height, width = min(command.height, part.shape[0]), min(command.width, part.shape[1])
        down = [part[band].max(axis=0) for band in np.array_split(np.arange(part.shape[0]), height)]
        pixels = np.stack(
            [np.stack(down)[:, band].max(axis=1) for band in np.array_split(np.arange(part.shape[1]), width)], 1
        )
        return Tile(
            picture=command.picture,
            first_row=command.first_row,
            rows=part.shape[0],
            first_column=command.first_column,
            columns=part.shape[1],
            height=height,
            width=width,
            values=_floats(pixels),
        )

    def _probe(self, row: int, column: int) -> ProbedWeight:
        size = block_size(self._params, self._weights)
        block = (row * self._weights.shape[1] + column) // size
        values = self._weights.ravel()[block * size : (block + 1) * size]
        absmax = float(self._absmax[block])
        code = int(self._codes[row, column])
        first = -127 if self._params.method == "int8" else 0
        return ProbedWeight(
            row=row,
            column=column,
            value=float(self._weights[row, column]),
            block=block,
            block_first=block * size,
            block_length=len(values),
            absmax=absmax,
            exact_absmax=absmax,
            absmax_code=3 if self._params.double_quant else None,
            code=code,
            level=float(levels_of(self._params)[code - first]),
            back=float(self._back[row, column]),
            block_values=_floats(values[:4096]),
        )

    def _measure(self, command: MeasureLayers) -> None:
        if Path(command.path).name == "broken":
            raise _FAILURE
        modules = command.modules or LINEAR
        left_out = []
        for done, module in enumerate(modules):
            self._channel.send(Progressed(command.id, module, done, len(modules), "layers"))
            for params in command.params:
                if self._channel.is_cancelled(command.id):
                    self._channel.send(LayersMeasured(command.id))
                    return
                if params == REFUSED or module.endswith("breaks"):
                    left_out.append(LeftOut(module, f"{params.label}: {_FAILURE.info}"))
                    continue
                row = LayerRow(module=module, params=params, figures=figures(weights(module), params))
                self._channel.send(LayerMeasured(command.id, row))
        self._channel.send(LayersMeasured(command.id, tuple(left_out)))

    def _capture(self, command: CaptureInputs) -> None:
        if Path(command.path).name == "broken" or "fail-capture" in command.request.prompt:
            raise _FAILURE
        for done in range(3):
            self._channel.send(Progressed(command.id, "Reading weights", done * 50, 100))
        self._channel.send(InputsCaptured(command.id, TOKENS, tuple(inputs(module) for module in LINEAR)))

    def _try_threshold(self, command: TryThreshold) -> None:
        if command.threshold == SLOW_THRESHOLD:
            while not self._channel.is_cancelled(command.id):
                threading.Event().wait(0.01)
            self._channel.send(ThresholdTried(command.id, None))
            return
        magnitudes = np.array(inputs(command.module).magnitudes.values)
        columns = int((magnitudes >= command.threshold).sum()) if command.threshold else 0
        trial = ThresholdTrial(
            module=command.module,
            threshold=command.threshold,
            columns=columns,
            of_columns=HIDDEN,
            extra_bytes=columns * ROWS * 2,
            relative_error=0.02 / (1 + columns),
            seconds=1e-4 * (1 + columns / 10),
            seconds_without=1e-4,
            seconds_range=(1e-4 * (1 + columns / 10), 1.5e-4 * (1 + columns / 10)),
            without_range=(1e-4, 1.05e-4),
            repeats=5,
        )
        self._channel.send(ThresholdTried(command.id, trial))


# ---- expected values for tests --------------------------------------------------------------------------------------


def outline(precisions: tuple[Precision, ...]) -> ModelOutline:
    """The modules, with bytes in each precision."""
    extra = ("model.layers.2.mlp.rests", "model.layers.2.mlp.breaks", "model.layers.2.mlp.exits")
    names = ("model.embed_tokens", *LINEAR, *extra, "model.layers.2.mlp.hangs", "model.norm", "lm_head")
    return ModelOutline(modules=tuple(_module(name, precisions) for name in names), suggested=SUGGESTED)


def quantized_before(unreadable: str = "") -> ModelOutline:
    """The modules of a model that GPTQ quantized. The tensors of `unreadable` have names other than weight."""
    listed = outline(())
    if not unreadable:
        return replace(listed, quantized_by="GPTQ")
    modules = tuple(
        replace(
            each,
            tensor="",
            is_quantized=each.name == unreadable,
            stored_bytes=each.stored_bytes * (each.name == unreadable),
        )
        if each.name in (unreadable, "model.norm")
        else each
        for each in listed.modules
    )
    return replace(listed, modules=modules, quantized_by="GPTQ", suggested=unreadable)


def _module(name: str, precisions: tuple[Precision, ...]) -> ModuleOutline:
    quantized_in = {precision.name for precision in precisions if precision.is_quantized}
    shape: tuple[int, ...]
    if name == "model.norm":
        kind, shape, kept = "LlamaRMSNorm", (COLUMNS,), Kept.NOT_LINEAR
    elif name == "model.embed_tokens":
        kind, shape, kept = "Embedding", (ROWS, COLUMNS), Kept.NOT_LINEAR
    elif name == "lm_head":
        kind, shape, kept = "Linear", (ROWS, COLUMNS), Kept.TIED
    else:
        kind, shape, kept = "Linear", weights(name).shape, None
    count = int(np.prod(shape))
    tied = kept is Kept.TIED
    sizes = {
        precision.name: 0 if tied else count // 2 if kept is None and precision.is_quantized else 2 * count
        for precision in precisions
    }
    return ModuleOutline(
        name=name,
        kind=kind,
        shape=shape,
        tensor="" if tied else f"{name}.weight",
        stored_dtype="bfloat16",
        stored_bytes=0 if tied else 2 * count,
        parameters=count,
        bytes=sizes,
        kept={} if kept is None else dict.fromkeys(quantized_in, kept),
    )


def weights(module: str) -> Values:
    """Bell-shaped values with one outlier. Each module name has its own, the same every time."""
    large = module.endswith("large")
    shape = (LARGE_ROWS, LARGE_COLUMNS) if large else (ROWS, COLUMNS)
    made = np.random.default_rng(sum(map(ord, module))).normal(0, 0.05, shape).astype(np.float32)
    made[3, 5] = 0.5
    return made


def levels_of(params: QuantizationParams) -> Values:
    """The method's levels, evenly spaced."""
    count = {8: 255, 4: 16, 3: 8}[params.kind.bits]
    return np.linspace(-1, 1, count, dtype=np.float32)


def block_size(params: QuantizationParams, of: Values) -> int:
    """How many weights share a scale."""
    return of.shape[1] if params.method == "int8" else params.block_size or of.size


def quantized(of: Values, params: QuantizationParams) -> tuple[Values, Values, Values]:
    """Codes, the absmax of every block, and the dequantized values."""
    size, levels = block_size(params, of), levels_of(params)
    count = -(-of.size // size)
    padded = np.zeros(count * size, np.float32)
    padded[: of.size] = of.ravel()
    absmax = np.abs(padded.reshape(count, size)).max(axis=1)
    nearest = np.rint((padded.reshape(count, size) / absmax[:, None] + 1) / 2 * (len(levels) - 1)).astype(int)
    back = (levels[nearest] * absmax[:, None]).ravel()[: of.size].reshape(of.shape)
    codes = nearest.ravel()[: of.size].reshape(of.shape) - (127 if params.method == "int8" else 0)
    return codes.astype(np.float32), absmax.astype(np.float32), back.astype(np.float32)


def figures(of: Values, params: QuantizationParams) -> ErrorFigures:
    """The true figures of this formula."""
    _, absmax, back = quantized(of, params)
    error = np.abs(back - of)
    relative = float(np.linalg.norm(back - of) / np.linalg.norm(of))
    worst = np.unravel_index(int(error.argmax()), of.shape)
    return ErrorFigures(
        bits_per_weight=params.kind.bits + (8 if params.double_quant else 32) * len(absmax) / of.size,
        relative_error=relative,
        snr_db=ErrorFigures.decibels(relative),
        max_abs_error=float(error.max()),
        worst=(int(worst[0]), int(worst[1])),
    )


def inputs(module: str) -> LayerInputs:
    """Small magnitudes, and three large ones."""
    magnitudes = np.abs(np.random.default_rng(len(module)).normal(0, 1, HIDDEN))
    magnitudes[[7, 20, 63]] = (9.0, 14.0, 30.0)
    return LayerInputs(module=module, magnitudes=Floats.of(magnitudes.tolist()))


def _histogram(values: Values) -> Histogram:
    counts, edges = np.histogram(values, bins=_BINS)
    return Histogram(float(edges[0]), float(edges[-1]), Counts.of(counts.tolist()))


def _scales(absmax: Values) -> Scales:
    per_point = -(-len(absmax) // 1000)
    runs = [absmax[start : start + per_point] for start in range(0, len(absmax), per_point)]
    return Scales(
        count=len(absmax),
        per_point=per_point,
        lowest=Floats.of([float(run.min()) for run in runs]),
        mean=Floats.of([float(run.mean()) for run in runs]),
        highest=Floats.of([float(run.max()) for run in runs]),
        histogram=_histogram(absmax),
    )


def _floats(values: Values) -> Floats:
    return Floats(np.ascontiguousarray(values, np.float32).tobytes())
