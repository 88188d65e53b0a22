"""A child of the tests: the real window over real engines. It compares once and prints how each run ended."""

import sys


def main(folder: str) -> int:
    # Import here, because every engine imports the main module too.
    from PySide6.QtCore import QTimer
    from PySide6.QtWidgets import QApplication

    from qplayground.core.comparison.results import Comparison
    from qplayground.runtime.processes.launcher import Launcher
    from qplayground.ui.application import make_window
    from qplayground.ui.widgets import theme

    app = QApplication([])
    theme.apply_look(app)
    window = make_window(Launcher())
    window.show()
    window.library.prepare_demo = lambda: None  # type: ignore[method-assign]  # prevents a question about a download
    window.start_up.begin()

    def compare() -> None:
        """Compare once the sizes are known, as people do."""
        if window.planner.answer is not None and window.planner.answer.final and not window.session.is_busy:
            window.planner.changed.disconnect(compare)
            window.models.compare.click()

    def on_finished(comparison: Comparison) -> None:
        for run in comparison.runs:
            print(run.id, run.state, "scored" if run.quality and run.quality.perplexity else "", flush=True)
        QTimer.singleShot(0, window.close)

    window.session.comparison_finished.connect(on_finished)
    window.planner.changed.connect(compare)
    window.library.open_folder(folder)
    return app.exec()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
