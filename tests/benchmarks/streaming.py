"""The window's event loop while eight columns each stream 200 tokens a second."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.display import display
from tests.benchmarks.figures import Figure
from tests.benchmarks.scripted_engine import TOKENS_PER_S

SECONDS = 20
COLUMNS = 8
_TICK_MS = 5


def measure() -> list[Figure]:
    """Milliseconds by which a 5 ms timer is late (99th percentile and worst), and tokens shown a second."""
    with display() as screen, tempfile.TemporaryDirectory() as config:
        environment = {**os.environ, **screen, "QPLAYGROUND_CONFIG": config}
        command = [sys.executable, "-m", "tests.benchmarks.streaming", config]
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True, timeout=300)
    result = json.loads(done.stdout.splitlines()[-1])
    late = sorted(result["late_ms"])
    return [
        Figure("eight columns: event loop late, 99 %", late[int(0.99 * len(late))], "ms", at_most=20.0),
        Figure("eight columns: event loop late, worst", late[-1], "ms", at_most=100.0),
        Figure("eight columns: tokens shown", result["tokens_per_s"], "tok/s", at_least=0.9 * COLUMNS * TOKENS_PER_S),
    ]


def _main(folder: Path) -> None:
    from PySide6.QtCore import Qt, QTimer
    from PySide6.QtWidgets import QApplication

    from qplayground.core.comparison.results import Mode
    from qplayground.core.generation import GenerationRequest, GenerationSettings
    from qplayground.core.messages.events import PhaseStarted
    from qplayground.core.model import ModelEntry, ModelSource
    from qplayground.core.precision import READY_PRECISIONS
    from qplayground.core.tokens import Token
    from qplayground.runtime.comparison.request import ComparisonRequest
    from qplayground.runtime.processes.launcher import Launcher
    from qplayground.ui.application import make_window
    from qplayground.ui.widgets import theme

    app = QApplication([])
    theme.apply_look(app)
    window = make_window(Launcher("tests.benchmarks.scripted_engine", fork=True))
    window.resize(1920, 1080)
    window.show()
    model = ModelEntry(id="scripted", source=ModelSource.FOLDER, path=str(folder), parameters=1, complete=True)
    settings = GenerationSettings(max_new_tokens=SECONDS * TOKENS_PER_S)
    wanted = ComparisonRequest(
        precisions=READY_PRECISIONS, request=GenerationRequest(prompt="AI", settings=settings), mode=Mode.RACE
    )
    late: list[float] = []
    shown: list[tuple[float, int]] = []
    last = [0.0]

    def tick() -> None:
        now = time.monotonic()
        late.append(max(0.0, 1000 * (now - last[0]) - _TICK_MS))
        last[0] = now

    ticker = QTimer(window, interval=_TICK_MS, timerType=Qt.TimerType.PreciseTimer)
    ticker.timeout.connect(tick)

    def begin(_name: str, _event: PhaseStarted) -> None:
        if not ticker.isActive():
            last[0] = time.monotonic()
            ticker.start()

    def take(_name: str, tokens: tuple[Token, ...]) -> None:
        shown.append((time.monotonic(), len(tokens)))

    def finish() -> None:
        ticker.stop()
        span = shown[-1][0] - shown[0][0]
        print(json.dumps({"late_ms": late, "tokens_per_s": sum(count for _, count in shown) / span}), flush=True)
        window.close()

    window.session.phase_started.connect(begin)
    window.session.tokens_added.connect(take)
    window.session.comparison_finished.connect(lambda comparison: finish())
    window.start_up.charts_ready.connect(lambda: window.session.compare(model, wanted))
    window.start_up.load_charts()
    app.exec()


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
