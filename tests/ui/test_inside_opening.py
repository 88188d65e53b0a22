"""Opening the Inside window from the bar and from a layer, only one of it, and closing it with the program."""

from pathlib import Path

import psutil
import pytest
from msgspec.structs import replace
from PySide6.QtCore import QPointF
from pytestqt.qtbot import QtBot

from qplayground.catalog.inspect import inspect_folder
from qplayground.catalog.saved_model import saved_model_obstacle
from qplayground.core.comparison.results import ComparedModel
from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.measures.quality import LayerError
from qplayground.core.model import ModelEntry, ModelSource
from qplayground.runtime.models import library as library_module
from qplayground.ui.inside.window import InsideWindow
from qplayground.ui.window import MainWindow
from tests.fakes.inside import LINEAR, SUGGESTED
from tests.process.running import pid_of, workers_of
from tests.ui.driving import offered_at, type_prompt

WAIT_MS = 30_000


def opened(qtbot: QtBot, window: MainWindow) -> InsideWindow:
    assert window.inside.window is not None
    inside = window.inside.window
    qtbot.waitUntil(lambda: inside.inspector.quantized_matrix is not None, timeout=WAIT_MS)
    return inside


def test_the_bars_button_opens_it_once(qtbot: QtBot, ready_window: MainWindow) -> None:
    ready_window.models.inside.click()
    inside = opened(qtbot, ready_window)
    assert inside.isVisible() and not inside.isModal() and inside.inspector.module == SUGGESTED
    ready_window.models.inside.click()
    assert ready_window.inside.window is inside and inside.inspector.quantized_matrix is not None
    inside.close()
    assert ready_window.inside.window is None


def test_outliers_follow_the_prompt_that_is_typed_meanwhile(qtbot: QtBot, ready_window: MainWindow) -> None:
    ready_window.models.inside.click()
    inside = opened(qtbot, ready_window)
    ready_window.prompt.text.setPlainText("The capital of France is")
    assert "The capital of France is" in inside.outliers.prompt.run.toolTip()


def test_it_ends_with_the_program(qtbot: QtBot, ready_window: MainWindow) -> None:
    ready_window.models.inside.click()
    pid = pid_of(opened(qtbot, ready_window).inspector)
    ready_window.close()
    assert not psutil.pid_exists(pid) and ready_window.inside.window is None


def test_there_is_nothing_to_open_before_a_model_is_there(window: MainWindow) -> None:
    assert not window.models.inside.isEnabled()
    window.models.inside_requested.emit()
    assert window.inside.window is None


def test_a_model_that_was_quantized_before_can_be_looked_into_and_not_compared(
    qtbot: QtBot, window: MainWindow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = ErrorInfo(ErrorCode.ALREADY_QUANTIZED, "It is quantized already.", "Choose the original.")
    entry = ModelEntry(id="quantized", source=ModelSource.FOLDER, path=str(tmp_path), complete=True, problem=problem)
    monkeypatch.setattr(library_module, "list_models", lambda types, folders: [entry])
    with qtbot.waitSignal(window.library.entries_changed, timeout=WAIT_MS):
        window.library.refresh()
    assert window.models.current() == entry
    assert window.models.inside.isEnabled() and not window.models.compare.isEnabled()
    assert ModelEntry(id="x", source=ModelSource.HUB, path="/x", complete=True).inside_path is None
    broken = ErrorInfo(ErrorCode.BROKEN_CONFIG, "It is broken.", "")
    assert ModelEntry(id="x", source=ModelSource.FOLDER, path="/x", complete=True, problem=broken).inside_path is None


def test_a_layers_bar_leads_inside(qtbot: QtBot, compared: MainWindow) -> None:
    comparison = compared.session.comparison
    assert comparison is not None
    comparison.run("nf4").layer_errors = [LayerError(name, 0.1, 0.2) for name in LINEAR[:3]]
    quality = next(place for place in range(compared.tabs.count()) if "Quality" in compared.tabs.tabText(place))
    compared.tabs.setCurrentIndex(quality)
    assert compared.tabs.quality is not None
    layers = compared.tabs.quality.layers
    layers.show_comparison(comparison)
    compared.tabs.quality.pages.setCurrentWidget(layers)
    action = offered_at(layers, QPointF(1, 1))
    assert action.text() == f"Look inside {LINEAR[1]}"
    action.trigger()
    assert opened(qtbot, compared).inspector.module == LINEAR[1]
    layers.inside_requested.emit(comparison.run("nf4").model, LINEAR[2])
    inside = compared.inside.window
    assert inside is not None
    qtbot.waitUntil(lambda: inside.inspector.module == LINEAR[2], timeout=WAIT_MS)


def test_a_saved_comparison_leads_inside_as_long_as_its_model_is_there(
    qtbot: QtBot, compared: MainWindow, tmp_path: Path
) -> None:
    comparison = compared.session.comparison
    assert comparison is not None
    comparison.run("nf4").layer_errors = [LayerError(name, 0.1, 0.2) for name in LINEAR[:3]]
    compared.readers.read([comparison])
    (reader,) = compared.readers.windows
    quality = next(place for place in range(reader.tabs.count()) if "Quality" in reader.tabs.tabText(place))
    reader.tabs.setCurrentIndex(quality)
    assert reader.tabs.quality is not None
    layers = reader.tabs.quality.layers
    reader.tabs.quality.pages.setCurrentWidget(layers)  # a page is drawn when it is shown
    action = offered_at(layers, QPointF(1, 1))
    assert action.text() == f"Look inside {LINEAR[1]}"
    action.trigger()
    assert opened(qtbot, compared).inspector.module == LINEAR[1]
    Path(comparison.models[0].path).rename(tmp_path / "elsewhere")
    action = offered_at(layers, QPointF(1, 1))
    assert not action.isEnabled() and "no longer on this machine" in action.text()
    reader.close()


def test_a_saved_comparisons_model_is_told_from_another_in_its_place(model_folder: Path) -> None:
    entry = inspect_folder(model_folder, source=ModelSource.FOLDER, model_types=None)
    model = ComparedModel("m", "folder", entry.architecture, entry.parameters, str(model_folder))
    assert saved_model_obstacle(model) == ""
    assert saved_model_obstacle(replace(model, parameters=None)) == ""  # not known
    assert "Another model" in saved_model_obstacle(replace(model, parameters=7))
    assert "Another model" in saved_model_obstacle(replace(model, architecture="OtherForCausalLM"))
    for file in model_folder.glob("*.safetensors"):
        file.unlink()
    assert "no longer complete" in saved_model_obstacle(model)


def test_while_a_comparison_runs_it_is_paused(qtbot: QtBot, ready_window: MainWindow) -> None:
    type_prompt(qtbot, ready_window, "slow")
    ready_window.comparing.compare()
    qtbot.waitUntil(lambda: ready_window.session.is_busy, timeout=WAIT_MS)
    entry = ready_window.models.current()
    assert entry is not None and entry.path is not None
    ready_window.inside.open(entry.title, entry.path)
    inside = ready_window.inside.window
    assert inside is not None and not workers_of(inside.inspector)
    assert inside.matrix.message.isVisible() and not inside.layers.start.isEnabled()
    with qtbot.waitSignal(ready_window.session.comparison_finished, timeout=WAIT_MS):
        ready_window.models.stop.click()
    opened(qtbot, ready_window)
    assert not inside.matrix.message.isVisible()
