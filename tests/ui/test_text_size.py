"""Larger and smaller text: in every window, with layouts that follow, and kept for the next start."""

from collections.abc import Iterator

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLabel, QScrollArea
from pytestqt.qtbot import QtBot

from qplayground.runtime.processes.launcher import Launcher
from qplayground.runtime.storage.preferences import TEXT_PERCENTS, Preferences
from qplayground.ui.application import make_window
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.text_size import apply
from qplayground.ui.window import MainWindow
from tests.comparisons import comparison, done
from tests.ui.conftest import FAKE_ENGINE
from tests.ui.driving import compare, type_prompt

CONTROL = Qt.KeyboardModifier.ControlModifier


@pytest.fixture(autouse=True)
def usual_size(qapp: QApplication) -> Iterator[None]:
    """Restores the size, because the application outlives a test."""
    yield
    apply(100)


def largest(window: MainWindow) -> None:
    while window.text_size.larger.isEnabled():
        window.text_size.larger.trigger()


def test_the_keys_change_all_text_and_its_room_and_take_it_back(
    qtbot: QtBot, qapp: QApplication, window: MainWindow
) -> None:
    explanation = theme.small_label("small")
    qtbot.addWidget(explanation)
    texts = (window.prompt.text, window.models.details, window.text_size, window.text_size.menu(), explanation)
    panel, prompt = window.precisions, window.prompt.text
    rows = window.history.table.verticalHeader()

    def pixels() -> list[int]:
        return [panel.minimumWidth(), prompt.minimumHeight(), rows.defaultSectionSize()]

    sizes, rooms = [text.font().pointSizeF() for text in texts], pixels()
    qtbot.keyClick(window, Qt.Key.Key_Plus, CONTROL)
    assert window.text_size.percent == 110
    qtbot.keyClick(window, Qt.Key.Key_Equal, CONTROL)
    larger = [1.25 * size for size in sizes]
    qtbot.waitUntil(lambda: [text.font().pointSizeF() for text in texts] == pytest.approx(larger))
    qtbot.waitUntil(lambda: all(now > 1.1 * before for now, before in zip(pixels(), rooms, strict=True)))
    made_later = theme.small_label("made later")
    qtbot.addWidget(made_later)
    assert made_later.font().pointSizeF() == pytest.approx(explanation.font().pointSizeF())
    qtbot.keyClick(window, Qt.Key.Key_Minus, CONTROL)
    assert window.text_size.percent == 110
    qtbot.keyClick(window, Qt.Key.Key_0, CONTROL)
    qtbot.waitUntil(lambda: [text.font().pointSizeF() for text in texts] == pytest.approx(sizes))
    qtbot.waitUntil(lambda: pixels() == rooms)


def test_the_keys_hold_in_a_window_of_a_saved_comparison_too(qtbot: QtBot, window: MainWindow) -> None:
    window.readers.read([comparison(done("fp32"), done("nf4"))])
    reader = window.readers.windows[0]
    with qtbot.waitActive(reader):
        reader.activateWindow()
    before = reader.font().pointSizeF()
    qtbot.keyClick(reader, Qt.Key.Key_Plus, CONTROL)
    qtbot.waitUntil(lambda: reader.font().pointSizeF() == pytest.approx(1.1 * before))


def test_it_is_kept_for_the_next_window(qtbot: QtBot, qapp: QApplication, window: MainWindow) -> None:
    usual = qapp.font().pointSizeF()
    largest(window)
    window.close()
    apply(100)  # as in a new start
    again = make_window(Launcher(FAKE_ENGINE))
    qtbot.addWidget(again)
    assert again.text_size.percent == TEXT_PERCENTS[-1] == 150
    assert qapp.font().pointSizeF() == pytest.approx(1.5 * usual)
    assert again.text_size.text() == "Text 150 % ▾" and not again.text_size.larger.isEnabled()
    again.close()


def test_a_size_that_is_none_is_the_usual_one() -> None:
    preferences = Preferences.load()
    preferences.set_text_percent(9999)
    assert preferences.text_percent == 100
    preferences.close()


def test_with_the_largest_text_a_small_window_scrolls_to_everything(qtbot: QtBot, ready_window: MainWindow) -> None:
    ready_window.resize(1280, 720)
    type_prompt(qtbot, ready_window, "Once fast=3")
    compare(qtbot, ready_window)
    ready_window.prompt.options.click()
    panel = ready_window.precisions.row("fp32")
    assert panel is not None
    before = panel.size_text.font().pointSizeF()
    largest(ready_window)
    page = ready_window.centralWidget()
    assert isinstance(page, QScrollArea)
    content = page.widget()
    assert content is not None

    def is_laid_out() -> bool:
        needed = content.minimumSizeHint()
        return content.width() >= needed.width() and content.height() >= needed.height()

    def is_whole(label: QLabel) -> bool:
        return label.width() >= label.minimumSizeHint().width()

    qtbot.waitUntil(lambda: panel.size_text.font().pointSizeF() > 1.4 * before and is_laid_out())
    for shown in (ready_window.options.quality, ready_window.precisions.new, ready_window.models.compare):
        page.ensureWidgetVisible(shown)
        assert shown.visibleRegion().boundingRect() == shown.rect()
    labels = [label for label in content.findChildren(QLabel) if label.isVisible() and label.text()]
    fixed = [label for label in labels if not label.wordWrap() and label.minimumWidth() != 1]
    qtbot.waitUntil(lambda: all(map(is_whole, fixed)))
