"""What there is to see inside quantization: a model's modules, one weight matrix, and what a method makes of it."""

import math
from enum import StrEnum

import msgspec

from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorCode, fail
from qplayground.core.measures.floats import Counts, Floats
from qplayground.core.quantizers.base import Method
from qplayground.core.quantizers.registry import METHODS

BLOCK_SIZES = tuple(sorted({size for method in METHODS.values() for size in method.block_sizes if size is not None}))
"""Weights that share one scale, as some method offers them."""


class QuantizationParams(msgspec.Struct, frozen=True, kw_only=True):
    """How a matrix is quantized. `block_size` is None for one scale over the whole tensor, and for one a row.

    `dtype` is the type that the weights are in when they are quantized and come back in, the recipe's own.
    """

    method: str = "nf4"
    block_size: int | None = 64
    double_quant: bool = False
    dtype: Dtype = Dtype.BFLOAT16

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"There is no method named {self.method!r}.")

    @property
    def kind(self) -> Method:
        """What its family says of the method."""
        return METHODS[self.method]

    def checked(self) -> "QuantizationParams":
        """These parameters, what means nothing to the method left out. Raises PlaygroundError(BAD_SETTINGS)."""
        kind = self.kind
        if not kind.has_blocks:
            return msgspec.structs.replace(self, block_size=None, double_quant=False)
        if self.block_size not in kind.block_sizes:
            size = "the whole tensor" if self.block_size is None else f"{self.block_size} weights"
            offered = ", ".join(str(size) for size in kind.block_sizes if size is not None)
            raise fail(ErrorCode.BAD_SETTINGS, f"A block of {size} is not offered.", f"Choose from {offered}.")
        return msgspec.structs.replace(self, double_quant=self.double_quant and bool(kind.double))

    @property
    def label(self) -> str:
        """For a person: `NF4, blocks of 64, double quantization`."""
        if not self.kind.has_blocks:
            return self.kind.label
        size = "the whole tensor" if self.block_size is None else f"blocks of {self.block_size}"
        return f"{self.kind.label}, {size}{', double quantization' * self.double_quant}"


# ---- the model ----------------------------------------------------------------------------------------------------


class Kept(StrEnum):
    """Why a module is not quantized; the text is for a person."""

    TIED = "its weight is tied to another module's"
    OUTPUT_HEAD = "the output head is left alone"
    SKIPPED = "the precision skips it"
    NOT_LINEAR = "it is not a linear layer"
    UNKNOWN_CLASS = "it is a linear layer of a class that this quantizer does not take"
    UNFIT = "this processor's kernel, or the model's code, cannot take it quantized"


class ModuleOutline(msgspec.Struct, frozen=True, kw_only=True):
    """One module that holds tensors of its own.

    `kind` is its class, `shape` its weight's as the checkpoint stores it, `tensor` that weight's name there, empty
    where the checkpoint holds it under no name of its own (merged with others, tied, or computed). `is_quantized` where
    the checkpoint holds codes in its place; `shape` is then the module's own.
    `stored_bytes` are in the checkpoint, all its tensors together; `bytes` in each precision, tied weights counted
    where they come first. `kept` says for a quantized precision why it stays as it is; a precision that is not there
    quantizes it.
    """

    name: str
    kind: str
    shape: tuple[int, ...] = ()
    tensor: str = ""
    stored_dtype: str = ""
    stored_bytes: int = 0
    is_quantized: bool = False
    parameters: int = 0
    bytes: dict[str, int] = {}
    kept: dict[str, Kept] = {}

    @property
    def is_matrix(self) -> bool:
        """Whether its weight can be looked at."""
        return bool(self.tensor) and len(self.shape) == 2


class ModelOutline(msgspec.Struct, frozen=True, kw_only=True):
    """The modules of a model in the order of its forward, without any value.

    `quantized_by` names the method of a checkpoint that was quantized before, which says why parameters rest there.
    `suggested` is a module worth looking at first: one of the middle of the model that gets quantized.
    """

    modules: tuple[ModuleOutline, ...]
    quantized_by: str = ""
    suggested: str = ""


# ---- one matrix ---------------------------------------------------------------------------------------------------


class Histogram(msgspec.Struct, frozen=True):
    """How many values lie in each of the equal bins from `low` to `high`."""

    low: float
    high: float
    counts: Counts


class Matrix(msgspec.Struct, frozen=True, kw_only=True):
    """One weight matrix as the checkpoint stores it, `transposed` already where a layer stores it so (Conv1D).

    `fixed_because` says why nothing can be tried on it: it is quantized already, or cannot be that way. `stored` are
    the codes and scales of one that is quantized already, without figures: nothing is there to compare with.
    """

    module: str
    tensor: str
    rows: int
    columns: int
    stored_dtype: str
    stored_bytes: int
    transposed: bool = False
    lowest: float
    highest: float
    mean: float
    std: float
    histogram: Histogram
    fixed_because: str = ""
    stored: "QuantizedMatrix | None" = None


