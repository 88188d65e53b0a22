"""Opens the window, compares, and saves the screen in every size and scheme."""

import sys
from pathlib import Path

from tests.pictures.__main__ import SIZES
from tests.pictures.guide import take_guide
from tests.pictures.inside import take_inside

PAGES = 5  # pages of the Quality tab
_SETTLE_MS = 1200  # time for the chart's last refresh and the X server's answer to a new size


def main(folder: Path, *, guide: bool) -> int:
    # Import here: every engine imports the main module too, and Qt would add to the memory in the pictures.
    from PySide6.QtCore import QTimer
    from PySide6.QtWidgets import QApplication

    from qplayground.runtime.processes.launcher import Launcher
    from qplayground.ui.application import make_window
    from qplayground.ui.widgets import theme

    app = QApplication([])
    theme.apply_look(app)
    theme.paint(app, dark=False)
    window = make_window(Launcher())
    window.resize(*SIZES[0])
    window.show()
    window.start_up.begin()
    waiting = {"charts", "machine", "model"}
    shots = [(size, dark, 0, 0) for size in SIZES for dark in (False, True)]
    shots += [(size, dark, tab, 0) for tab in range(1, window.tabs.count()) for size in SIZES for dark in (False, True)]

    def arrived(what: str) -> None:
        if what in waiting:
            waiting.discard(what)
            if not waiting:
                window.models.compare.click()

    def model_listed() -> None:
        entry = window.models.current()
        if entry is not None and entry.usable:
            arrived("model")

    def next_shot() -> None:
        if not shots:
            take_inside(window, folder, window.close)
            return
        (width, height), dark, tab, page = shots[0]
        theme.paint(app, dark)
        window.tabs.setCurrentIndex(tab)
        if window.tabs.quality is not None:
            window.tabs.quality.pages.setCurrentIndex(page)
            if page == 2:
                window.tabs.quality.along.picked.emit(200)
        window.results.changes.setChecked(tab == 1)
        window.results.tint.setChecked(tab == 2)
        window.resize(width, height)
        QTimer.singleShot(_SETTLE_MS, window, save)

    def save() -> None:
        (width, height), dark, tab, page = shots.pop(0)
        label = window.tabs.tabText(tab).replace("&", "").lower() + (f"-{page}" if page else "")
        name = f"{width}x{height}-{'dark' if dark else 'light'}{f'-{label}' if tab else ''}.png"
        window.screen().grabWindow(window.winId()).save(str(folder / name))
        next_shot()

    def add_pages() -> None:
        quality = next(tab for tab in range(window.tabs.count()) if window.tabs.tabText(tab) == "&Quality")
        shots.extend(
            (size, dark, quality, page) for page in range(1, PAGES) for size in SIZES for dark in (False, True)
        )

    window.start_up.charts_ready.connect(add_pages)
    window.start_up.charts_ready.connect(lambda: arrived("charts"))
    window.session.machine_known.connect(lambda hello: arrived("machine"))
    window.library.entries_changed.connect(model_listed)

    def begin(_comparison: object) -> None:
        if guide:
            take_guide(window, folder, window.close)
        else:
            next_shot()

    window.session.comparison_finished.connect(begin)
    return app.exec()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), guide="--guide" in sys.argv))
