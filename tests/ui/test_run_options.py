"""Modes, kept engines, and changes to a comparison, through the window's controls."""

from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from qplayground.core.comparison.results import Comparison, Mode, RunState
from qplayground.core.memory.process_memory import MemorySample, ProcessMemory
from qplayground.core.units import bytes_text
from qplayground.runtime.storage.preferences import Preferences
from qplayground.ui.setup.run_options import RunOptions
from qplayground.ui.window import MainWindow
from tests.ui.driving import choose_in_menu, compare, states, tick, type_prompt


def current(window: MainWindow) -> Comparison:
    assert window.session.comparison is not None
    return window.session.comparison


def test_how_to_run_is_kept(qtbot: QtBot, tmp_path: Path) -> None:
    preferences = Preferences(tmp_path / "preferences.json")
    options = RunOptions(preferences)
    qtbot.addWidget(options)
    assert (options.mode, options.rounds, options.keep_loaded.isChecked()) == (Mode.ONCE, 1, False)
    options.modes.setCurrentText("Benchmark × 5")
    options.keep_loaded.click()
    options.quality.setCurrentText("off")
    preferences.close()
    again = RunOptions(Preferences(tmp_path / "preferences.json"))
    qtbot.addWidget(again)
    assert (again.mode, again.rounds, again.keep_loaded.isChecked()) == (Mode.BENCHMARK, 5, True)
    assert not again.scores
    assert "Medians" in again.modes.toolTip()


def test_a_benchmark_shows_its_spread(qtbot: QtBot, ready_window: MainWindow) -> None:
    ready_window.options.modes.setCurrentText("Benchmark × 3")
    type_prompt(qtbot, ready_window, "Once fast=6")
    compare(qtbot, ready_window)
    for name, column in ready_window.results.columns.items():
        assert current(ready_window).run(name).state is RunState.DONE
        assert "…" in column.figures.labels["decode_tokens_per_s"].text().splitlines()[1]
        assert column.text.toPlainText() == f"Once fast=6{current(ready_window).run(name).text}"


def test_a_benchmarks_charts_are_drawn_as_its_rounds_end(qtbot: QtBot, ready_window: MainWindow) -> None:
    ready_window.options.modes.setCurrentText("Benchmark × 3")
    tick(qtbot, ready_window, "bf16", "nf4")
    type_prompt(qtbot, ready_window, "Once fast=6 nf4=hang-generating")
    ready_window.tabs.setCurrentIndex(1)
    speed = ready_window.tabs.speed
    assert speed is not None
    ready_window.models.compare.click()
    qtbot.waitUntil(speed.isVisible, timeout=10_000)
    assert not any(state.is_final for state in states(ready_window))
    with qtbot.waitSignal(ready_window.session.comparison_finished, timeout=10_000):
        ready_window.models.stop.click()


def test_a_benchmark_that_samples_is_refused_at_the_prompt(qtbot: QtBot, ready_window: MainWindow) -> None:
    ready_window.options.modes.setCurrentText("Benchmark × 3")
    ready_window.prompt.decoding.setCurrentIndex(1)
    type_prompt(qtbot, ready_window, "Once")
    ready_window.models.compare.click()
    assert "A benchmark is greedy" in ready_window.prompt.error.text()
    assert not ready_window.session.is_busy


def test_a_race_says_that_its_times_are_no_figures(qtbot: QtBot, ready_window: MainWindow) -> None:
    ready_window.options.modes.setCurrentText("Race")
    type_prompt(qtbot, ready_window, "Once fast=6")
    compare(qtbot, ready_window)
    assert ready_window.results.notes.caveats.text().count("for show") == 1
    for column in ready_window.results.columns.values():
        assert column.figures.labels["decode_tokens_per_s"].text().endswith("*")


def test_kept_engines_write_again_without_loading(qtbot: QtBot, ready_window: MainWindow) -> None:
    ready_window.options.keep_loaded.click()
    type_prompt(qtbot, ready_window, "Once fast=6")
    compare(qtbot, ready_window)
    assert len(ready_window.session.loaded) == 4
    type_prompt(qtbot, ready_window, "Twice fast=6")
    compare(qtbot, ready_window)
    assert all(run.load.kept for run in current(ready_window).runs)
    assert "in memory already" in ready_window.results.columns["nf4"].figures.labels["load_s"].toolTip()
    ready_window.options.keep_loaded.click()
    assert not ready_window.kept.isVisible()
    assert not ready_window.session.loaded


