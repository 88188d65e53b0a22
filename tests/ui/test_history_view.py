"""The History tab, the windows that it opens, and saving and opening files."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog, QInputDialog, QLabel, QMessageBox
from pytestqt.qtbot import QtBot

from qplayground.core.comparison.results import Comparison, RunState, from_json, to_json
from qplayground.core.placement import Placement
from qplayground.runtime.storage.history import History
from qplayground.ui.dialogs.exporting import export
from qplayground.ui.history.comparison_window import ComparisonWindow
from qplayground.ui.history.history_view import HistoryView
from qplayground.ui.window import MainWindow
from tests.comparisons import comparison, done, failed
from tests.process.running import turn
from tests.ui.driving import compare, tick, type_prompt
from tests.unit.histories import made


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    history = History(tmp_path / "h.sqlite3")
    for number, prompt in ((1, "once upon"), (2, "twice"), (3, "once more")):
        history.save(made(number, prompt=prompt)).result()
    yield history
    history.close()


@pytest.fixture
def view(qtbot: QtBot, history: History) -> HistoryView:
    view = HistoryView(history)
    qtbot.addWidget(view)
    view.resize(900, 300)
    view.show()
    view.refresh()
    return view


def shown(view: HistoryView) -> list[str]:
    return [str(view.table.model().index(row, 4).data()) for row in range(view.table.model().rowCount())]


def mark(view: HistoryView, *rows: int) -> None:
    view.table.clearSelection()
    selection = view.table.selectionModel()
    for row in rows:
        flags = selection.SelectionFlag.Select | selection.SelectionFlag.Rows
        selection.select(view.table.model().index(row, 0), flags)


def test_a_tooltip_says_where_it_was_placed(view: HistoryView, history: History) -> None:
    one = made(4)
    one.placement = Placement(device="cuda:0")
    history.save(one).result()
    view.refresh()
    tips = [str(view.table.model().index(row, 2).data(Qt.ItemDataRole.ToolTipRole)) for row in (0, 1)]
    assert tips == ["<span>fp32, nf4 · placement: GPU 0</span>", "<span>fp32, nf4</span>"]


def test_the_list_follows_what_is_typed(qtbot: QtBot, view: HistoryView) -> None:
    assert shown(view) == ["once more", "twice", "once upon"]
    qtbot.keyClicks(view.search, "once")
    assert shown(view) == ["once more", "once upon"]
    assert "2 comparisons" in view.message.text()
    view.search.clear()
    assert len(shown(view)) == 3


def test_what_is_marked_stays_marked(view: HistoryView) -> None:
    mark(view, 2)
    view.search.setText("once")
    assert [entry.prompt for entry in view.marked()] == ["once upon"]


def test_one_or_two_are_opened(qtbot: QtBot, view: HistoryView) -> None:
    assert not view.open.isEnabled()
    mark(view, 0)
    with qtbot.waitSignal(view.opened) as opened:
        view.open.click()
    assert [one.prompt for one in opened.args[0]] == ["once more"]
    mark(view, 0, 2)
    assert view.open.text() == "Compare two"
    with qtbot.waitSignal(view.opened) as opened:
        view.open.click()
    assert [one.prompt for one in opened.args[0]] == ["once more", "once upon"]
    mark(view, 0, 1, 2)
    assert not view.open.isEnabled()


def test_a_note_is_kept_and_found(qtbot: QtBot, view: HistoryView, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QInputDialog, "getText", lambda *arguments, text: (f"{text}for the talk", True))
    mark(view, 1)
    view.annotate.click()
    qtbot.waitUntil(lambda: view.table.model().index(1, 5).data() == "for the talk")
    view.search.setText("talk")
    assert shown(view) == ["twice"]


def test_deleting_asks_first(qtbot: QtBot, view: HistoryView, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes]
    monkeypatch.setattr(QMessageBox, "question", lambda *arguments: answers.pop(0))
    mark(view, 0, 1)
    view.delete.click()
    assert len(shown(view)) == 3
    view.delete.click()
    qtbot.waitUntil(lambda: shown(view) == ["once upon"])
    assert answers == []


def test_what_another_window_deleted_is_said(view: HistoryView, history: History) -> None:
    mark(view, 0)
    history.delete(["0003"]).result()
    view.open.click()
    assert "no longer in the history" in view.message.text()


# ---- windows of saved comparisons -----------------------------------------------------------------------------------


def test_a_saved_comparison_needs_neither_model_nor_engine(qtbot: QtBot) -> None:
    one = comparison(done(text=" to help."), done("nf4", " to hurt."), failed("int8"))
    one.runs[1].token_ids = [1, 9, 3]
    window = ComparisonWindow([from_json(to_json(one))])
    qtbot.addWidget(window)
    window.show()
    (view,) = window.views
    assert list(view.columns) == ["fp32", "nf4", "int8"]
    assert "differs from token 2" in view.columns["nf4"].state.text()
    assert not view.add.isVisible() and not view.open.isVisible()
    texts = {action.text().replace("&", "") for action in view.make_menu("nf4").actions()}
    assert not texts & {"Run again", "Remove", "Move left", "Move right"}
    window.tabs.setCurrentWidget(window.tabs.table)
    assert window.tabs.table.model().rowCount() == 3
    assert any(label.text().endswith("baseline fp32") for label in window.findChildren(QLabel))
    view.baseline_chosen.emit("nf4")
    assert "baseline" in view.columns["nf4"].tag.text()
    assert any(label.text().endswith("baseline nf4") for label in window.findChildren(QLabel))
    assert one.baseline == "fp32"


def test_a_saved_comparison_shows_its_memory(qtbot: QtBot) -> None:
    window = ComparisonWindow([from_json(to_json(comparison(done(), done("nf4"), failed("int8"))))])
    qtbot.addWidget(window)
    window.show()
    assert window.tabs.tabText(0) == "Memor&y" and window.memory is not None and window.memory.isVisible()
    ram, vram = window.memory.bars
    assert ram.isVisible() and not vram.isVisible()
    assert [bool(ram.items.shown[name]) for name in ("fp32", "nf4", "int8")] == [True, True, False]
    assert window.tabs.chart() is ram.view and window.tabs.save.isEnabled()


def test_two_stand_above_each_other_with_one_table(qtbot: QtBot) -> None:
    window = ComparisonWindow([made(1), made(2, "int8")])
    qtbot.addWidget(window)
    window.show()
    assert len(window.views) == 2
    model = window.tabs.table.model()
    names = [model.index(row, 0).data() for row in range(model.rowCount())]
    assert names == ["1 · fp32 (baseline)", "1 · nf4", "2 · int8"]


def test_a_comparison_is_kept_and_opened_again(qtbot: QtBot, ready_window: MainWindow) -> None:
    type_prompt(qtbot, ready_window, "Once fast=6")
    compare(qtbot, ready_window)
    ready_window.tabs.setCurrentWidget(ready_window.history)
    qtbot.waitUntil(lambda: ready_window.history.table.model().rowCount() == 1)
    mark(ready_window.history, 0)
    ready_window.history.open.click()
    (reader,) = ready_window.readers.windows
    assert list(reader.views[0].columns) == ["fp32", "bf16", "int8", "nf4"]
    reader.close()
    assert ready_window.readers.windows == []


def test_runs_are_kept_as_soon_as_they_are_over(qtbot: QtBot, ready_window: MainWindow) -> None:
    type_prompt(qtbot, ready_window, "Once fast=6 int8=hang-generating")
    with qtbot.waitSignal(ready_window.recorder.saved, timeout=10_000):
        ready_window.models.compare.click()
    history = History()
    qtbot.waitUntil(lambda: len(history.entries("bf16")) == 1)
    (entry,) = history.entries()
    states = [run.state.value for run in history.load(entry.id).runs]
    assert entry.state == "running" and states[0] == "done" and states[3] == "queued"
    ready_window.tabs.setCurrentWidget(ready_window.history)
    mark(ready_window.history, 0)
    ready_window.history.open.click()
    (reader,) = ready_window.readers.windows
    assert reader.views[0].columns["nf4"].state.text() == "still running when this was opened"
    assert reader.views[0].columns["fp32"].state.text() == "6 tokens"
    assert any("still running when this was opened" in label.text() for label in reader.findChildren(QLabel))
    with qtbot.waitSignal(ready_window.session.comparison_finished, timeout=10_000):
        ready_window.models.stop.click()
    qtbot.waitUntil(lambda: history.entries()[0].state == "stopped")
    qtbot.waitUntil(lambda: ready_window.history.table.model().index(0, 3).data() == "stopped")
    history.close()


def test_a_run_that_goes_again_makes_its_comparison_running(qtbot: QtBot, ready_window: MainWindow) -> None:
    tick(qtbot, ready_window, "nf4")
    type_prompt(qtbot, ready_window, "Once fast=6")
    compare(qtbot, ready_window)
    history = History()
    seen: list[str] = []
    qtbot.waitUntil(lambda: [entry.state for entry in history.entries()] == ["done"])
    store = ready_window.history_store

    def look(name: str) -> None:
        store.annotate("another", "").result()  # wait until earlier writes are done
        seen.extend(entry.state for entry in history.entries())

    ready_window.session.run_changed.connect(look)
    with qtbot.waitSignal(ready_window.session.comparison_finished, timeout=10_000):
        ready_window.session.run_again("nf4")
    assert "running" in seen
    qtbot.waitUntil(lambda: [entry.state for entry in history.entries()] == ["done"])
    history.close()


def test_the_list_follows_what_another_window_runs(qtbot: QtBot, view: HistoryView, history: History) -> None:
    mark(view, 1)
    other, one = History(history.path), made(4, prompt="theirs")
    one.runs[1].state = RunState.GENERATING
    other.save(one).result()
    qtbot.waitUntil(lambda: view.table.model().index(0, 3).data() == "running")
    mark(view, 0)
    one.runs[1].state = RunState.DONE
    other.save(one).result()
    qtbot.waitUntil(lambda: view.table.model().index(0, 3).data() == "done")
    assert [entry.prompt for entry in view.marked()] == ["theirs"]
    other.close()


def test_saved_files_are_opened_and_damaged_ones_explained(
    qtbot: QtBot, ready_window: MainWindow, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_bytes(to_json(made(1)))
    bad.write_bytes(to_json(made(1)).replace(b'"schema": 2', b'"schema": 7'))
    ready_window.open_files([good])
    assert len(ready_window.readers.windows) == 1
    for path in (bad, tmp_path / "missing.json"):
        ready_window.open_files([path])
        assert path.name in ready_window.models.error.text()
    assert len(ready_window.readers.windows) == 1
    ready_window.open_files([bad, good])
    assert len(ready_window.readers.windows) == 2 and bad.name in ready_window.models.error.text()
    assert bad.read_bytes() == to_json(made(1)).replace(b'"schema": 2', b'"schema": 7')


# ---- exporting ------------------------------------------------------------------------------------------------------


def choosing(monkeypatch: pytest.MonkeyPatch, *answers: tuple[str, str]) -> list[str]:
    """Answer the file dialog. Returns the file names that it suggested."""
    starts: list[str] = []
    waiting = list(answers)

    def answer(parent: object, title: str, start: str, filters: str) -> tuple[str, str]:
        starts.append(start)
        return waiting.pop(0)

    monkeypatch.setattr(QFileDialog, "getSaveFileName", answer)
    return starts


def test_an_export_gets_the_suffix_of_the_chosen_format(
    view: HistoryView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choosing(
        monkeypatch,
        (str(tmp_path / "a"), "HTML with charts, for a browser (*.html)"),
        (str(tmp_path / "b.csv"), "whatever"),
    )
    assert export(view, made(1)) == tmp_path / "a.html"
    assert export(view, made(1)) == tmp_path / "b.csv"
    assert (tmp_path / "a.html").read_bytes().startswith(b"<!doctype")


def test_a_name_without_a_suffix_gets_both_by_which_desktops_know_a_comparison(
    view: HistoryView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choosing(monkeypatch, (str(tmp_path / "mine"), "JSON, opens again in qplayground (*.json)"))
    assert export(view, made(1)) == tmp_path / "mine.qplayground.json"


def test_another_place_is_offered_where_one_cannot_be_written(
    view: HistoryView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(QMessageBox, "warning", lambda parent, title, text: said.append(text))
    choosing(monkeypatch, (str(tmp_path / "no" / "a.json"), ""), (str(tmp_path / "a.json"), ""))
    one: Comparison = made(1)
    assert export(view, one) == tmp_path / "a.json"
    assert from_json((tmp_path / "a.json").read_bytes()) == one
    assert len(said) == 1 and "Choose another place" in said[0]


def test_a_suffix_that_was_added_overwrites_nothing_unasked(
    view: HistoryView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.html").write_text("mine")
    monkeypatch.setattr(QMessageBox, "question", lambda *arguments: QMessageBox.StandardButton.No)
    choosing(monkeypatch, (str(tmp_path / "a"), "HTML with charts, for a browser (*.html)"), ("", ""))
    assert export(view, made(1)) is None
    assert (tmp_path / "a.html").read_text() == "mine"


def test_a_finished_comparison_survives_what_is_added_to_it(qtbot: QtBot, ready_window: MainWindow) -> None:
    tick(qtbot, ready_window, "bf16", "nf4")
    type_prompt(qtbot, ready_window, "Once fast=6 fp32=hang-loading")
    compare(qtbot, ready_window)
    ready_window.results.add_requested.emit(ready_window.precisions.precisions()[0])
    qtbot.waitUntil(lambda: ready_window.results.columns["fp32"].run.state is RunState.LOADING, timeout=10_000)
    ready_window.close()
    history = History()
    (entry,) = history.entries()
    states = {run.id: run.state for run in history.load(entry.id).runs}
    assert states["bf16"] is states["nf4"] is RunState.DONE
    history.close()


def test_the_last_run_is_kept_before_its_engine_is_gone(qtbot: QtBot, ready_window: MainWindow) -> None:
    tick(qtbot, ready_window, "nf4")
    type_prompt(qtbot, ready_window, "Once fast=6")

    def close_at_once(name: str) -> None:
        if ready_window.session.comparison is not None and ready_window.session.comparison.run(name).state.is_final:
            ready_window.close()

    ready_window.session.run_changed.connect(close_at_once)
    ready_window.models.compare.click()
    qtbot.waitUntil(lambda: not ready_window.isVisible(), timeout=10_000)
    history = History()
    (entry,) = history.entries()
    assert history.load(entry.id).runs[0].state is RunState.DONE
    history.close()


def test_what_could_not_be_written_is_written_with_the_next(
    qtbot: QtBot, ready_window: MainWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect
    broken = [True]

    def connect_or_not(path: Path, timeout: float) -> sqlite3.Connection:
        if broken[0]:
            raise sqlite3.OperationalError("database is locked")
        return connect(path, timeout=timeout)

    monkeypatch.setattr(sqlite3, "connect", connect_or_not)
    tick(qtbot, ready_window, "bf16", "nf4")
    type_prompt(qtbot, ready_window, "Once fast=6")
    with qtbot.waitSignal(ready_window.recorder.failed, timeout=10_000):
        compare(qtbot, ready_window)
    assert ready_window.history_store.annotate("another", "").exception()  # by now, all earlier writes have failed too
    turn(qtbot)  # and the recorder knows it
    broken[0] = False
    with qtbot.waitSignal(ready_window.recorder.saved, timeout=10_000):
        ready_window.session.set_baseline("nf4")
    history = History()
    assert len(history.load(history.entries()[0].id).runs) == 2
    history.close()


def test_nothing_is_saved_when_nobody_wants_it(view: HistoryView, monkeypatch: pytest.MonkeyPatch) -> None:
    choosing(monkeypatch, ("", ""))
    assert export(view, made(1)) is None


def test_control_s_saves_what_is_shown(
    qtbot: QtBot, ready_window: MainWindow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choosing(monkeypatch, (str(tmp_path / "a.json"), ""))
    qtbot.keyClick(ready_window, Qt.Key.Key_S, Qt.KeyboardModifier.ControlModifier)
    assert not (tmp_path / "a.json").exists()  # nothing to save yet
    type_prompt(qtbot, ready_window, "Once fast=6")
    compare(qtbot, ready_window)
    qtbot.keyClick(ready_window, Qt.Key.Key_S, Qt.KeyboardModifier.ControlModifier)
    assert len(from_json((tmp_path / "a.json").read_bytes()).runs) == 4
