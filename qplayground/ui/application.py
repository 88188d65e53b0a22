"""Starts the window. What can wait is started after the first paint."""

import functools
import gc
import sys
from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QTimer, Slot
from PySide6.QtWidgets import QApplication

from qplayground import APPLICATION_ID
from qplayground.runtime.processes.interrupts import Interrupts
from qplayground.runtime.processes.launcher import Launcher
from qplayground.ui.first_picture import FirstPicture
from qplayground.ui.watchdog import Watchdog
from qplayground.ui.widgets import theme
from qplayground.ui.window import MainWindow

_COLLECT_MS = 5000


def make_window(launcher: Launcher, files: Sequence[Path] = ()) -> MainWindow:
    """Build the main window, with garbage collected on its own thread. Starts nothing.

    `files`: saved comparisons to open beside it once the charts are loaded.
    """
    window = MainWindow(launcher)
    window.start_up.charts_ready.connect(_spare_collector)
    if files:
        window.start_up.charts_ready.connect(functools.partial(window.open_files, files))
    collector = QTimer(window, interval=_COLLECT_MS)
    collector.timeout.connect(gc.collect)
    collector.start()
    gc.disable()  # a worker thread could collect Qt objects of the window, which crashes Qt
    return window


@Slot()
def _spare_collector() -> None:
    """Exclude everything imported so far from garbage collection, which would scan it for 70 ms each time."""
    gc.collect()
    gc.freeze()


def run(launcher: Launcher, *, watched: bool = False, files: Sequence[Path] = ()) -> int:
    """Open the window and run until it is closed. Returns the exit code.

    `watched`: log to stderr when the window is usable and when it stalls. `files`: saved comparisons to open beside it.
    """
    app = QApplication.instance() or QApplication(sys.argv[:1])
    assert isinstance(app, QApplication)
    app.setApplicationName("qplayground")
    app.setDesktopFileName(APPLICATION_ID)
    app.setWindowIcon(theme.application_icon())
    theme.apply_look(app)
    window = make_window(launcher, files)
    if watched:
        FirstPicture(sys.stderr, window)
    window.show()
    QTimer.singleShot(0, window, window.start_up.begin)
    interrupts = Interrupts(window.close)
    watchdog = Watchdog(sys.stderr) if watched else None
    try:
        return app.exec()
    finally:
        if watchdog is not None:
            watchdog.stop()
        interrupts.close()
