"""The part of the wire that looks inside quantization; `messages` has the rest and the rules."""

import msgspec

from qplayground.core.dtype import Dtype
from qplayground.core.generation import GenerationRequest
from qplayground.core.inside import (
    Knobs,
    LayerInputs,
    LayerRow,
    LeftOut,
    Matrix,
    ModelOutline,
    Picture,
    ProbedWeight,
    QuantizedMatrix,
    ThresholdTrial,
    Tile,
)
from qplayground.core.precision import Precision

# ---- commands, window → engine ------------------------------------------------------------------------------------


class OutlineModel(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Name the modules of the model in the folder `path`, with their bytes in each precision. ModelOutlined follows."""

    id: int
    path: str
    precisions: tuple[Precision, ...]


class OpenMatrix(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Read the weight of one module. MatrixOpened follows."""

    id: int
    path: str
    module: str


class QuantizeMatrix(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Quantize the open matrix so. MatrixQuantized follows, or Failed, and what was there before stays."""

    id: int
    knobs: Knobs


class ReadTile(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Show a part of the open matrix in `height` × `width` pixels, or as many as it has weights. TileRead follows."""

    id: int
    picture: Picture
    first_row: int
    rows: int
    first_column: int
    columns: int
    height: int
    width: int


class ProbeWeight(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Follow one weight of the open matrix. WeightProbed follows."""

    id: int
    row: int
    column: int


class MeasureLayers(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Quantize layer after layer with each of the knobs: those of `modules`, or all that get quantized.

    A LayerMeasured for each, with Progressed in between, and LayersMeasured at the end, early after a Cancel.
    """

    id: int
    path: str
    modules: tuple[str, ...] = ()
    knobs: tuple[Knobs, ...]


class CaptureInputs(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Load the model in `dtype`, have it read the prompt, and keep what goes into each linear layer that gets
    quantized; the model is let go afterwards. Phases and progress as of a load, then InputsCaptured.
    """

    id: int
    path: str
    dtype: Dtype
    request: GenerationRequest


class TryThreshold(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Run one layer on its captured inputs as LLM.int8() would with that threshold. ThresholdTried follows."""

    id: int
    module: str
    threshold: float


InsideCommand = (
    OutlineModel | OpenMatrix | QuantizeMatrix | ReadTile | ProbeWeight | MeasureLayers | CaptureInputs | TryThreshold
)

# ---- events, engine → window --------------------------------------------------------------------------------------


class ModelOutlined(msgspec.Struct, frozen=True, tag=True):
    """The modules."""

    command_id: int
    outline: ModelOutline


class MatrixOpened(msgspec.Struct, frozen=True, tag=True):
    """The matrix is in the engine's memory, and its ORIGINAL can be shown."""

    command_id: int
    matrix: Matrix


class MatrixQuantized(msgspec.Struct, frozen=True, tag=True):
    """Codes and what comes back can be shown."""

    command_id: int
    quantized: QuantizedMatrix


class TileRead(msgspec.Struct, frozen=True, tag=True):
    """A part of a picture of the matrix."""

    command_id: int
    tile: Tile


class WeightProbed(msgspec.Struct, frozen=True, tag=True):
    """One weight."""

    command_id: int
    weight: ProbedWeight


class LayerMeasured(msgspec.Struct, frozen=True, tag=True):
    """One row, as it comes."""

    command_id: int
    row: LayerRow


class LayersMeasured(msgspec.Struct, frozen=True, tag=True):
    """There are no more rows."""

    command_id: int
    left_out: tuple[LeftOut, ...] = ()


class InputsCaptured(msgspec.Struct, frozen=True, tag=True):
    """What went into each layer while the model read so many tokens."""

    command_id: int
    tokens: int
    layers: tuple[LayerInputs, ...]


class ThresholdTried(msgspec.Struct, frozen=True, tag=True):
    """What a threshold gives; nothing after a Cancel."""

    command_id: int
    trial: ThresholdTrial | None


InsideEvent = (
    ModelOutlined
    | MatrixOpened
    | MatrixQuantized
    | TileRead
    | WeightProbed
    | LayerMeasured
    | LayersMeasured
    | InputsCaptured
    | ThresholdTried
)
