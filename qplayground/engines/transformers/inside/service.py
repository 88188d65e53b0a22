"""The engine's part of looking inside: carries out the commands, and holds what is open."""

from pathlib import Path

from qplayground.core.errors import ErrorCode, fail
from qplayground.core.inside import LeftOut
from qplayground.core.messages.channel import Channel
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
from qplayground.engines.transformers.inside.bands import THREADS, torch_threads
from qplayground.engines.transformers.inside.matrix import OpenedMatrix
from qplayground.engines.transformers.inside.outliers import READING, ThresholdBench, capture
from qplayground.engines.transformers.inside.outline import outline
from qplayground.engines.transformers.inside.source import Source
from qplayground.engines.transformers.inside.survey import measure_layers
from qplayground.engines.transformers.machine import allocator
from qplayground.engines.transformers.progress import OnCounted, OnPhase

_LABEL = "Quantizing layers"


class InsideService:
    """Holds one folder's headers, one open matrix, and the inputs of one prompt."""

    def __init__(self, channel: Channel, on_phase: OnPhase, on_progress: OnCounted) -> None:
        self._channel = channel
        self._on_phase = on_phase
        self._on_progress = on_progress
        self._source: Source | None = None
        self._opened: OpenedMatrix | None = None
        self._bench: ThresholdBench | None = None
        allocator.enter_loading()  # one arena, since short-lived threads would each leave one
        allocator.enter_decoding()  # bands of a matrix come and go like the weights of a token

    def carry_out(self, command: InsideCommand) -> None:
        """Send the answers. Raises PlaygroundError for what the user can act on, else what the libraries raise."""
        computes = isinstance(command, CaptureInputs | TryThreshold)
        with torch_threads(THREADS if computes else 1):
            self._answer(command)

    def _answer(self, command: InsideCommand) -> None:
        if isinstance(command, OutlineModel):
            found = outline(self._read(command.path), command.precisions)
            self._channel.send(ModelOutlined(command.id, found))
        elif isinstance(command, OpenMatrix):
            self._open(command)
        elif isinstance(command, QuantizeMatrix):
            self._channel.send(MatrixQuantized(command.id, self._open_matrix.quantize(command.params)))
        elif isinstance(command, ReadTile):
            self._channel.send(TileRead(command.id, self._open_matrix.tile(command)))
        elif isinstance(command, ProbeWeight):
            self._channel.send(WeightProbed(command.id, self._open_matrix.probe(command.row, command.column)))
        elif isinstance(command, MeasureLayers):
            self._measure(command)
        elif isinstance(command, CaptureInputs):
            self._capture(command)
        else:
            self._try_threshold(command)

    def _open(self, command: OpenMatrix) -> None:
        self._opened = None  # free the previous one first: never two in memory
        allocator.release()
        self._opened = opened = OpenedMatrix(self._read(command.path), command.module)
        self._channel.send(MatrixOpened(command.id, opened.matrix))

    def _measure(self, command: MeasureLayers) -> None:
        left_out = []

        def should_stop() -> bool:
            return self._channel.is_cancelled(command.id)

        def on_done(done: int, total: int) -> None:
            self._on_progress(_LABEL, done, total, "layers")

        for row in measure_layers(self._read(command.path), command.modules, command.params, on_done, should_stop):
            if isinstance(row, LeftOut):
                left_out.append(row)
            else:
                self._channel.send(LayerMeasured(command.id, row))
        self._channel.send(LayersMeasured(command.id, tuple(left_out)))

    def _capture(self, command: CaptureInputs) -> None:
        self._bench = None
        source = self._read(command.path)
        try:
            captured = capture(command, source, self._on_phase, self._on_capture)
        finally:
            allocator.enter_decoding()  # the model is gone
        self._bench = ThresholdBench(source, captured)
        self._channel.send(InputsCaptured(command.id, captured.tokens, captured.layers))

    def _on_capture(self, label: str, done: int, total: int) -> None:
        self._on_progress(label, done, total, "layers" if label == READING else "bytes")

    def _try_threshold(self, command: TryThreshold) -> None:
        if self._bench is None:
            raise fail(ErrorCode.BAD_SETTINGS, "No prompt was run yet.", "Run the prompt first.")

        def should_stop() -> bool:
            return self._channel.is_cancelled(command.id)

        trial = self._bench.attempt(command.module, command.threshold, should_stop)
        self._channel.send(ThresholdTried(command.id, trial))

    @property
    def _open_matrix(self) -> OpenedMatrix:
        if self._opened is None:
            raise fail(ErrorCode.BAD_SETTINGS, "No matrix is open.", "Choose a layer.")
        return self._opened

    def _read(self, path: str) -> Source:
        """The folder's headers, read again if its files changed."""
        folder = Path(path)
        if self._source is None or self._source.path != folder or not self._source.is_current:
            self._source = None
            self._source = Source(folder)
        return self._source
