"""The data of one matrix that the tour's pictures need, requested one after another and cached."""

from typing import NamedTuple

from PySide6.QtCore import QObject, Signal, Slot

from qplayground.core.errors import ErrorInfo
from qplayground.core.inside import (
    Matrix,
    ModelOutline,
    Picture,
    ProbedWeight,
    QuantizationParams,
    QuantizedMatrix,
    Tile,
)
from qplayground.runtime.inside.inspector import Inspector
from qplayground.ui.charts.inside.heat_map import TILE_HEIGHT, TILE_WIDTH


class TileNeed(NamedTuple):
    """The first rows and columns of a picture under these parameters.

    `params` is None for the original; 0 rows or columns means all.
    """

    picture: Picture
    params: QuantizationParams | None = None
    rows: int = 0
    columns: int = 0


class ProbeNeed(NamedTuple):
    """One weight's quantization under these parameters."""

    params: QuantizationParams
    row: int
    column: int


Need = QuantizationParams | TileNeed | ProbeNeed
"""QuantizationParams alone: the matrix quantized with them."""


class TourFacts(QObject):
    """Requests parameters, tiles and weights from an inspector of its own, until all needs are met.

    `outline`: the model's modules. `matrix`: None until it is open. `tiles`, `probes` and `quantized` (by parameters)
    are the answers. All of them outlive the engine.

    Signal: `changed()` when an answer or a refusal arrives.
    """

    changed = Signal()

    def __init__(self, inspector: Inspector, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._inspector = inspector
        self.outline: ModelOutline | None = None
        self._module = ""
        self.matrix: Matrix | None = None
        self._needs: tuple[Need, ...] = ()
        self._asked: Need | None = None
        self._awaited = ""  # the inspector's signal that will answer
        self.tiles: dict[TileNeed, Tile] = {}
        self.probes: dict[ProbeNeed, ProbedWeight] = {}
        self.quantized: dict[QuantizationParams, QuantizedMatrix] = {}
        self._refused: dict[Need, str] = {}
        self._problem = ""
        inspector.opened.connect(self._on_opened)
        inspector.quantized.connect(self._on_quantized)
        inspector.tile_read.connect(self._on_tile_read)
        inspector.probed.connect(self._on_probed)
        inspector.failed.connect(self._on_failed)

    # ---- answers --------------------------------------------------------------------------------------------------

    @property
    def problem(self) -> str:
        """Why a current need cannot be met; empty if there is no problem."""
        matrix = self.matrix
        if matrix is not None and matrix.fixed_because and any(not _is_original(need) for need in self._needs):
            return matrix.fixed_because
        return self._problem or next((self._refused[need] for need in self._needs if need in self._refused), "")

    @property
    def is_complete(self) -> bool:
        """Whether all current needs are met."""
        return self.outline is not None and all(self._knows(need) for need in self._needs)

    # ---- requests -------------------------------------------------------------------------------------------------

    def start(self, outline: ModelOutline | None) -> None:
        """Choose the model's matrix to look at first. Everything known of the previous model is discarded."""
        self.outline, self.matrix = outline, None
        self._module = "" if outline is None else _first_matrix(outline)
        self._problem = "" if outline is None or self._module else "This model has no matrix that can be shown."
        self._asked, self._awaited = None, ""
        for known in (self.tiles, self.probes, self.quantized, self._refused):
            known.clear()
        self.changed.emit()

    def collect(self, needs: tuple[Need, ...]) -> None:
        """Replace the current needs. `changed` follows for each answer."""
        self._needs = needs
        is_open = self._inspector.matrix is not None or self._inspector.is_busy
        if self._module and not is_open and not self.is_complete:  # not opened yet, or its engine has ended
            self._problem = ""
            self._asked, self._awaited = None, ""
            self._inspector.open(self._module)
        self._go_on()

    def _knows(self, need: Need) -> bool:
        if isinstance(need, QuantizationParams):
            return need in self.quantized
        return need in self.tiles if isinstance(need, TileNeed) else need in self.probes

    def _go_on(self) -> None:
        matrix = self._inspector.matrix
        if matrix is None or self._asked is not None:
            return
        for need in self._needs:
            if self._knows(need) or need in self._refused or (matrix.fixed_because and not _is_original(need)):
                continue
            self._asked = need
            self._ask(need, matrix)
            return

    def _ask(self, need: Need, matrix: Matrix) -> None:
        params = need if isinstance(need, QuantizationParams) else need.params
        now = self._inspector.quantized_matrix
        if params is not None and (now is None or now.params != params):
            self._awaited = "quantized"
            self._inspector.set_params(params)
        elif isinstance(need, TileNeed):
            self._awaited = "tile"
            rows = min(need.rows or matrix.rows, matrix.rows)
            columns = min(need.columns or matrix.columns, matrix.columns)
            pixels = min(rows, TILE_HEIGHT), min(columns, TILE_WIDTH)
            self._inspector.read_tile(need.picture, 0, rows, 0, columns, *pixels)
        elif isinstance(need, ProbeNeed):
            self._awaited = "probe"
            self._inspector.probe(need.row, need.column)
        elif now is not None:
            self.quantized[now.params] = now
            self._answered()

    @Slot(object)
    def _on_opened(self, matrix: Matrix) -> None:
        self.matrix, self._problem = matrix, ""
        self.changed.emit()
        self._go_on()

    @Slot(object)
    def _on_quantized(self, quantized: QuantizedMatrix) -> None:
        """Store the result, also that of a newly opened matrix while something else is awaited."""
        self.quantized[quantized.params] = quantized
        if self._awaited == "quantized":
            self._answered()
        else:
            self.changed.emit()

    @Slot(object)
    def _on_tile_read(self, tile: Tile) -> None:
        if isinstance(self._asked, TileNeed) and self._awaited == "tile":
            self.tiles[self._asked] = tile
            self._answered()

    @Slot(object)
    def _on_probed(self, weight: ProbedWeight) -> None:
        if isinstance(self._asked, ProbeNeed) and self._awaited == "probe":
            self.probes[self._asked] = weight
            self._answered()

    @Slot(object)
    def _on_failed(self, error: ErrorInfo) -> None:
        if self._asked is None or self._inspector.matrix is None:
            self._problem = str(error)
        else:
            self._refused[self._asked] = str(error)
        self._answered()

    def _answered(self) -> None:
        self._asked, self._awaited = None, ""
        self.changed.emit()
        self._go_on()


def _is_original(need: Need) -> bool:
    return isinstance(need, TileNeed) and need.params is None


def _first_matrix(outline: ModelOutline) -> str:
    return outline.suggested or next((module.name for module in outline.modules if module.is_matrix), "")
