"""One column, with hand-made data."""

import pytest
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QPushButton
from pytestqt.qtbot import QtBot

from qplayground.core.comparison.results import LoadFigures, MemoryFigures, Run, RunState, SpeedFigures
from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.measures.quality import Quality
from qplayground.core.memory.process_memory import PhasePeak
from qplayground.core.messages.events import Phase, Progressed
from qplayground.core.precision import READY_PRECISIONS
from qplayground.core.tokens import Token
from qplayground.ui.comparison.run_column import RunColumn
from qplayground.ui.dialogs.failure_dialog import FailureDialog
from qplayground.ui.window import MainWindow
from tests.comparisons import MODEL, comparison
from tests.ui.driving import compare, type_prompt


@pytest.fixture
def run() -> Run:
    return Run(id="nf4", model=MODEL, precision=READY_PRECISIONS[4])


@pytest.fixture
def column(qtbot: QtBot, run: Run) -> RunColumn:
    column = RunColumn(comparison(run, prompt="The future"), run)
    qtbot.addWidget(column)
    column.resize(300, 400)
    column.show()
    return column


def test_the_peak_of_a_run_that_was_scored_says_that_it_is_without_that(column: RunColumn, run: Run) -> None:
    run.memory = MemoryFigures(peak_resident_bytes=920_000_000, phases=[PhasePeak("score", 1_070_000_000)])
    name, value = column.figures.names["peak_resident_bytes"], column.figures.labels["peak_resident_bytes"]
    column.refresh()
    width = column.figures.sizeHint().width()
    assert (name.text(), value.text()) == ("Peak RAM w/o scoring", "920 MB")
    run.quality = Quality(text="builtin")
    column.refresh()
    assert (name.text(), value.text()) == ("Peak RAM w/o scoring", "920 MB")
    assert "1.07 GB" in name.toolTip() and "1.07 GB" in value.toolTip()
    assert column.figures.sizeHint().width() == width  # columns are narrow
    run.quality = None
    column.refresh()
    assert name.text() == "Peak RAM w/o scoring"


def test_the_ram_of_a_run_says_what_kinds_of_pages_it_is(column: RunColumn, run: Run) -> None:
    value = column.figures.labels["resident_bytes"]
    run.memory = MemoryFigures(resident_bytes=900_000_000, anonymous_bytes=700_000_000, file_bytes=200_000_000)
    column.refresh()
    assert value.text() == "900 MB"
    assert "700 MB are anonymous" in value.toolTip() and "200 MB are pages of mapped files" in value.toolTip()
    run.memory = MemoryFigures(resident_bytes=900_000_000, anonymous_bytes=900_000_000, file_bytes=0)
    column.refresh()
    assert "anonymous" not in value.toolTip()  # if the system does not report it


def test_streamed_text_follows_the_prompt_and_nothing_is_shown_twice(qtbot: QtBot, column: RunColumn, run: Run) -> None:
    for piece in (" of", " AI", " is 🦙"):
        run.text += piece
        column.add_tokens([Token(1, piece, 0.1)])
    qtbot.waitUntil(lambda: column.text.toPlainText() == "The future of AI is 🦙")
    run.state = RunState.DONE
    column.refresh()
    column.flush()
    assert column.text.toPlainText() == "The future of AI is 🦙"


def test_text_pending_when_the_scheme_changes_is_not_lost(qtbot: QtBot, column: RunColumn, run: Run) -> None:
    run.text = " of"
    column.add_tokens([Token(1, " of", 0.1)])
    palette = column.palette()
    palette.setColor(palette.ColorRole.Base, palette.color(palette.ColorRole.Text))
    column.setPalette(palette)
    qtbot.waitUntil(lambda: column.text.toPlainText() == "The future of")
    column.flush()
    assert column.text.toPlainText() == "The future of"


def test_markup_in_the_model_s_output_is_shown_as_text(qtbot: QtBot, column: RunColumn, run: Run) -> None:
    column.add_tokens([Token(1, "<b>bold</b> <img src='x'>", 0.1)])
    column.flush()
    assert "<b>bold</b> <img src='x'>" in column.text.toPlainText()


