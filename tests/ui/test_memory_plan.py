"""Sizes and verdicts beside the precisions, and the question before loading what does not fit."""

from pathlib import Path

import pytest
from msgspec.structs import replace
from PySide6.QtWidgets import QApplication, QMessageBox
from pytestqt.qtbot import QtBot

from qplayground.core.comparison.caveats import caveats
from qplayground.core.comparison.results import RunState
from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.memory.estimate import Estimate, Verdict
from qplayground.core.memory.fit import Fit, Term
from qplayground.core.precision import READY_PRECISIONS
from qplayground.core.units import bytes_text
from qplayground.ui.setup.precision_row import PrecisionRow
from qplayground.ui.window import MainWindow
from tests.fakes.engine import weight_bytes
from tests.ui.driving import compare, type_prompt
from tests.unit.catalog_files import write_model


def size(window: MainWindow, name: str) -> str:
    row = window.precisions.row(name)
    assert row is not None
    return row.size_text.text()


def wait_for_sizes(qtbot: QtBot, window: MainWindow) -> None:
    qtbot.waitUntil(lambda: window.planner.answer is not None and window.planner.answer.final, timeout=10_000)


@pytest.fixture
def huge(qtbot: QtBot, window: MainWindow, tmp_path: Path) -> MainWindow:
    """A window with a model that, by its estimate, no machine can hold."""
    with qtbot.waitSignal(window.library.folder_opened):
        window.library.open_folder(str(write_model(tmp_path / "huge")))
    wait_for_sizes(qtbot, window)
    return window


def answer(monkeypatch: pytest.MonkeyPatch, text: str) -> list[str]:
    """Click the named button of the next question. Returns the questions asked."""
    asked: list[str] = []

    def execute(box: QMessageBox) -> int:
        asked.append(box.text())
        (button,) = (button for button in box.buttons() if button.text().replace("&", "") == text)
        button.click()
        return 0

    monkeypatch.setattr(QMessageBox, "exec", execute)
    return asked


def make_nf4_refused(qtbot: QtBot, window: MainWindow) -> PrecisionRow:
    row = window.precisions.row("nf4")
    assert row is not None
    row.editor.skip_modules.setText("nowhere")
    row.editor.skip_modules.editingFinished.emit()
    qtbot.waitUntil(lambda: size(window, "nf4") == "won't load", timeout=10_000)
    return row


def test_every_precision_has_its_size_once_a_model_is_picked(qtbot: QtBot, ready_window: MainWindow) -> None:
    wait_for_sizes(qtbot, ready_window)
    for precision in READY_PRECISIONS:
        assert size(ready_window, precision.name) == bytes_text(weight_bytes(precision))
    row = ready_window.precisions.row("nf4")
    assert row is not None
    assert "116 MB of weights" in row.size_text.toolTip() and "55 tokens" in row.size_text.toolTip()
    assert "needed" in row.size_text.toolTip()


