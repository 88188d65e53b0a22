"""Uses the Inside window as a person does."""

from pytestqt.qtbot import QtBot

from qplayground.core.inside import BLOCK_SIZES, QuantizationParams
from qplayground.core.quantizers.registry import METHODS
from qplayground.ui.inside.window import InsideWindow

WAIT_MS = 30_000


def wait_quantized(qtbot: QtBot, window: InsideWindow, params: QuantizationParams | None = None) -> None:
    def is_so() -> bool:
        found = window.inspector.quantized_matrix
        return found is not None and not window.inspector.is_busy and (params is None or found.params == params)

    qtbot.waitUntil(is_so, timeout=WAIT_MS)


def choose(qtbot: QtBot, window: InsideWindow, module: str) -> None:
    window.modules.select(module)
    wait_quantized(qtbot, window)
    assert window.inspector.matrix is not None and window.inspector.matrix.module == module


def turn(window: InsideWindow, method: str, block_size: int | None = 64) -> None:
    params = window.matrix.params
    params.method.setCurrentIndex(params.method.findData(method))
    if METHODS[method].has_blocks:
        params.block_size.setCurrentIndex(
            len(BLOCK_SIZES) if block_size is None else params.block_size.findData(block_size)
        )