class Scales(msgspec.Struct, frozen=True, kw_only=True):
    """The absmax of every block (or row), in the order of the weights.

    Where there are more than fit a curve, `lowest`, `mean` and `highest` are of equal runs of `per_point` blocks.
    """

    count: int
    per_point: int
    lowest: Floats
    mean: Floats
    highest: Floats
    histogram: Histogram


class ErrorFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What quantizing a matrix W to Q costs.

    `bits_per_weight`: all bytes that the library stores for it (codes, scales, code tables) times 8 / elements.
    `relative_error`: ‖Q − W‖ / ‖W‖ (Frobenius), 0 for a matrix of zeros; `snr_db`: −20 log10 of it, None where there is
    no error. `max_abs_error`, the largest error, is at `worst`, a row and a column.
    """

    bits_per_weight: float
    relative_error: float
    snr_db: float | None
    max_abs_error: float
    worst: tuple[int, int] = (0, 0)

    @staticmethod
    def decibels(relative_error: float) -> float | None:
        """The signal-to-noise ratio that belongs to a relative error."""
        return -20 * math.log10(relative_error) if relative_error > 0 else None


class QuantizedMatrix(msgspec.Struct, frozen=True, kw_only=True):
    """What the parameters made of the matrix.

    `levels` are the values between −1 and 1 that a code can stand for, in the order of the codes from `first_code` on;
    times a block's absmax they are weights. `usage` counts how often each code occurs. `blocks` is their number,
    `last_block` how many weights the last one has.
    """

    params: QuantizationParams
    levels: Floats
    first_code: int = 0
    usage: Counts
    blocks: int
    last_block: int
    scales: Scales
    figures: ErrorFigures | None


class Picture(StrEnum):
    """A matrix as an image."""

    ORIGINAL = "original"
    CODES = "codes"
    DEQUANTIZED = "dequantized"
    ERROR = "error"


class Tile(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a picture, `height` × `width` pixels, row by row.

    Where a pixel stands for several weights it shows the one of the largest magnitude among them (of the error, in the
    picture of errors), so that no outlier is averaged away.
    """

    picture: Picture
    first_row: int
    rows: int
    first_column: int
    columns: int
    height: int
    width: int
    values: Floats


class ProbedWeight(msgspec.Struct, frozen=True, kw_only=True):
    """One weight on its way: value → block → absmax → code → level → value again.

    `absmax` is what the value is scaled by; with double quantization it has a code of its own, `absmax_code`, and was
    `exact_absmax` before. `block_first` is the flat index of its block's first weight. `block_values` are those of its
    block in checkpoint precision; of a longer block a run of 4,096 that has the weight in it.
    """

    row: int
    column: int
    value: float
    block: int
    block_first: int
    block_length: int
    absmax: float
    exact_absmax: float
    absmax_code: int | None = None
    code: int
    level: float
    back: float
    block_values: Floats

    @property
    def error(self) -> float:
        """What comes back, less what was there."""
        return self.back - self.value


class LayerRow(msgspec.Struct, frozen=True, kw_only=True):
    """What one choice of parameters costs one layer."""

    module: str
    params: QuantizationParams
    figures: ErrorFigures


class LeftOut(msgspec.Struct, frozen=True):
    """A layer, or a choice of parameters for it, that was not measured, and why."""

    module: str
    reason: str


# ---- outliers -----------------------------------------------------------------------------------------------------


class LayerInputs(msgspec.Struct, frozen=True, kw_only=True):
    """What went into a linear layer while the model read the prompt: each input dimension's largest magnitude."""

    module: str
    magnitudes: Floats


class ThresholdTrial(msgspec.Struct, frozen=True, kw_only=True):
    """A layer as LLM.int8() computes it on the captured inputs with that threshold; 0 turns outliers off.

    `columns` of `of_columns` go the 16-bit way, and need `extra_bytes` of 16-bit weights meanwhile. `relative_error` is
    the output's against the exact one's. `seconds` is the median of `repeats` forwards, `seconds_without` that of the
    same with every column in 8 bits, taken in turns; `seconds_range` and `without_range` are the lowest and highest.
    """

    module: str
    threshold: float
    columns: int
    of_columns: int
    extra_bytes: int
    relative_error: float
    seconds: float
    seconds_without: float
    seconds_range: tuple[float, float] = (0.0, 0.0)
    without_range: tuple[float, float] = (0.0, 0.0)
    repeats: int

    @property
    def times_differ(self) -> bool:
        """Whether no forward of the one kind was as quick as one of the other."""
        return self.seconds_range[0] > self.without_range[1] or self.without_range[0] > self.seconds_range[1]