def test_layers_that_stay_as_they_are_and_an_unknown_cache_are_said(
    qtbot: QtBot, ready_window: MainWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for_sizes(qtbot, ready_window)
    known = ready_window.planner.estimate

    def estimate(name: str) -> Estimate | None:
        found = known(name)
        if found is None or name != "nf4":
            return found
        return replace(found, caution="6 of 31 layers stay in bfloat16.", kv_cache_bytes=None, unknown="X cannot run.")

    monkeypatch.setattr(ready_window.planner, "estimate", estimate)
    ready_window.planner.changed.emit()
    row = ready_window.precisions.row("nf4")
    assert row is not None and size(ready_window, "nf4").endswith("· note")
    assert "6 of 31 layers stay in bfloat16." in row.size_text.toolTip()
    assert "KV cache unknown: X cannot run." in row.size_text.toolTip()
    assert not size(ready_window, "int8").endswith("note")


def test_a_tokenizer_that_cannot_be_used_is_said_beside_every_size(
    qtbot: QtBot, ready_window: MainWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for_sizes(qtbot, ready_window)
    problem = ErrorInfo(ErrorCode.BROKEN_TOKENIZER, "tokenizer.json is damaged.", "Choose another model.")
    monkeypatch.setattr(type(ready_window.planner), "tokenizer_problem", problem)
    ready_window.planner.changed.emit()
    for precision in READY_PRECISIONS:
        assert size(ready_window, precision.name).endswith("· won't run")
    row = ready_window.precisions.row("nf4")
    assert row is not None and row.size_text.toolTip().startswith(str(problem))


def test_a_changed_option_is_reckoned_again(qtbot: QtBot, ready_window: MainWindow) -> None:
    wait_for_sizes(qtbot, ready_window)
    row = make_nf4_refused(qtbot, ready_window)
    assert "The fake engine was told to fail" in row.size_text.toolTip()


def test_nothing_is_asked_while_a_comparison_runs(qtbot: QtBot, ready_window: MainWindow) -> None:
    wait_for_sizes(qtbot, ready_window)
    type_prompt(qtbot, ready_window, "Once slow")
    ready_window.models.compare.click()
    before = ready_window.planner.answer
    ready_window.comparing.plan.ask()
    qtbot.waitUntil(lambda: ready_window.session.comparison is not None)
    with qtbot.waitSignal(ready_window.session.comparison_finished, timeout=10_000):
        qtbot.waitUntil(lambda: bool(ready_window.session.comparison.runs[0].token_ids), timeout=10_000)  # type: ignore[union-attr]
        assert ready_window.planner.answer is before
        ready_window.models.stop.click()
    qtbot.waitUntil(lambda: ready_window.planner.answer is not before, timeout=10_000)


def test_what_does_not_fit_is_said_in_the_list(huge: MainWindow) -> None:
    assert size(huge, "fp32").endswith("· won't fit")
    assert huge.planner.fit("fp32").verdict is Verdict.WONT_FIT


def test_cancelling_runs_nothing(huge: MainWindow, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer(monkeypatch, "Cancel")
    type_prompt(qtbot, huge, "Once fast=3")
    huge.models.compare.click()
    assert len(asked) == 1 and "fp32 needs" in asked[0] and "are available" in asked[0]
    assert not huge.session.is_busy and huge.session.comparison is None


def test_it_can_be_loaded_anyway(huge: MainWindow, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, "Load anyway")
    type_prompt(qtbot, huge, "Once fast=3")
    compare(qtbot, huge)
    assert huge.session.comparison is not None
    assert [run.state for run in huge.session.comparison.runs] == [RunState.DONE] * 4


@pytest.mark.parametrize(("button", "runs"), [("Cancel", False), ("Load anyway", True)])
def test_a_race_is_asked_about_when_all_together_do_not_fit(
    qtbot: QtBot, ready_window: MainWindow, monkeypatch: pytest.MonkeyPatch, button: str, runs: bool
) -> None:
    wait_for_sizes(qtbot, ready_window)
    too_much = Fit(Verdict.WONT_FIT, (Term("weights", 2400 * 10**6),), 1000 * 10**6)
    monkeypatch.setattr(ready_window.planner, "fit", lambda *names, **terms: too_much)
    asked = answer(monkeypatch, button)
    type_prompt(qtbot, ready_window, "Once fast=3")
    ready_window.options.modes.setCurrentText("Race")
    if runs:
        compare(qtbot, ready_window)
    else:
        ready_window.models.compare.click()
    assert len(asked) == 1 and "2.40 GB" in asked[0] and "1.00 GB" in asked[0] and "one after another" in asked[0]
    assert (ready_window.session.comparison is not None) is runs


def test_scoring_is_in_the_sum_as_long_as_it_is_chosen(
    qtbot: QtBot, ready_window: MainWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for_sizes(qtbot, ready_window)
    known, row = ready_window.planner.estimate, ready_window.precisions.row("fp32")
    assert row is not None

    def scored(name: str) -> Estimate | None:
        found = known(name)
        return None if found is None else replace(found, scoring_extra_bytes=10**9)

    monkeypatch.setattr(ready_window.planner, "estimate", scored)
    quality = ready_window.options.quality
    for place in (0, quality.count() - 1, 0):
        quality.setCurrentIndex(place)
        scores = quality.currentData() is not None
        assert ("1.00 GB  for a moment, while a text is scored" in row.size_text.toolTip()) is scores
    assert {quality.itemData(place) is None for place in (0, quality.count() - 1)} == {True, False}


def test_what_fits_can_run_without_the_rest(
    qtbot: QtBot, ready_window: MainWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for_sizes(qtbot, ready_window)
    fit = ready_window.planner.fit
    too_large = fit("fp32")._replace(verdict=Verdict.WONT_FIT)
    monkeypatch.setattr(
        ready_window.planner, "fit", lambda *names, **terms: too_large if names == ("fp32",) else fit(*names, **terms)
    )
    asked = answer(monkeypatch, "Leave out")
    type_prompt(qtbot, ready_window, "Once fast=3")
    compare(qtbot, ready_window)
    assert len(asked) == 1 and ready_window.session.comparison is not None
    assert [run.id for run in ready_window.session.comparison.runs] == ["bf16", "int8", "nf4"]


@pytest.mark.parametrize(("button", "runs"), [("Cancel", False), ("Leave out", True)])
@pytest.mark.parametrize("mode", ["Once", "Race"])
def test_what_cannot_be_loaded_is_said_before_it_is_tried(
    qtbot: QtBot, ready_window: MainWindow, monkeypatch: pytest.MonkeyPatch, button: str, runs: bool, mode: str
) -> None:
    wait_for_sizes(qtbot, ready_window)
    make_nf4_refused(qtbot, ready_window)
    asked = answer(monkeypatch, button)
    type_prompt(qtbot, ready_window, "Once fast=3")
    ready_window.options.modes.setCurrentText(mode)
    if runs:
        compare(qtbot, ready_window)
    else:
        ready_window.models.compare.click()
    assert len(asked) == 1 and asked[0].startswith("nf4 cannot be loaded: The fake engine was told to fail")
    found = ready_window.session.comparison
    assert (found is not None) is runs
    if found is not None:
        assert [run.id for run in found.runs] == ["fp32", "bf16", "int8"]


def test_what_was_shown_before_is_what_the_load_is_checked_against(qtbot: QtBot, ready_window: MainWindow) -> None:
    wait_for_sizes(qtbot, ready_window)
    estimate = ready_window.planner.estimate("nf4")
    assert estimate is not None
    estimates = ready_window.planner.estimates_of
    elsewhere = {"nf4": replace(estimate, device_map={"": "disk"})}
    ready_window.planner.estimates_of = lambda *_: elsewhere  # type: ignore[method-assign]
    type_prompt(qtbot, ready_window, "Once fast=3")
    compare(qtbot, ready_window)
    ready_window.planner.estimates_of = estimates  # type: ignore[method-assign]
    found = ready_window.session.comparison
    assert found is not None
    (first, *_) = caveats(found, found.run("nf4"))
    assert first.sentence.startswith("1 part of the model: not placed as was shown before, the model on cpu and not on")
    assert "not placed" not in str(caveats(found, found.run("fp32")))


def test_without_a_model_there_are_no_sizes(qapp: QApplication, window: MainWindow) -> None:
    assert all(size(window, precision.name) == "" for precision in READY_PRECISIONS)
