"""A comparison of four precisions in the real window, in a separate process."""

import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.benchmarks.display import display

_TICK_MS = 5
_DECODING = "decoding"
_TURN_S = (0.3, 0.8)
_DEADLINE_S = 600


@dataclass(frozen=True)
class WindowRun:
    """Results of a comparison in the window.

    `late_ms`: by how much each tick of a 5 ms timer was late, if it ran. `token_times_s`: when each token of each
    precision arrived, in `time.monotonic` seconds.
    """

    late_ms: list[float]
    token_times_s: dict[str, list[float]]


def compare_in_window(max_new_tokens: int) -> WindowRun:
    """Press Compare as a new user would, once everything is ready, and wait for the end."""
    with _window(max_new_tokens, tick=True) as process:
        return _result(process)


def compare_and_suspend(max_new_tokens: int, prompt: str) -> tuple[WindowRun, list[float]]:
    """The same, but the window's process is stopped and continued in turns once tokens arrive.

    Its engines continue meanwhile, which shows what the window costs them. Also returns when it was stopped, continued,
    stopped and so on, in `time.monotonic` seconds.
    """
    with _window(max_new_tokens, prompt) as process:
        assert process.stdout is not None
        turns: list[float] = []
        while (line := process.stdout.readline()).strip() != _DECODING:
            if not line:
                raise RuntimeError("the window ended before the first token")
        draw = random.Random(0)  # turns of equal length could keep step with the window's own timers
        try:
            while process.poll() is None and not _has_answered(process):
                process.send_signal(signal.SIGCONT if len(turns) % 2 else signal.SIGSTOP)
                turns.append(time.monotonic())
                time.sleep(draw.uniform(*_TURN_S))
        finally:
            process.send_signal(signal.SIGCONT)
        return _result(process), turns


@contextmanager
def _window(max_new_tokens: int, prompt: str = "", *, tick: bool = False) -> Iterator[subprocess.Popen[str]]:
    with display() as screen, tempfile.TemporaryDirectory() as config:
        environment = {**os.environ, **screen, "QPLAYGROUND_CONFIG": config}
        command = [
            sys.executable,
            "-m",
            "tests.benchmarks.window",
            str(max_new_tokens),
            prompt,
            *(["tick"] if tick else []),
        ]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            deadline = threading.Timer(_DEADLINE_S, process.kill)
            deadline.start()
            try:
                yield process
            finally:
                deadline.cancel()
                process.kill()


def _has_answered(process: subprocess.Popen[str]) -> bool:
    """Whether it has output or has ended. An answer larger than the pipe must be read before the process can end."""
    assert process.stdout is not None
    return bool(select.select([process.stdout], [], [], 0)[0])


def _result(process: subprocess.Popen[str]) -> WindowRun:
    assert process.stdout is not None
    return WindowRun(**json.loads(process.stdout.read().splitlines()[-1]))


def _main() -> None:
    from PySide6.QtCore import Qt, QTimer
    from PySide6.QtWidgets import QApplication

    from qplayground.core.messages.events import Phase, PhaseStarted
    from qplayground.core.tokens import Token
    from qplayground.runtime.processes.launcher import Launcher
    from qplayground.ui.application import make_window
    from qplayground.ui.widgets import theme

    app = QApplication([])
    theme.apply_look(app)
    window = make_window(Launcher())
    window.prompt.max_new_tokens.setValue(int(sys.argv[1]))
    if sys.argv[2]:
        window.prompt.text.setPlainText(sys.argv[2])
        window.options.quality.setCurrentText("off")  # with a prompt of its own, only decoding matters
    window.show()
    window.start_up.begin()
    late: list[float] = []
    last = [0.0]
    token_times: dict[str, list[float]] = {}
    began: dict[str, float] = {}

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
            if "tick" in sys.argv:
                last[0] = time.monotonic()
                ticker.start()
            window.models.compare.click()

    def take(name: str, tokens: tuple[Token, ...]) -> None:
        if not token_times:
            print(_DECODING, flush=True)
        token_times.setdefault(name, []).extend(token.time_s for token in tokens)

    def note_phase(name: str, event: PhaseStarted) -> None:
        if event.phase is Phase.PREFILL:
            began[name] = event.time_s

    def on_the_wall(name: str) -> list[float]:
        """The engine's clock pauses while it reads a token's probability. Here that time counts."""
        times, comparison = token_times[name], window.session.comparison
        assert comparison is not None
        held = comparison.run(name).speed.held_s
        return [began[name] + time_s + held * index / len(times) for index, time_s in enumerate(times)]

    def finished() -> None:
        ticker.stop()
        print(
            json.dumps({"late_ms": late, "token_times_s": {name: on_the_wall(name) for name in token_times}}),
            flush=True,
        )
        window.close()

    def model_listed() -> None:
        entry = window.models.current()
        if entry is not None and entry.usable and "model" in waiting:
            arrived("model")

    window.start_up.charts_ready.connect(lambda: arrived("charts"))
    window.session.machine_known.connect(lambda hello: arrived("machine"))
    window.library.entries_changed.connect(model_listed)
    window.session.tokens_added.connect(take)
    window.session.phase_started.connect(note_phase)
    window.session.comparison_finished.connect(lambda comparison: finished())
    app.exec()


if __name__ == "__main__":
    _main()
