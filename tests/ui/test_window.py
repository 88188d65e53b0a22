"""The complete window over a scripted engine, used as a person uses it."""

import json
import threading
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QComboBox,
    QLineEdit,
    QPlainTextEdit,
    QScrollArea,
    QSplitter,
    QWidget,
)
from pytestqt.qtbot import QtBot

from qplayground.core.comparison.results import RunState, to_json
from qplayground.core.placement import Placement
from qplayground.core.quantizers.bitsandbytes_4bit import FourBit
from qplayground.core.system.saving import save_file
from qplayground.runtime.processes.launcher import Launcher
from qplayground.runtime.storage import preferences_file
from qplayground.runtime.storage.preferences import Preferences, preferences_path
from qplayground.ui.application import make_window
from qplayground.ui.dialogs.guide_dialog import GuideDialog
from qplayground.ui.history.comparison_window import ComparisonWindow
from qplayground.ui.widgets import theme
from qplayground.ui.window import MainWindow
from tests.comparisons import comparison, done
from tests.ui.conftest import FAKE_ENGINE
from tests.ui.driving import LEFT, compare, states, tick, type_prompt
from tests.unit.catalog_files import write_model


def test_a_comparison_writes_a_column_a_precision_with_its_figures(qtbot: QtBot, ready_window: MainWindow) -> None:
    type_prompt(qtbot, ready_window, "Once fast=6")
    compare(qtbot, ready_window)
    assert list(ready_window.results.columns) == ["fp32", "bf16", "int8", "nf4"]
    assert states(ready_window) == [RunState.DONE] * 4
    comparison = ready_window.session.comparison
    assert comparison is not None
    for run in comparison.runs:
        column = ready_window.results.columns[run.id]
        assert column.text.toPlainText() == "Once fast=6" + run.text
        assert "6 tokens" in column.state.text()
        assert all(label.text() != "–" for label in column.figures.labels.values() if label.isVisible())
        assert not column.progress.isVisible()


def test_the_charts_show_every_precision(qtbot: QtBot, ready_window: MainWindow) -> None:
    tick(qtbot, ready_window, "fp32", "nf4")
    type_prompt(qtbot, ready_window, "nf4=slow fp32=slow")
    seen: set[str] = set()
    ready_window.session.memory_sampled.connect(lambda name, samples: seen.add(name))
    qtbot.mouseClick(ready_window.models.compare, LEFT)
    qtbot.waitUntil(lambda: "fp32" in seen)
    qtbot.waitUntil(lambda: "fp32" in ready_window.memory.timeline.ram.curves)
    phases = {span.phase for span in ready_window.memory.timeline.lane.spans if span.name == "fp32"}
    assert len(phases) >= 3
    with qtbot.waitSignal(ready_window.session.comparison_finished):
        qtbot.mouseClick(ready_window.models.stop, LEFT)


def test_one_crash_costs_one_column(qtbot: QtBot, ready_window: MainWindow) -> None:
    tick(qtbot, ready_window, "fp32", "int8", "nf4")
    type_prompt(qtbot, ready_window, "int8=segfault-loading fast=3")
    compare(qtbot, ready_window)
    assert states(ready_window) == [RunState.DONE, RunState.FAILED, RunState.DONE]
    failed = ready_window.results.columns["int8"]
    assert "crashed (signal 11, SIGSEGV)" in failed.state.text()
    assert "int8" in ready_window.log.toPlainText()
    assert ready_window.models.compare.isEnabled()


