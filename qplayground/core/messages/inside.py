"""The part of the wire that looks inside quantization; `messages` has the rest and the rules."""

from qplayground.core.dtype import Dtype
from qplayground.core.generation import GenerationRequest
from qplayground.core.inside import (
    LayerInputs,
    LayerRow,
    LeftOut,
    Matrix,
    ModelOutline,
    Picture,
    ProbedWeight,
    QuantizationParams,
    QuantizedMatrix,
    ThresholdTrial,
    Tile,
)
from qplayground.core.messages.base import Answer, LastAnswer, Request
from qplayground.core.precision import Precision

# ---- commands, window → engine ------------------------------------------------------------------------------------


class OutlineModel(Request, frozen=True, kw_only=True):
    """Name the modules of the model in the folder `path`, with their bytes in each precision. ModelOutlined follows."""

    path: str
    precisions: tuple[Precision, ...]


class OpenMatrix(Request, frozen=True, kw_only=True):
    """Read the weight of one module. MatrixOpened follows."""

    path: str
    module: str


class QuantizeMatrix(Request, frozen=True, kw_only=True):
    """Quantize the open matrix so. MatrixQuantized follows, or Failed, and what was there before stays."""

    params: QuantizationParams


class ReadTile(Request, frozen=True, kw_only=True):
    """Show a part of the open matrix in `height` × `width` pixels, or as many as it has weights. TileRead follows."""

    picture: Picture
    first_row: int
    rows: int
    first_column: int
    columns: int
    height: int
    width: int


class ProbeWeight(Request, frozen=True, kw_only=True):
    """Follow one weight of the open matrix. WeightProbed follows."""

    row: int
    column: int


class MeasureLayers(Request, frozen=True, kw_only=True):
    """Quantize layer after layer with each of the parameter sets: those of `modules`, or all that get quantized.

    A LayerMeasured for each, with Progressed in between, and LayersMeasured at the end, early after a Cancel.
    """

    path: str
    modules: tuple[str, ...] = ()
    params: tuple[QuantizationParams, ...]


class CaptureInputs(Request, frozen=True, kw_only=True):
    """Load the model in `dtype`, have it read the prompt, and keep what goes into each linear layer that gets
    quantized; the model is let go afterwards. Phases and progress as of a load, then InputsCaptured.
    """

    path: str
    dtype: Dtype
    request: GenerationRequest


class TryThreshold(Request, frozen=True, kw_only=True):
    """Run one layer on its captured inputs as LLM.int8() would with that threshold. ThresholdTried follows."""

    module: str
    threshold: float


InsideCommand = (
    OutlineModel | OpenMatrix | QuantizeMatrix | ReadTile | ProbeWeight | MeasureLayers | CaptureInputs | TryThreshold
)

# ---- events, engine → window --------------------------------------------------------------------------------------


class ModelOutlined(LastAnswer, frozen=True):
    """The modules."""

    outline: ModelOutline


class MatrixOpened(LastAnswer, frozen=True):
    """The matrix is in the engine's memory, and its ORIGINAL can be shown."""

    matrix: Matrix


class MatrixQuantized(LastAnswer, frozen=True):
    """Codes and what comes back can be shown."""

    quantized: QuantizedMatrix


class TileRead(LastAnswer, frozen=True):
    """A part of a picture of the matrix."""

    tile: Tile


class WeightProbed(LastAnswer, frozen=True):
    """One weight."""

    weight: ProbedWeight


class LayerMeasured(Answer, frozen=True):
    """One row, as it comes."""

    row: LayerRow


class LayersMeasured(LastAnswer, frozen=True):
    """There are no more rows."""

    left_out: tuple[LeftOut, ...] = ()


class InputsCaptured(LastAnswer, frozen=True):
    """What went into each layer while the model read so many tokens."""

    tokens: int
    layers: tuple[LayerInputs, ...]


class ThresholdTried(LastAnswer, frozen=True):
    """What a threshold gives; nothing after a Cancel."""

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