def test_kept_models_are_listed_with_what_they_take_and_can_be_let_go(qtbot: QtBot, ready_window: MainWindow) -> None:
    assert not ready_window.kept.isVisible()
    ready_window.options.keep_loaded.click()
    type_prompt(qtbot, ready_window, "Once fast=6")
    compare(qtbot, ready_window)
    kept, first = ready_window.kept, next(iter(ready_window.session.loaded))
    total = bytes_text(sum(filter(None, ready_window.session.loaded.values())))
    assert kept.isVisible() and kept.text() == f"4 in memory, {total} of weights ▾"
    kept.menu().aboutToShow.emit()
    unload, *_, everything = kept.menu().actions()
    assert unload.text() == f"Unload {first}, {bytes_text(ready_window.session.loaded[first])}"
    unload.trigger()
    assert first not in ready_window.session.loaded and kept.text().startswith("3 in memory")
    everything.trigger()
    assert not kept.isVisible()
    assert [run.state for run in current(ready_window).runs] == [RunState.DONE] * 4


def test_a_chosen_baseline_stays_chosen(qtbot: QtBot, ready_window: MainWindow) -> None:
    type_prompt(qtbot, ready_window, "Once fast=6")
    compare(qtbot, ready_window)
    choose_in_menu(ready_window.results, "int8", "Use as baseline")
    compare(qtbot, ready_window)
    assert current(ready_window).baseline == "int8"
    ready_window.precisions.row("int8").tick.click()  # type: ignore[union-attr]
    compare(qtbot, ready_window)
    assert current(ready_window).baseline == "fp32"


def test_what_was_deleted_stays_deleted(qtbot: QtBot, ready_window: MainWindow) -> None:
    type_prompt(qtbot, ready_window, "Once fast=6")
    with qtbot.waitSignal(ready_window.recorder.saved):
        compare(qtbot, ready_window)
    shown = current(ready_window).id
    qtbot.waitUntil(lambda: any(entry.id == shown for entry in ready_window.history_store.entries()))
    ready_window.history.deleted.emit([shown])
    ready_window.history_store.delete([shown]).result()
    choose_in_menu(ready_window.results, "int8", "Use as baseline")
    ready_window.history_store.annotate("another", "").result()  # wait until earlier writes are done
    assert all(entry.id != shown for entry in ready_window.history_store.entries())


def test_a_finished_comparison_is_changed_column_by_column(qtbot: QtBot, ready_window: MainWindow) -> None:
    type_prompt(qtbot, ready_window, "Once fast=6")
    compare(qtbot, ready_window)
    results, session = ready_window.results, ready_window.session
    first = current(ready_window)
    with qtbot.waitSignal(session.comparison_finished, timeout=20_000):
        results.add_requested.emit(next(p for p in ready_window.precisions.precisions() if p.name == "fp4"))
        assert ready_window.models.stop.isEnabled()
    assert list(results.columns) == ["fp32", "bf16", "int8", "nf4", "fp4"]
    assert not ready_window.models.stop.isEnabled()
    with qtbot.waitSignal(session.comparison_finished, timeout=20_000):
        choose_in_menu(results, "fp4", "Run again")
        assert results.columns["fp4"].text.toPlainText() == "Once fast=6"
    choose_in_menu(results, "fp4", "Move left")
    choose_in_menu(results, "bf16", "Remove")
    assert list(results.columns) == ["fp32", "int8", "fp4", "nf4"]
    assert "bf16" not in {span.name for span in ready_window.memory.timeline.lane.spans}
    late = MemorySample(session.started_s + 99, ProcessMemory(1, 1))
    session.memory_sampled.emit("bf16", [late])  # its engine may end a moment later
    assert "bf16" not in ready_window.memory.timeline.ram.series
    choose_in_menu(results, "nf4", "Use as baseline")
    assert current(ready_window) is first
    assert first.baseline == "nf4"
    assert results.columns["fp32"].figures.ratios["weight_bytes"].text() == "×4.6"
    ready_window.tabs.setCurrentWidget(ready_window.tabs.table)
    assert ready_window.tabs.table.model().rowCount() == 4


@pytest.mark.parametrize("stage", ["loading", "generating"])
def test_a_column_that_is_run_again_can_be_stopped(qtbot: QtBot, ready_window: MainWindow, stage: str) -> None:
    type_prompt(qtbot, ready_window, "Once slow")
    ready_window.models.compare.click()
    qtbot.waitUntil(lambda: len(current(ready_window).runs[0].token_ids) > 2, timeout=10_000)
    with qtbot.waitSignal(ready_window.session.comparison_finished, timeout=5000):
        ready_window.models.stop.click()
    with qtbot.waitSignal(ready_window.session.comparison_finished, timeout=10_000):
        choose_in_menu(ready_window.results, "fp32", "Run again")
        if stage == "generating":
            qtbot.waitUntil(lambda: len(current(ready_window).runs[0].token_ids) > 2, timeout=10_000)
        ready_window.models.stop.click()
    assert [run.state for run in current(ready_window).runs] == [RunState.CANCELLED] * 4