@pytest.mark.parametrize("behaviour", ["slow", "ignore-cancel", "hang-loading"])
def test_stop_ends_any_phase_and_the_window_is_ready_again(
    qtbot: QtBot, ready_window: MainWindow, behaviour: str
) -> None:
    type_prompt(qtbot, ready_window, behaviour)
    phases: list[object] = []
    ready_window.session.phase_started.connect(lambda name, event: phases.append(event.phase))
    texts: list[str] = []
    ready_window.session.tokens_added.connect(lambda name, tokens: texts.extend(token.text for token in tokens))
    qtbot.mouseClick(ready_window.models.compare, LEFT)
    assert not ready_window.models.compare.isEnabled()
    qtbot.waitUntil(lambda: len(texts) > 2 if "loading" not in behaviour else bool(phases), timeout=10_000)
    with qtbot.waitSignal(ready_window.session.comparison_finished, timeout=1000):
        qtbot.keyClick(ready_window, Qt.Key.Key_Escape)
    assert states(ready_window) == [RunState.CANCELLED] * 4
    assert ready_window.models.compare.isEnabled()
    assert not ready_window.models.stop.isEnabled()
    first = ready_window.results.columns["fp32"]
    assert first.text.toPlainText().startswith(behaviour)
    if "loading" not in behaviour:
        assert len(first.text.toPlainText()) > len(behaviour)  # written text stays


def test_escape_takes_a_new_precision_away_once_there_is_nothing_to_stop(
    qtbot: QtBot, ready_window: MainWindow
) -> None:
    panel = ready_window.precisions
    before = panel.precisions()
    type_prompt(qtbot, ready_window, "slow")
    qtbot.mouseClick(ready_window.models.compare, LEFT)
    qtbot.mouseClick(panel.new, LEFT)
    made = panel.precisions()[-1].name
    name = QApplication.focusWidget()
    assert isinstance(name, QLineEdit) and name.text() == made
    with qtbot.waitSignal(ready_window.session.comparison_finished):
        qtbot.keyClick(name, Qt.Key.Key_Escape)
    assert panel.precisions()[-1].name == made
    qtbot.keyClick(name, Qt.Key.Key_Escape)
    assert panel.precisions() == before


def test_the_options_of_a_new_precision_are_reached_in_the_lowest_window(
    qtbot: QtBot, ready_window: MainWindow
) -> None:
    ready_window.resize(1280, 720)
    ready_window.prompt.options.click()
    ready_window.models.hub_id.click()
    panel = ready_window.precisions
    copied = panel.row("nf4")
    assert copied is not None
    copied.activated.emit()
    qtbot.mouseClick(panel.new, LEFT)
    made = panel.row("nf4-2")
    assert made is not None
    editor = made.editor
    qtbot.waitUntil(lambda: not editor.name.visibleRegion().isEmpty())  # once the options are laid out
    for field in (editor.kind, editor.option(FourBit, "double_quantization"), editor.skip_modules, editor.remove):
        while not field.hasFocus():
            focused = QApplication.focusWidget()
            assert focused is not None and made.isAncestorOf(focused)
            qtbot.keyClick(focused, Qt.Key.Key_Tab)
        assert field.visibleRegion().boundingRect() == field.rect()


def test_a_comparison_keeps_the_name_of_its_placement(qtbot: QtBot, ready_window: MainWindow) -> None:
    one_core = Placement(device="cpu", threads=1)
    ready_window.models.device.set_saved({"all cores": Placement(device="cpu", threads=2), "one core": one_core})
    ready_window.models.device.set_placement(one_core)
    compare(qtbot, ready_window)
    assert ready_window.session.comparison is not None
    assert ready_window.session.comparison.placed == "one core (CPU, 1 thread)"


def test_an_empty_prompt_is_answered_at_the_prompt(qtbot: QtBot, ready_window: MainWindow) -> None:
    ready_window.prompt.text.setPlainText("   ")
    qtbot.mouseClick(ready_window.models.compare, LEFT)
    assert "empty" in ready_window.prompt.error.text()
    assert ready_window.session.comparison is None
    assert ready_window.prompt.text.toPlainText() == "   "


def test_no_precision_ticked_is_said(qtbot: QtBot, ready_window: MainWindow) -> None:
    tick(qtbot, ready_window)
    qtbot.mouseClick(ready_window.models.compare, LEFT)
    assert "No precision is ticked" in ready_window.models.error.text()
    assert ready_window.models.error.isVisible()


