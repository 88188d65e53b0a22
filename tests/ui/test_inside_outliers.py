"""The Outliers tab: running the prompt, layers, thresholds, and what goes wrong."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from qplayground.core.dtype import Dtype
from qplayground.core.generation import GenerationRequest
from qplayground.core.inside import ModelOutline
from qplayground.core.precision import READY_PRECISIONS
from qplayground.runtime.inside.outliers import OutlierStudy
from qplayground.runtime.processes.launcher import Launcher
from qplayground.ui.charts.inside.outliers import outliers_at
from qplayground.ui.inside.outliers.outliers_view import OutliersView
from qplayground.ui.widgets import theme
from tests.fakes.inside import HIDDEN, LINEAR, SLOW_THRESHOLD, SUGGESTED, TOKENS, inputs, outline
from tests.process.running import client_of
from tests.ui.conftest import FAKE_ENGINE

OUTLINE = outline(READY_PRECISIONS)
PROMPT = GenerationRequest(prompt="The future of AI is")
THREE = [7, 20, 63]
"""The dimensions whose magnitudes are 9, 14 and 30. All others are small."""


class Shown:
    """The view, and what a person sees of it."""

    def __init__(self, qtbot: QtBot, view: OutliersView, study: OutlierStudy) -> None:
        self.qtbot, self.view, self.study = qtbot, view, study

    def show_model(
        self, path: str = "/a/model", request: GenerationRequest = PROMPT, of: ModelOutline | None = OUTLINE
    ) -> None:
        self.view.show_model(path, of, request, Dtype.BFLOAT16)

    def run(self) -> None:
        """Press the button and wait for the first figures."""
        with self.qtbot.waitSignal(self.study.captured, timeout=20_000):
            self.view.prompt.run.click()
        self.wait_for_figures("3 of 100 columns")

    def wait_for_figures(self, columns: str) -> None:
        self.qtbot.waitUntil(lambda: self.view.figures.columns.isEnabled() and self.columns == columns, timeout=20_000)

    @property
    def columns(self) -> str:
        return self.view.figures.columns.text()

    @property
    def rows(self) -> list[tuple[str, ...]]:
        model = self.view.table.model()
        return [
            tuple(model.index(row, column).data() for column in range(model.columnCount()))
            for row in range(model.rowCount())
        ]


@pytest.fixture
def shown(qtbot: QtBot, qapp: QApplication) -> Iterator[Shown]:
    theme.apply_look(qapp)
    study = OutlierStudy(Launcher(FAKE_ENGINE))
    view = OutliersView(study)
    qtbot.addWidget(view)
    with qtbot.waitExposed(view):
        view.show()
    yield Shown(qtbot, view, study)
    study.close()


def test_it_says_what_running_the_prompt_takes(shown: Shown) -> None:
    assert not shown.view.prompt.run.isEnabled() and shown.view.prompt.state.text() == "Pick a model first."
    shown.show_model()
    assert shown.view.prompt.run.isEnabled()
    assert "loads the model in bfloat16" in shown.view.prompt.state.text()
    assert not shown.view.chooser.isEnabled() and not shown.view.save.isEnabled()


def test_running_the_prompt_shows_the_suggested_layer(shown: Shown) -> None:
    shown.show_model()
    assert not shown.view.prompt.cancel.isVisible()
    shown.view.prompt.run.click()
    assert (
        shown.view.prompt.cancel.isVisible()
        and shown.view.prompt.progress.isVisible()
        and not shown.view.prompt.run.isEnabled()
    )
    shown.wait_for_figures("3 of 100 columns")
    assert not shown.view.prompt.cancel.isVisible() and shown.view.prompt.run.isEnabled()
    assert shown.view.chooser.currentText() == SUGGESTED
    assert shown.view.plot.outliers == THREE
    assert shown.view.plot.plot.viewRange()[0] == [-1, HIDDEN]
    assert shown.view.threshold.spin.value() == 6.0
    assert shown.view.threshold.top == pytest.approx(30)
    assert f"{TOKENS} tokens read in bfloat16: “{PROMPT.prompt}”." in shown.view.prompt.state.text()
    assert shown.view.figures.extra.text() == "288 B"
    assert shown.view.figures.time.text().startswith("0.130 ms (0.130 ms … 0.195 ms); 0.100 ms (")
    assert "×1.3" in shown.view.figures.time.text()


def test_the_error_without_outliers_stands_beside(shown: Shown) -> None:
    shown.show_model()
    shown.run()
    shown.qtbot.waitUntil(lambda: shown.view.figures.error.text() == "0.500 %; 2.00 % with all in 8 bits")


@pytest.mark.parametrize("way", ["spin", "line", "slider"])
def test_a_threshold_is_tried_however_it_is_set(shown: Shown, way: str) -> None:
    shown.show_model()
    shown.run()
    if way == "spin":
        shown.view.threshold.spin.setValue(10)
    elif way == "line":
        shown.view.plot.line.setPos(10.0)
        shown.view.plot.line.sigDragged.emit(shown.view.plot.line)
    else:
        shown.view.threshold.slider.setValue(577)
    assert not shown.view.figures.columns.isEnabled()  # they belong to the previous threshold
    shown.wait_for_figures("2 of 100 columns")
    assert shown.view.threshold.spin.value() == pytest.approx(10, abs=0.02)
    assert shown.view.plot.line.value() == pytest.approx(10, abs=0.02)
    assert shown.view.threshold.slider.value() == pytest.approx(577, abs=1)
    assert shown.view.plot.outliers == [20, 63]
    shown.view.threshold.default.click()
    shown.wait_for_figures("3 of 100 columns")
    assert shown.view.threshold.spin.value() == 6.0


def test_a_threshold_of_zero_makes_no_outliers(shown: Shown) -> None:
    shown.show_model()
    shown.run()
    shown.view.threshold.spin.setValue(0)
    shown.wait_for_figures("0 of 100 columns")
    assert shown.view.plot.outliers == []
    assert shown.view.figures.error.text() == "2.00 %"
    assert "8 bits" not in shown.view.figures.time.text()


def test_of_many_thresholds_the_last_one_counts(shown: Shown) -> None:
    shown.show_model()
    shown.run()
    for threshold in (1, 2, 3, 29):
        shown.view.threshold.spin.setValue(threshold)
    shown.wait_for_figures("1 of 100 columns")


def test_every_layer_is_counted_at_once(shown: Shown) -> None:
    shown.show_model()
    shown.run()
    assert [row[0] for row in shown.rows] == list(LINEAR)
    shown.view.threshold.spin.setValue(1)
    for name, count, of, largest in shown.rows:
        magnitudes = np.array(inputs(name).magnitudes.values)
        assert (count, of, largest) == (str(int((magnitudes >= 1).sum())), str(HIDDEN), "30.0")


def test_the_table_sorts_by_numbers(shown: Shown) -> None:
    shown.show_model()
    shown.run()
    shown.view.threshold.spin.setValue(1)
    shown.view.table.sortByColumn(1, Qt.SortOrder.DescendingOrder)
    counts = [int(row[1]) for row in shown.rows]
    assert counts == sorted(counts, reverse=True) and len(set(counts)) > 1
    shown.view.table.sortByColumn(0, Qt.SortOrder.AscendingOrder)
    assert [row[0] for row in shown.rows] == list(LINEAR)


def test_a_layer_that_is_chosen_in_the_table_is_shown_and_told(shown: Shown) -> None:
    shown.show_model()
    shown.run()
    chosen = LINEAR[0]
    with shown.qtbot.waitSignal(shown.view.module_chosen) as told:
        shown.view.table.selectRow(0)
    assert told.args == [chosen] and shown.view.chooser.currentText() == chosen
    shown.wait_for_figures("3 of 100 columns")


def test_a_layer_that_the_window_chooses_is_not_told_again(shown: Shown) -> None:
    shown.show_model()
    shown.run()
    with shown.qtbot.assertNotEmitted(shown.view.module_chosen):
        shown.view.choose_module(LINEAR[1])
    assert shown.view.chooser.currentText() == LINEAR[1]
    assert shown.view.table.currentIndex().row() == 1
    shown.view.choose_module("model.norm")  # nothing was captured for it
    assert shown.view.chooser.currentText() == LINEAR[1]


def test_a_cancelled_load_leaves_nothing(shown: Shown) -> None:
    shown.show_model()
    shown.view.prompt.run.click()
    with shown.qtbot.waitSignal(shown.study.cancelled):
        shown.view.prompt.cancel.click()
    assert shown.view.prompt.run.isEnabled() and not shown.view.prompt.progress.isVisible() and shown.rows == []
    shown.run()


def test_a_prompt_that_cannot_be_run_says_why(shown: Shown) -> None:
    shown.show_model(request=replace(PROMPT, prompt="fail-capture"))
    with shown.qtbot.waitSignal(shown.study.failed, timeout=20_000):
        shown.view.prompt.run.click()
    assert "The fake engine was told to fail." in shown.view.prompt.state.text()
    assert shown.view.prompt.run.isEnabled() and shown.columns == "–"
    shown.show_model(request=replace(PROMPT, prompt=" "))
    assert not shown.view.prompt.run.isEnabled() and "The prompt is empty." in shown.view.prompt.state.text()


def test_a_model_that_is_quantized_already_cannot_be_run(shown: Shown) -> None:
    shown.show_model(of=replace(OUTLINE, quantized_by="bitsandbytes"))
    assert not shown.view.prompt.run.isEnabled()
    assert "quantized already (bitsandbytes)" in shown.view.prompt.state.text()


def test_while_a_comparison_runs_no_prompt_is_run(shown: Shown) -> None:
    shown.show_model()
    shown.view.set_paused(True)
    assert not shown.view.prompt.run.isEnabled() and "A comparison is running" in shown.view.prompt.state.text()
    shown.view.set_paused(False)
    assert shown.view.prompt.run.isEnabled()


def test_a_comparison_that_begins_stops_the_prompt_and_says_so(shown: Shown) -> None:
    shown.show_model()
    shown.view.prompt.run.click()
    assert shown.view.prompt.progress.isVisible()
    shown.view.set_paused(True)
    assert (
        not shown.study.is_capturing
        and not shown.view.prompt.progress.isVisible()
        and not shown.view.prompt.run.isEnabled()
    )
    assert "Stopped, because a comparison began." in shown.view.prompt.state.text()
    shown.show_model()
    assert "Stopped, because a comparison began." in shown.view.prompt.state.text()
    shown.view.set_paused(False)
    assert shown.view.prompt.run.isEnabled() and "Stopped" not in shown.view.prompt.state.text()
    shown.run()


def test_no_threshold_is_tried_while_a_comparison_runs_and_the_last_one_afterwards(shown: Shown) -> None:
    shown.show_model()
    shown.run()
    shown.qtbot.waitUntil(lambda: "with all in 8 bits" in shown.view.figures.error.text())
    shown.view.set_paused(True)
    assert shown.view.figures.columns.isEnabled()
    with shown.qtbot.assertNotEmitted(shown.study.tried, wait=300):
        shown.view.threshold.spin.setValue(10)
    assert not shown.view.figures.columns.isEnabled() and shown.view.plot.outliers == [20, 63]
    assert "A comparison is running. The threshold is tried afterwards." in shown.view.prompt.state.text()
    shown.view.set_paused(False)
    shown.wait_for_figures("2 of 100 columns")


def test_a_threshold_in_work_ends_when_a_comparison_begins_and_is_tried_again_afterwards(shown: Shown) -> None:
    shown.show_model()
    shown.run()
    shown.qtbot.waitUntil(lambda: "with all in 8 bits" in shown.view.figures.error.text())
    shown.view.threshold.spin.setValue(SLOW_THRESHOLD)

    def is_trying() -> bool:
        return shown.study.is_trying

    assert is_trying() and "A comparison" not in shown.view.prompt.state.text()
    with shown.qtbot.assertNotEmitted(shown.study.failed):
        shown.view.set_paused(True)
        assert not is_trying() and not shown.view.figures.columns.isEnabled()
        assert (
            "A comparison began while the threshold was being tried. It is tried again"
            in shown.view.prompt.state.text()
        )
        shown.qtbot.waitUntil(lambda: not client_of(shown.study).is_busy, timeout=20_000)  # its engine stopped trying
        with shown.qtbot.waitSignal(client_of(shown.study).said, timeout=20_000):
            shown.view.set_paused(False)
            assert is_trying() and "A comparison" not in shown.view.prompt.state.text()
            shown.view.set_paused(True)
    shown.view.threshold.spin.setValue(10)
    assert "A comparison" in shown.view.prompt.state.text()
    shown.view.set_paused(False)
    shown.wait_for_figures("2 of 100 columns")  # from the same capture
    assert "A comparison" not in shown.view.prompt.state.text()


def test_another_prompt_makes_the_figures_old_and_another_model_forgets_them(shown: Shown) -> None:
    shown.show_model()
    shown.run()
    shown.show_model(request=replace(PROMPT, prompt="Another one"))
    assert "The prompt has changed since; run it again." in shown.view.prompt.state.text()
    assert shown.columns == "3 of 100 columns"
    shown.show_model("/another/model")
    assert shown.rows == [] and shown.columns == "–" and shown.study.inputs is None


def test_the_picture_and_its_numbers_are_saved(shown: Shown, tmp_path: Path) -> None:
    shown.show_model()
    shown.run()
    shown.qtbot.waitUntil(lambda: "with all in 8 bits" in shown.view.figures.error.text())
    for suffix in (".png", ".svg", ".csv"):
        path = tmp_path / f"outliers{suffix}"
        with shown.qtbot.waitSignal(shown.view.said) as said:
            shown.view.save.save(shown.view.chart, path)
        assert said.args == [f"Saved as {path}"]
    assert (tmp_path / "outliers.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "outliers.svg").read_bytes()
    rows = list(csv.reader((tmp_path / "outliers.csv").read_text("utf-8").splitlines()))
    assert rows[0] == ["layer", "input dimension", "largest magnitude", "outlier at 6.0"]
    assert [int(row[1]) for row in rows[1 : HIDDEN + 1] if row[3] == "1"] == THREE
    assert [float(row[2]) for row in rows[1 : HIDDEN + 1]] == list(inputs(SUGGESTED).magnitudes.values)
    blank, headings, values, another, *layers = rows[HIDDEN + 1 :]
    assert blank == another == []
    assert dict(zip(headings, values, strict=True)) == {
        "layer": SUGGESTED,
        "threshold": "6.0",
        "columns in 16 bits": "3",
        "of columns": "100",
        "extra bytes": "288",
        "error of the output": "0.005",
        "error with all in 8 bits": "0.02",
        "seconds": str(1e-4 * 1.3),
        "lowest": str(1e-4 * 1.3),
        "highest": str(1.5e-4 * 1.3),
        "seconds with all in 8 bits": "0.0001",
        "lowest with all in 8 bits": "0.0001",
        "highest with all in 8 bits": "0.000105",
        "median of": "5",
    }
    assert layers[0] == ["layer", "outliers at 6.0", "input dimensions", "largest magnitude"]
    assert layers[1:] == [[name, "3", "100", "30.0"] for name in LINEAR]
    shown.view.save.save(shown.view.chart, tmp_path / "no such folder" / "outliers.csv")
    assert "cannot be written" in shown.view.prompt.state.text()


def test_figures_of_a_threshold_before_are_not_saved(shown: Shown) -> None:
    assert shown.view.chart.table() == []
    shown.show_model()
    shown.run()
    shown.view.set_paused(True)
    shown.view.threshold.spin.setValue(10)
    rows = shown.view.chart.table()
    assert rows.count([]) == 1 and rows[0][3] == "outlier at 10.0" and rows[HIDDEN + 2][1] == "outliers at 10.0"


def test_a_few_that_dwarf_the_others_are_seen_on_a_logarithmic_axis(shown: Shown) -> None:
    """The line stays at its threshold, and dragging it gives magnitudes."""
    shown.show_model()
    shown.run()
    plot = shown.view.plot
    plot.show_magnitudes("huge", np.array([0.1, 5.0, 8.0, 2000.0], np.float32), 2000.0)
    shown.view.logarithmic.setChecked(True)
    assert plot.line.value() == pytest.approx(np.log10(6))
    with shown.qtbot.waitSignal(plot.threshold_dragged) as dragged:
        plot.line.setPos(2.0)
        plot.line.sigDragged.emit(plot.line)
    assert dragged.args == [pytest.approx(100.0)]
    assert plot.outliers == [3]


def test_outliers_are_counted_as_bitsandbytes_does() -> None:
    magnitudes = np.array([5.99, 6.0, 6.01, 0.0, 1e6], np.float32)
    # a magnitude equal to the threshold is an outlier
    assert outliers_at(magnitudes, 6.0).tolist() == [False, True, True, False, True]
    assert not outliers_at(magnitudes, 0.0).any()
    # 6.013 is 6.01171875 in float16, the type of the comparison.
    assert outliers_at(np.array([6.01171875], np.float32), 6.013).all()
