"""A whole window over the scripted fake engine."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from qplayground.core.generation import GenerationRequest
from qplayground.core.precision import READY_PRECISIONS
from qplayground.runtime.processes.launcher import Launcher
from qplayground.runtime.storage.preferences import Preferences
from qplayground.ui.application import make_window
from qplayground.ui.inside.window import InsideWindow, Subject
from qplayground.ui.widgets import theme
from qplayground.ui.window import MainWindow
from tests.ui.driving import compare, type_prompt
from tests.ui.inside_driving import wait_quantized
from tests.unit.catalog_files import write_model

FAKE_ENGINE = "tests.fakes.engine"


@pytest.fixture(autouse=True)
def collect_on_this_thread() -> Iterator[None]:
    """Collect garbage on this thread only, as the window does.

    A thread that collects another thread's widgets crashes Qt, in a later test.
    """
    gc.disable()
    yield
    gc.collect()


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A folder that the picker takes for a model. The fake engine does not read it."""
    return write_model(tmp_path / "a model")


@pytest.fixture
def window(qtbot: QtBot, qapp: QApplication) -> Iterator[MainWindow]:
    """The window as it starts, with charts, but without the real demo model or engine."""
    theme.apply_look(qapp)
    window = make_window(Launcher(FAKE_ENGINE))
    qtbot.addWidget(window)
    with qtbot.waitExposed(window):
        window.show()
    with qtbot.waitSignal(window.start_up.charts_ready, timeout=20_000):
        window.start_up.load_charts()
    yield window
    window.close()


@pytest.fixture
def ready_window(qtbot: QtBot, window: MainWindow, model_folder: Path) -> MainWindow:
    """The window with a model picked."""
    with qtbot.waitSignal(window.library.folder_opened):
        window.library.open_folder(str(model_folder))
    assert window.models.compare.isEnabled()
    return window


SUBJECT = Subject("a model", "/models/one", READY_PRECISIONS, GenerationRequest())


@pytest.fixture
def preferences(tmp_path: Path) -> Iterator[Preferences]:
    made = Preferences(tmp_path / "preferences.json")
    yield made
    made.close()


@pytest.fixture
def inside(qtbot: QtBot, qapp: QApplication, preferences: Preferences) -> Iterator[InsideWindow]:
    """The Inside window with the suggested module quantized."""
    theme.apply_look(qapp)
    window = InsideWindow(Launcher(FAKE_ENGINE), preferences)
    qtbot.addWidget(window)
    with qtbot.waitExposed(window):
        window.show()
    window.show_model(SUBJECT)
    wait_quantized(qtbot, window)
    yield window
    window.close()


@pytest.fixture
def compared(qtbot: QtBot, ready_window: MainWindow) -> MainWindow:
    type_prompt(qtbot, ready_window, "Once fast=3")
    ready_window.options.quality.setCurrentText("1,000 tokens")
    compare(qtbot, ready_window)
    ready_window.tabs.load_charts()
    return ready_window
