"""A child of the inside benchmark: opens the window, chooses a large layer, and changes every parameter."""

import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from PySide6.QtCore import QEventLoop, QTimer
from PySide6.QtWidgets import QApplication

from qplayground.core.generation import GenerationRequest
from qplayground.core.inside import Picture, QuantizationParams
from qplayground.core.precision import READY_PRECISIONS
from qplayground.runtime.processes.launcher import Launcher
from qplayground.runtime.storage.preferences import Preferences
from qplayground.ui.inside.window import InsideWindow, Subject
from qplayground.ui.widgets import theme
from tests.benchmarks.inside import params_to_try

OPENED = (QuantizationParams(), QuantizationParams(method="fp4", double_quant=True), QuantizationParams(method="int8"))
_BASE = QuantizationParams(method="int8")
_ROUNDS = 5
_LONGEST_MS = 120_000


class _Shown:
    """Seconds from an action until the window has drawn what a signal brought."""

    def __init__(self, app: QApplication) -> None:
        self._app = app

    def __call__(self, act: Callable[[], object], *signals: Any) -> list[float]:
        """One value for each signal, in the order in which they arrive."""
        loop, found = QEventLoop(), []
        longest = QTimer(singleShot=True, interval=_LONGEST_MS)
        longest.timeout.connect(lambda: loop.exit(1))

        def take(waits: Any) -> Callable[..., None]:
            def on_signal(*_: object) -> None:
                waits.disconnect(slots[id(waits)])
                QTimer.singleShot(0, drawn)

            return on_signal

        def drawn() -> None:
            self._app.processEvents()
            found.append(time.perf_counter() - began)
            if len(found) == len(signals):
                loop.exit(0)

        slots = {id(signal): take(signal) for signal in signals}
        for signal in signals:
            signal.connect(slots[id(signal)])
        longest.start()
        began = time.perf_counter()
        act()
        if loop.exec():
            raise RuntimeError("it was not shown")
        return found


def main(path: str, small: str, large: str) -> None:
    """Print a JSON object of lists of seconds."""
    app = QApplication([])
    theme.apply_look(app)
    launcher = Launcher()
    window = InsideWindow(launcher, Preferences.load())
    window.resize(1280, 720)
    window.show()
    inspector, shown = window.inspector, _Shown(app)
    subject = Subject("wide", path, READY_PRECISIONS, GenerationRequest())
    shown(lambda: window.show_model(subject, small), inspector.quantized)

    opened: dict[str, list[list[float]]] = {}
    for params in OPENED:
        if inspector.params != params.checked():
            shown(partial(window.matrix.turn, params), inspector.quantized)
        for _ in range(_ROUNDS):
            times = shown(lambda: window.modules.select(large), inspector.tile_read, inspector.quantized)
            opened.setdefault(params.label, []).append(times)
            shown(lambda: window.modules.select(small), inspector.quantized)
    shown(lambda: window.modules.select(large), inspector.quantized)

    def turned(params: QuantizationParams, *signals: Any) -> list[float]:
        if inspector.params != _BASE.checked():
            shown(lambda: window.matrix.turn(_BASE), inspector.quantized)
        return shown(lambda: window.matrix.turn(params), *signals)

    slowest: dict[str, tuple[str, list[float]]] = {}
    for params in params_to_try():
        if params == _BASE.checked():
            shown(lambda: window.matrix.turn(QuantizationParams()), inspector.quantized)
            samples = []
            for _ in range(_ROUNDS):
                samples += shown(lambda: window.matrix.turn(_BASE), inspector.quantized)
                shown(lambda: window.matrix.turn(QuantizationParams()), inspector.quantized)
        else:
            samples = [turned(params, inspector.quantized)[0] for _ in range(_ROUNDS)]
        name = params.kind.label
        if name not in slowest or statistics.median(samples) > statistics.median(slowest[name][1]):
            slowest[name] = (params.label, samples)

    turned(QuantizationParams(), inspector.quantized)
    shown(window.matrix.image.pictures[Picture.CODES].click, inspector.tile_read)
    pictured = {}
    for params in (QuantizationParams(), QuantizationParams(method="fp4")):
        samples = []
        for _ in range(_ROUNDS):
            shown(lambda: window.matrix.turn(_BASE), inspector.tile_read)
            samples += shown(partial(window.matrix.turn, params), inspector.tile_read)
        pictured[params.label] = samples
    window.close()
    launcher.close()
    print(json.dumps({"opened": opened, "slowest": slowest, "pictured": pictured}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
