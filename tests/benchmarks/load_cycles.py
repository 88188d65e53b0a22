"""The window loads and unloads the demo model repeatedly. Prints its growth in bytes as JSON."""

import gc
import json
import os
import tempfile

os.environ["QT_QPA_PLATFORM"] = "offscreen"

import psutil
from PySide6.QtCore import QEventLoop
from PySide6.QtWidgets import QApplication

from qplayground.core.memory.process_memory import read_process_memory
from qplayground.runtime.processes.launcher import Launcher
from qplayground.ui.application import make_window
from qplayground.ui.widgets import theme
from qplayground.ui.window import MainWindow

BEFORE, CYCLES, TOKENS = 5, 50, 1


def main() -> None:
    """Measure after the first few loads, which fill caches."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["QPLAYGROUND_CONFIG"] = folder
        application = QApplication([])
        theme.apply_look(application)
        window = make_window(Launcher())
        window.show()
        window.start_up.begin()
        while not (window.models.compare.isEnabled() and window.session.machine and window.memory.chart is not None):
            application.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)
        for name in window.precisions.selected()[1:]:
            row = window.precisions.row(name.name)
            assert row is not None
            row.tick.click()
        window.prompt.max_new_tokens.setValue(TOKENS)
        window.options.quality.setCurrentText("off")
        for _ in range(BEFORE):
            _load(window)
        before = _measure()
        for _ in range(CYCLES):
            _load(window)
        after = _measure()
        window.close()
    print(json.dumps({name: after[name] - before[name] for name in before}))


def _load(window: MainWindow) -> None:
    loop = QEventLoop()
    window.session.comparison_finished.connect(loop.quit)
    window.models.compare.click()
    loop.exec()
    window.session.comparison_finished.disconnect(loop.quit)


def _measure() -> dict[str, int]:
    gc.collect()
    server = next(
        child for child in psutil.Process().children() if "multiprocessing.forkserver" in " ".join(child.cmdline())
    )
    processes = {"window": psutil.Process(), "server": server}
    return {name: read_process_memory(process).anonymous_bytes for name, process in processes.items()}


if __name__ == "__main__":
    main()
