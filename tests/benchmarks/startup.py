"""How soon the window can be used, beside the time that importing torch and transformers takes."""

import os
import subprocess
import sys
import tempfile
import time

from tests.benchmarks.display import display
from tests.benchmarks.figures import Figure, median_of

ROUNDS = 7
_IMPORT = "import torch, transformers"


def measure() -> list[Figure]:
    """Seconds from the start of the process to a painted window that answers, alternating with the import."""
    windows, imports = [], []
    with display() as screen, tempfile.TemporaryDirectory() as config:
        environment = {**os.environ, **screen, "QPLAYGROUND_CONFIG": config}
        for round_number in range(ROUNDS + 1):
            window = _window_seconds(environment)
            torch = _import_seconds()
            if round_number:  # the first warms the page cache
                windows.append(window)
                imports.append(torch)
    ratios = [window / torch for window, torch in zip(windows, imports, strict=True)]
    return [
        median_of("window painted and answering", windows, "s", at_most=1.0),
        median_of(_IMPORT, imports, "s"),
        median_of("window / import", ratios, "", at_most=0.4),
    ]


def _window_seconds(environment: dict[str, str]) -> float:
    started = time.monotonic()
    script = [sys.executable, "-m", "tests.benchmarks.startup"]
    done = subprocess.run(script, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1]) - started


def _import_seconds() -> float:
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", _IMPORT], check=True)
    return time.monotonic() - started


def _open_window() -> None:
    """What `qplayground` does, until the window has been painted and its event loop has come round again."""
    from PySide6.QtCore import QEvent, QObject, QTimer
    from PySide6.QtWidgets import QApplication

    import qplayground.app
    import qplayground.cli  # noqa: F401  (as the command does)
    from qplayground.runtime.launcher import Launcher
    from qplayground.ui import theme
    from qplayground.ui.application import make_window, start_background

    class FirstPaint(QObject):
        def eventFilter(self, watched: QObject, event: QEvent) -> bool:
            if event.type() == QEvent.Type.Paint:
                app.removeEventFilter(self)
                QTimer.singleShot(0, answered)
            return False

    def answered() -> None:
        print(time.monotonic(), flush=True)
        window.close()

    app = QApplication([])
    theme.apply_look(app)
    window = make_window(Launcher())
    first = FirstPaint()
    app.installEventFilter(first)
    window.show()
    QTimer.singleShot(0, window, lambda: start_background(window))
    app.exec()


if __name__ == "__main__":
    _open_window()
