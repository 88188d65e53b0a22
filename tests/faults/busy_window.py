"""A child of the tests: the real window over the scripted engine. It compares twice, and the second time never ends."""

import sys

FAKE_ENGINE = "tests.fakes.engine"


def main(folder: str, int8: str) -> int:
    # Import here, because every engine imports the main module too.
    from PySide6.QtWidgets import QApplication

    from qplayground.core.messages.events import PhaseStarted
    from qplayground.runtime.processes.interrupts import Interrupts
    from qplayground.runtime.processes.launcher import Launcher
    from qplayground.ui.application import make_window
    from qplayground.ui.widgets import theme

    app = QApplication([])
    theme.apply_look(app)
    window = make_window(Launcher(FAKE_ENGINE))
    window.show()
    finished = 0

    def compare() -> None:
        window.prompt.text.setPlainText(f"Once int8={int8} number-1" if finished else "Once number-0")
        window.models.compare.click()

    def on_finished() -> None:
        nonlocal finished
        finished += 1
        compare()

    def say_what_is_kept() -> None:
        print(f"kept {len(window.history_store.entries())}", flush=True)

    def on_phase(name: str, event: PhaseStarted) -> None:
        print(f"{name} {event.phase} {finished}", flush=True)

    window.recorder.saved.connect(say_what_is_kept)
    window.session.comparison_finished.connect(on_finished)
    window.session.phase_started.connect(on_phase)
    window.library.folder_opened.connect(lambda entry: compare())
    window.library.open_folder(folder)
    interrupts = Interrupts(window.close)
    code = app.exec()
    interrupts.close()
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
