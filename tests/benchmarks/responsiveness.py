"""How long the window's event loop is held up during a whole comparison of four precisions."""

import json
import os
import subprocess
import sys
import tempfile
import time

from tests.benchmarks.display import display
from tests.benchmarks.figures import Figure

_TICK_MS = 5


def measure() -> list[Figure]:
    """Milliseconds by which a 5 ms timer came late: 99 % and the worst."""
    with display() as screen, tempfile.TemporaryDirectory() as config:
        environment = {**os.environ, **screen, "QPLAYGROUND_CONFIG": config}
        command = [sys.executable, "-m", "tests.benchmarks.responsiveness"]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=400)
    late = sorted(json.loads(done.stdout.splitlines()[-1]))
    return [
        Figure("event loop late, 99 %", late[int(0.99 * len(late))], "ms", at_most=20.0),
        Figure("event loop late, worst", late[-1], "ms", at_most=100.0),
        Figure("ticks measured", len(late), ""),
    ]


def _compare_in_window() -> None:
    from PySide6.QtCore import Qt, QTimer
    from PySide6.QtWidgets import QApplication

    from qplayground.runtime.launcher import Launcher
    from qplayground.ui import theme
    from qplayground.ui.application import make_window, start_background

    app = QApplication([])
    theme.apply_look(app)
    window = make_window(Launcher())
    window.show()
    start_background(window)
    late: list[float] = []
    last = [0.0]

    def tick() -> None:
        now = time.monotonic()
        late.append(max(0.0, 1000 * (now - last[0]) - _TICK_MS))
        last[0] = now

    ticker = QTimer(window, interval=_TICK_MS, timerType=Qt.TimerType.PreciseTimer)
    ticker.timeout.connect(tick)
    waiting = {"charts", "machine", "model"}

    def arrived(what: str) -> None:
        waiting.discard(what)
        if not waiting and not window.session.is_busy:
            last[0] = time.monotonic()
            ticker.start()
            window.models.compare.click()

    def finished() -> None:
        ticker.stop()
        print(json.dumps(late), flush=True)
        window.close()

    def model_listed() -> None:
        entry = window.models.current()
        if entry is not None and entry.usable and "model" in waiting:
            arrived("model")

    window.memory.ready.connect(lambda: arrived("charts"))
    window.session.machine_known.connect(lambda hello: arrived("machine"))
    window.library.entries_changed.connect(model_listed)
    window.session.comparison_finished.connect(lambda comparison: finished())
    app.exec()


if __name__ == "__main__":
    _compare_in_window()