def test_progress_is_a_share_of_bytes_and_unknown_totals_are_shown_as_such(column: RunColumn, run: Run) -> None:
    run.state = RunState.LOADING
    column.refresh()
    column.show_progress(Progressed(1, "Reading weights", 269_000_000, 538_000_000))
    assert column.progress.value() * 2 == column.progress.maximum()
    assert column.state.text() == "reading weights · 269 MB of 538 MB"
    column.show_progress(Progressed(1, "Starting", 0, 0))
    assert column.progress.maximum() == 0


def test_the_layout_does_not_jump_when_the_bar_goes(column: RunColumn, run: Run) -> None:
    run.state = RunState.LOADING
    column.refresh()
    before = column.text.height()
    run.state = RunState.DONE
    column.refresh()
    assert not column.progress.isVisible()
    assert column.text.height() == before


def test_phases_are_named(column: RunColumn, run: Run) -> None:
    run.state = RunState.LOADING
    for phase in Phase:
        column.show_phase(phase)
        assert column.state.text()


def test_figures_and_errors(column: RunColumn, run: Run) -> None:
    run.memory = MemoryFigures(
        weight_bytes=113_108_992, resident_bytes=498_000_000, peak_resident_bytes=639_000_000, runtime_bytes=356_000_000
    )
    run.speed = SpeedFigures(ttft_s=0.0327, decode_tokens_per_s=25.04)
    run.load = LoadFigures(seconds=3.17)
    run.error = ErrorInfo(ErrorCode.OUT_OF_MEMORY, "There was not enough memory.", "Try int8.", "MemoryError: x")
    run.state = RunState.FAILED
    column.refresh()
    shown = {name: label.text() for name, label in column.figures.labels.items()}
    assert shown["weight_bytes"] == "113 MB"
    assert shown["resident_bytes"] == "498 MB"
    assert shown["peak_resident_bytes"] == "639 MB"
    assert shown["ttft_s"] == "32.7 ms"
    assert shown["decode_tokens_per_s"] == "25.0 tok/s"
    assert shown["load_s"] == "3.17 s"
    assert not column.figures.labels["vram_allocated_bytes"].isVisible()
    assert column.state.text() == "Failed: There was not enough memory. Try int8."
    assert not column.details.isHidden()


def test_what_failed_is_shown_whole_and_can_be_copied_and_run_again(qtbot: QtBot) -> None:
    error = ErrorInfo(ErrorCode.ENGINE_DIED, "It <b>ended</b>.", "Run it again.", "one\ntwo")
    dialog = FailureDialog("nf4", error, can_run_again=True)
    qtbot.addWidget(dialog)
    assert dialog.output.toPlainText() == "one\ntwo"
    copy, again = (
        next(button for button in dialog.findChildren(QPushButton) if button.text() == text)
        for text in ("&Copy", "&Run again")
    )
    copy.click()
    assert QGuiApplication.clipboard().text() == "It <b>ended</b>. Run it again.\n\none\ntwo"
    with qtbot.waitSignal(dialog.run_again_requested):
        again.click()


def test_the_details_are_one_click_away(qtbot: QtBot, ready_window: MainWindow) -> None:
    type_prompt(qtbot, ready_window, "int8=fail-generating once")
    compare(qtbot, ready_window)
    columns = ready_window.results.columns
    assert not columns["nf4"].details.isVisible()
    columns["int8"].details.click()
    (dialog,) = ready_window.findChildren(FailureDialog)
    assert dialog.isVisible() and dialog.output.toPlainText().startswith("Model: ")
    assert "scripted" in dialog.output.toPlainText()
    with qtbot.waitSignal(ready_window.session.comparison_finished, timeout=10_000):
        dialog.run_again_requested.emit()
    dialog.reject()


def test_figures_of_a_run_beside_busy_programs_are_marked(column: RunColumn, run: Run) -> None:
    run.speed = SpeedFigures(ttft_s=0.1, decode_tokens_per_s=3.3, other_cpus=0.05)
    column.refresh()
    assert column.figures.labels["decode_tokens_per_s"].text() == "3.30 tok/s"
    run.speed.other_cpus = 1.26
    column.refresh()
    assert column.figures.labels["decode_tokens_per_s"].text() == "3.30 tok/s*"


def test_vram_is_shown_where_there_is_any(column: RunColumn, run: Run) -> None:
    run.memory = MemoryFigures(vram_allocated_bytes=300_000_000, vram_peak_bytes=400_000_000)
    column.refresh()
    assert column.figures.labels["vram_allocated_bytes"].isVisible()
    assert column.figures.labels["vram_peak_bytes"].text() == "400 MB"
