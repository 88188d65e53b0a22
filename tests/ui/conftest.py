"""A whole window over the scripted fake engine."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from qplayground.runtime.processes.launcher import Launcher
from qplayground.ui.application import make_window
from qplayground.ui.widgets import theme
from qplayground.ui.window import MainWindow
from tests.unit.catalog_files import write_model

FAKE_ENGINE = "tests.fakes.engine"


@pytest.fixture(autouse=True)
def collect_on_this_thread() -> Iterator[None]:
    """As the window does: a thread that collects another's widgets crashes Qt, in whatever test comes next."""
    gc.disable()
    yield
    gc.collect()


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A folder that the picker takes for a model; the fake engine does not look into it."""
    return write_model(tmp_path / "a model")


@pytest.fixture
def window(qtbot: QtBot, qapp: QApplication) -> Iterator[MainWindow]:
    """The window as it starts, with charts, and without the real demo model or engine."""
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
