"""The model behind the Inside view: a model's modules, and one open matrix."""

from PySide6.QtCore import QObject, Signal, Slot

from qplayground.core.errors import ErrorInfo
from qplayground.core.inside import Matrix, ModelOutline, Picture, QuantizationParams, QuantizedMatrix
from qplayground.core.messages.events import Event
from qplayground.core.messages.inside import (
    MatrixOpened,
    MatrixQuantized,
    ModelOutlined,
    OpenMatrix,
    OutlineModel,
    ProbeWeight,
    QuantizeMatrix,
    ReadTile,
    TileRead,
    WeightProbed,
)
from qplayground.core.precision import Precision
from qplayground.runtime.clients.engine_client import EngineClient
from qplayground.runtime.processes.launcher import Launcher


class Inspector(QObject):
    """Owner of the outline, of the open matrix, and of the engine that holds its values.

    Of each kind of request the latest counts. A module, parameters, a tile or a weight requested while one is in
    progress waits for it, and replaces the one waiting. Signals: `outlined(ModelOutline)`; `opened(Matrix)`;
    `quantized(QuantizedMatrix)`; `tile_read(Tile)`; `probed(ProbedWeight)`; `failed(ErrorInfo)`;
    `busy_changed(bool)` while a matrix is read or quantized.
    """

    outlined = Signal(object)
    opened = Signal(object)
    quantized = Signal(object)
    tile_read = Signal(object)
    probed = Signal(object)
    failed = Signal(object)
    busy_changed = Signal(bool)

    def __init__(self, launcher: Launcher, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._client = EngineClient("inside", launcher, "Choose the model or the layer again.", self)
        self._client.said.connect(self._on_said)
        self._client.failed.connect(self._on_failed)
        self._client.lost.connect(self._on_lost)
        self._path = ""
        self._outline: ModelOutline | None = None
        self._matrix: Matrix | None = None
        self._quantized: QuantizedMatrix | None = None
        self._params = QuantizationParams()
        self._module = ""
        self._next_outline: OutlineModel | None = None
        self._outlining: int | None = None
        self._next_module = ""
        self._working: int | None = None  # id of the command that reads or quantizes a matrix
        self._tiling: int | None = None
        self._probing: int | None = None
        self._next_params: QuantizationParams | None = None
        self._next_tile: ReadTile | None = None
        self._next_probe: ProbeWeight | None = None
        self._paused = self._told_busy = False

    # ---- queries ---------------------------------------------------------------------------------------------

    @property
    def path(self) -> str:
        """The model's folder; empty without a model."""
        return self._path

    @property
    def outline(self) -> ModelOutline | None:
        """The model's modules, or None while unknown."""
        return self._outline

    @property
    def matrix(self) -> Matrix | None:
        """The open matrix, or None."""
        return self._matrix

    @property
    def quantized_matrix(self) -> QuantizedMatrix | None:
        """The open matrix after quantization, or None until it is quantized."""
        return self._quantized

    @property
    def params(self) -> QuantizationParams:
        """The parameters set last, whether or not they were applied."""
        return self._params

    @property
    def module(self) -> str:
        """The module chosen last, open or not."""
        return self._module

    @property
    def is_busy(self) -> bool:
        """Whether a matrix is being read or quantized."""
        return self._working is not None

    @property
    def waits(self) -> bool:
        """Whether a request for the modules or for a matrix has not been sent yet."""
        return self._next_outline is not None or bool(self._next_module)

    # ---- verbs -----------------------------------------------------------------------------------------------

    def look_at(self, path: str, precisions: tuple[Precision, ...]) -> None:
        """Switch to a model and request its modules; unloads what was open. `outlined` or `failed` follows."""
        self.take(path)
        self._next_outline = OutlineModel(id=0, path=path, precisions=precisions)
        self._go_on()

    def take(self, path: str) -> None:
        """Switch to a model without requesting its modules; unloads what was open."""
        self.unload()
        self._path = path

    def open(self, module: str) -> None:
        """Read the module's weight, at once or after the current work. `opened` and `quantized` follow, or `failed`.

        An empty name only closes the open matrix.
        """
        self._module = self._next_module = module
        self._forget_matrix()
        if module:
            self._go_on()
        elif self._working is not None:
            self._rest()

    def set_params(self, params: QuantizationParams) -> None:
        """Quantize the open matrix, at once or after the current work. `quantized` or `failed` follows.

        If the matrix was lost with its engine, or could not be read, it is read again.
        """
        self._params = params.checked()
        self._next_params = self._params
        if self._matrix is None and not self.is_busy:
            self._next_module = self._module
        self._go_on()

    def read_tile(
        self, picture: Picture, first_row: int, rows: int, first_column: int, columns: int, height: int, width: int
    ) -> None:
        """Request a part of a picture. `tile_read` follows for the latest request."""
        self._next_tile = ReadTile(
            id=0,
            picture=picture,
            first_row=first_row,
            rows=rows,
            first_column=first_column,
            columns=columns,
            height=height,
            width=width,
        )
        self._go_on()

    def probe(self, row: int, column: int) -> None:
        """Request the details of one weight. `probed` follows for the latest request."""
        self._next_probe = ProbeWeight(id=0, row=row, column=column)
        self._go_on()

    def set_paused(self, paused: bool) -> None:
        """Postpone slow work (modules, matrices, parameters) while something is timed.

        Tiles and weights of the open matrix take milliseconds and are still read.
        """
        self._paused = paused
        self._go_on()

    def unload(self) -> None:
        """Forget the model and free its memory."""
        self._client.end()
        self._path = ""
        self._outline = None
        self._outlining = self._next_outline = None
        self.open("")

    def close(self) -> None:
        """End the engine, now."""
        self._client.close()

    # ---- one thing after another -----------------------------------------------------------------------------

    def _work(self, command: OpenMatrix | QuantizeMatrix) -> None:
        self._working = self._client.ask(command)
        self._tell_busy()

    def _tell_busy(self) -> None:
        if self.is_busy is not self._told_busy:
            self._told_busy = self.is_busy
            self.busy_changed.emit(self.is_busy)

    def _go_on(self) -> None:
        """Send the waiting requests whose predecessor is answered, the fast ones first."""
        if self._matrix is not None:
            self._begin_looks()
        if not self._paused:
            self._begin_work()

    def _begin_looks(self) -> None:
        if self._next_tile is not None and self._tiling is None:
            tile, self._next_tile = self._next_tile, None
            self._tiling = self._client.ask(tile)
        if self._next_probe is not None and self._probing is None:
            probe, self._next_probe = self._next_probe, None
            self._probing = self._client.ask(probe)

    def _begin_work(self) -> None:
        """Send the slow requests, in the order in which they are needed."""
        if self._next_outline is not None:
            outline, self._next_outline = self._next_outline, None
            self._outlining = self._client.ask(outline)
        if self._next_module and not self.is_busy:
            module, self._next_module = self._next_module, ""
            self._next_params = None  # quantized after opening anyway
            self._work(OpenMatrix(id=0, path=self._path, module=module))
        matrix = self._matrix
        if matrix is not None and self._next_params is not None and not self.is_busy:
            params, self._next_params = self._next_params, None
            if not matrix.fixed_because and (self._quantized is None or params != self._quantized.params):
                self._work(QuantizeMatrix(id=0, params=params))

    @Slot(int, object)
    def _on_said(self, command_id: int, event: Event) -> None:
        if isinstance(event, ModelOutlined) and command_id == self._outlining:
            self._outlining = None
            self._outline = event.outline
            self.outlined.emit(event.outline)
        elif isinstance(event, MatrixOpened) and command_id == self._working:
            self._take_matrix(event.matrix)
        elif isinstance(event, MatrixQuantized) and command_id == self._working:
            self._take_quantized(event.quantized)
        elif isinstance(event, TileRead) and command_id == self._tiling:
            self._tiling = None
            self.tile_read.emit(event.tile)
        elif isinstance(event, WeightProbed) and command_id == self._probing:
            self._probing = None
            self.probed.emit(event.weight)
        self._go_on()

    def _take_matrix(self, matrix: Matrix) -> None:
        """Emit `opened` before quantizing, so that a slot can request the picture first."""
        self._working = None
        if self._next_module:  # another module was chosen meanwhile
            return
        self._matrix, self._quantized = matrix, matrix.stored
        self._next_params = None if matrix.fixed_because else self._params
        if matrix.fixed_because:
            self._tell_busy()
        self.opened.emit(matrix)
        if matrix.stored is not None:
            self.quantized.emit(matrix.stored)
        self._go_on()
        self._tell_busy()

    def _take_quantized(self, quantized: QuantizedMatrix) -> None:
        self._working = None
        if not self._next_module:
            self._quantized = quantized
            self._tell_busy()
            self.quantized.emit(quantized)

    @Slot(int, object)
    def _on_failed(self, command_id: int, error: ErrorInfo) -> None:
        if command_id == self._working and self._next_module:
            self._working = None
            self._go_on()
            return
        if command_id == self._working:
            self._rest()
        elif command_id == self._outlining:
            self._outlining = None
        elif command_id == self._tiling:
            self._tiling = None
        elif command_id == self._probing:
            self._probing = None
        else:
            return
        self.failed.emit(error)
        self._go_on()

    @Slot(object)
    def _on_lost(self, error: ErrorInfo) -> None:
        was_idle = {self._outlining, self._working, self._tiling, self._probing} == {None}
        self._matrix = self._quantized = None
        self._next_params = self._next_tile = self._next_probe = None
        if was_idle and self._module:  # otherwise `_on_failed` reports the open request
            self.failed.emit(error)

    def _rest(self) -> None:
        self._working = None
        self._tell_busy()

    def _forget_matrix(self) -> None:
        self._matrix = self._quantized = None
        self._next_params = self._next_tile = self._next_probe = None
        self._tiling = self._probing = None
