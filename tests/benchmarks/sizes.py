"""Time from picking a model until the list shows each precision's memory."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.display import display
from tests.benchmarks.figures import Figure, median_of

_PICKS = 5
_WAIT_S = 60


def measure() -> list[Figure]:
    """Milliseconds, for a model of a billion parameters, in turns with another one."""
    from tests.benchmarks.random_model import make_billion  # imports torch

    with display() as screen, tempfile.TemporaryDirectory() as folder:
        model = make_billion(Path(folder) / "billion")
        environment = {**os.environ, **screen, "QPLAYGROUND_CONFIG": folder}
        command = [sys.executable, "-m", "tests.benchmarks.sizes", str(model)]
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True, timeout=600)
    picked = json.loads(done.stdout.splitlines()[-1])
    return [
        median_of(
            "a billion: sizes of all ready precisions after it is picked", picked["first_ms"], "ms", at_most=300.0
        ),
        median_of("a billion: with the prompt's length and all sums", picked["final_ms"], "ms"),
    ]


def _main(folder: str) -> None:
    from PySide6.QtWidgets import QApplication

    from qplayground.runtime.processes.launcher import Launcher
    from qplayground.ui.application import make_window
    from qplayground.ui.widgets import theme

    app = QApplication([])
    theme.apply_look(app)
    window = make_window(Launcher())
    window.resize(1280, 720)
    window.show()
    window.start_up.begin()

    def wait(is_there: object) -> None:
        deadline = time.monotonic() + _WAIT_S
        while not is_there():  # type: ignore[operator]
            app.processEvents()
            assert time.monotonic() < deadline, "nothing was answered"

    def sizes(names: set[str]) -> bool:
        rows = [window.precisions.row(name) for name in names]
        return all(row is not None and row.size_text.text() for row in rows)

    def is_final() -> bool:
        return window.planner.answer is not None and window.planner.answer.final

    names = {precision.name for precision in window.precisions.precisions()}
    wait(is_final)  # for the demo model
    window.library.open_folder(folder)
    wait(lambda: any(entry.path == folder for entry in window.library.entries))
    wait(is_final)
    first, final = [], []
    for _ in range(_PICKS):
        for billion in (False, True):
            entries = window.library.entries
            place = next(row for row, entry in enumerate(entries) if (entry.path == folder) is billion)
            began = time.monotonic()
            window.models.models.setCurrentIndex(place)
            wait(lambda: sizes(names))
            answered = time.monotonic()
            wait(is_final)
            if billion:
                first.append(1000 * (answered - began))
                final.append(1000 * (time.monotonic() - began))
    window.close()
    print(json.dumps({"first_ms": first, "final_ms": final}), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1])