def test_a_broken_folder_is_refused_and_the_picked_model_stays(
    qtbot: QtBot, ready_window: MainWindow, tmp_path: Path
) -> None:
    picked = ready_window.models.current()
    broken = write_model(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"short")
    with qtbot.waitSignal(ready_window.library.folder_opened):
        ready_window.library.open_folder(str(broken))
    assert "model.safetensors" in ready_window.models.error.text()
    assert ready_window.models.current() == picked


def test_control_return_in_the_prompt_starts_once(qtbot: QtBot, ready_window: MainWindow) -> None:
    tick(qtbot, ready_window, "fp32")
    type_prompt(qtbot, ready_window, "Once fast=2")
    started: list[object] = []
    ready_window.session.comparison_started.connect(started.append)
    with qtbot.waitSignal(ready_window.session.comparison_finished, timeout=20_000):
        qtbot.keyClick(ready_window.prompt.text, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert len(started) == 1


def test_prompts_and_the_model_are_remembered(qtbot: QtBot, ready_window: MainWindow) -> None:
    tick(qtbot, ready_window, "fp32")
    type_prompt(qtbot, ready_window, "Remember fast=2")
    compare(qtbot, ready_window)
    picked = ready_window.models.current()
    ready_window.close()
    again = make_window(Launcher(FAKE_ENGINE))
    qtbot.addWidget(again)
    with qtbot.waitSignal(again.library.entries_changed, timeout=10_000):
        again.library.refresh()
    assert again.models.current() == picked
    assert again.preferences.recent_prompts[0] == "Remember fast=2"
    assert [precision.name for precision in again.precisions.selected()] == ["fp32"]


def test_a_busy_disk_holds_up_no_tick_and_closing_waits_for_it(
    qtbot: QtBot, window: MainWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    unload, close = threading.Event(), window.preferences.close

    def save(path: Path, data: bytes, *, private: bool) -> None:
        unload.wait(20)
        save_file(path, data, private=private)

    def let_go_and_close() -> None:
        unload.set()
        close()

    monkeypatch.setattr(preferences_file, "save_file", save)
    monkeypatch.setattr(window.preferences, "close", let_go_and_close)
    for names in (("fp32",), ("bf16", "fp4")):
        tick(qtbot, window, *names)
        assert tuple(precision.name for precision in window.precisions.selected()) == names
    assert not preferences_path().exists()
    window.close()
    assert Preferences.load().ticked == ("bf16", "fp4")


@pytest.mark.parametrize("behaviour", ["hang-loading", "ignore-cancel", "slow"])
def test_closing_at_any_moment_ends_every_engine(qtbot: QtBot, ready_window: MainWindow, behaviour: str) -> None:
    type_prompt(qtbot, ready_window, behaviour)
    with qtbot.waitSignal(ready_window.session.phase_started, timeout=10_000):
        qtbot.mouseClick(ready_window.models.compare, LEFT)
    ready_window.close()  # the no_process_left fixture looks for survivors


def test_the_engine_describes_the_machine(qtbot: QtBot, window: MainWindow) -> None:
    with qtbot.waitSignal(window.session.machine_known, timeout=20_000):
        window.session.probe()
    machine = window.session.machine
    assert machine is not None
    assert machine.cpu == "a fake processor"


def test_every_control_has_a_name_for_screen_readers(ready_window: MainWindow) -> None:
    kinds = (QAbstractButton, QComboBox, QLineEdit, QPlainTextEdit)
    nameless = [
        widget
        for widget in ready_window.findChildren(QWidget)
        if isinstance(widget, kinds)
        and widget.isVisibleTo(ready_window)
        and not widget.objectName().startswith("qt_")
        and not (widget.accessibleName() or getattr(widget, "text", str)() or widget.toolTip())
    ]
    assert nameless == []


@pytest.mark.parametrize("dark", [False, True])
def test_the_window_fits_1280_by_720_in_both_schemes(
    qtbot: QtBot, qapp: QApplication, ready_window: MainWindow, dark: bool
) -> None:
    theme.paint(qapp, dark)
    ready_window.resize(1280, 720)
    type_prompt(qtbot, ready_window, "Once fast=6")
    compare(qtbot, ready_window)
    page = ready_window.centralWidget()
    assert isinstance(page, QScrollArea)
    assert page.verticalScrollBar().maximum() == page.horizontalScrollBar().maximum() == 0  # all of it is visible
    for column in ready_window.results.columns.values():
        last = column.figures.labels["peak_resident_bytes"]
        bottom = last.mapTo(ready_window, last.rect().bottomLeft()).y()
        assert column.text.height() > 3 * column.fontMetrics().lineSpacing()
        assert bottom < ready_window.tabs.mapTo(ready_window, ready_window.tabs.rect().topLeft()).y()
    base = ready_window.palette().base().color()
    assert (base.lightness() < 128) is dark


def test_damaged_preferences_are_set_aside_and_said(qtbot: QtBot, tmp_path: Path) -> None:
    path = tmp_path / "config" / "preferences.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"ticked": 7}))
    window = make_window(Launcher(FAKE_ENGINE))
    qtbot.addWidget(window)
    assert window.notice.text()
    window.close()


def test_preferences_that_cannot_be_written_are_said_at_once(
    qtbot: QtBot, window: MainWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(path: Path, data: bytes, *, private: bool) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(preferences_file, "save_file", save)
        window.preferences.set_last_model("gpt2")
        qtbot.waitUntil(lambda: "No space left on device" in window.notice.text())
    assert window.notice.isVisible()
    window.preferences.set_last_model("another")
    qtbot.waitUntil(lambda: not window.notice.isVisible())


def test_files_that_are_named_are_opened_once_the_charts_are_there(
    qtbot: QtBot, qapp: QApplication, tmp_path: Path
) -> None:
    saved, other = tmp_path / "one.qplayground.json", tmp_path / "other.json"
    saved.write_bytes(to_json(comparison(done("fp32"), done("nf4"))))
    other.write_text("{}")
    window = make_window(Launcher(FAKE_ENGINE), [saved, other])
    qtbot.addWidget(window)
    with qtbot.waitSignal(window.start_up.charts_ready, timeout=20_000):
        window.show()
        window.start_up.load_charts()
    readers = [shown for shown in qapp.topLevelWidgets() if isinstance(shown, ComparisonWindow) and shown.isVisible()]
    assert [[run.id for run in each.comparisons[0].runs] for each in readers] == [["fp32", "nf4"]]
    assert "other.json: This is not a comparison" in window.models.error.text()
    readers[0].close()
    window.close()


def test_the_layout_is_kept(qtbot: QtBot, window: MainWindow) -> None:
    def right(shown: MainWindow) -> QSplitter:
        found = shown.findChild(QSplitter, "right")
        assert isinstance(found, QSplitter)
        return found

    usual = right(window).sizes()
    right(window).setSizes([usual[0] - 60, usual[1] + 60])
    moved = right(window).sizes()
    assert moved != usual
    window.close()
    again = make_window(Launcher(FAKE_ENGINE))
    qtbot.addWidget(again)
    with qtbot.waitExposed(again):
        again.show()
    assert right(again).sizes() == moved
    again.close()


def test_the_guide_opens_once_by_its_button_and_by_f1(qtbot: QtBot, window: MainWindow) -> None:
    window.help.click()
    (guide,) = window.findChildren(GuideDialog)
    assert guide.isVisible()
    guide.close()
    qtbot.keyClick(window, Qt.Key.Key_F1)
    assert window.findChildren(GuideDialog) == [guide] and guide.isVisible()
    window.close()
