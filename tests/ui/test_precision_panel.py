"""The list of precisions, used as a user uses it."""

from pathlib import Path

import msgspec
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QColor, QFocusEvent
from PySide6.QtWidgets import QApplication, QLineEdit, QScrollArea, QWidget
from pytestqt.qtbot import QtBot

from qplayground.core.dtype import Dtype
from qplayground.core.precision import DEFAULT_TICKED, READY_PRECISIONS, Precision
from qplayground.core.quantizers.bitsandbytes_int8 import Int8
from qplayground.runtime.storage.preferences import Preferences
from qplayground.ui.setup.precision_panel import PrecisionPanel
from qplayground.ui.setup.precision_row import PrecisionRow
from qplayground.ui.widgets import theme

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def preferences(tmp_path: Path) -> Preferences:
    return Preferences.load(tmp_path / "preferences.json")


@pytest.fixture
def panel(qtbot: QtBot, preferences: Preferences) -> PrecisionPanel:
    return show(qtbot, preferences)


def show(qtbot: QtBot, preferences: Preferences) -> PrecisionPanel:
    panel = PrecisionPanel(preferences)
    qtbot.addWidget(panel)
    panel.resize(300, 700)
    with qtbot.waitExposed(panel):
        panel.show()
    return panel


def row(panel: PrecisionPanel, name: str) -> PrecisionRow:
    found = panel.row(name)
    assert found is not None
    return found


def names(panel: PrecisionPanel) -> list[str]:
    return [precision.name for precision in panel.precisions()]


def tick(qtbot: QtBot, panel: PrecisionPanel, name: str) -> None:
    box = row(panel, name).tick
    qtbot.mouseClick(box, LEFT, pos=QPoint(8, box.height() // 2))


def open_options(qtbot: QtBot, panel: PrecisionPanel, name: str) -> None:
    qtbot.mouseClick(row(panel, name).options, LEFT)


def field_of(panel: PrecisionPanel, name: str, field: str) -> QLineEdit:
    editor = row(panel, name).editor
    edit = editor.name if field == "name" else editor.option(Int8, field)
    assert isinstance(edit, QLineEdit)
    return edit


def type_over(qtbot: QtBot, panel: PrecisionPanel, name: str, field: str, text: str) -> None:
    edit = field_of(panel, name, field)
    edit.setFocus()
    edit.selectAll()
    qtbot.keyClicks(edit, text)
    qtbot.keyClick(edit, Qt.Key.Key_Return)


def test_the_ready_precisions_stand_in_order_with_the_usual_ones_ticked(panel: PrecisionPanel) -> None:
    assert panel.precisions() == READY_PRECISIONS
    assert tuple(precision.name for precision in panel.selected()) == DEFAULT_TICKED
    assert row(panel, "nf4").summary.text() == READY_PRECISIONS[4].summary
    assert row(panel, "nf4").summary.text() in row(panel, "nf4").summary.toolTip()


def test_ticks_are_kept_in_list_order(
    qtbot: QtBot, panel: PrecisionPanel, preferences: Preferences, tmp_path: Path
) -> None:
    tick(qtbot, panel, "fp4")
    assert list(preferences.ticked) == ["fp32", "bf16", "int8", "nf4", "fp4"]
    qtbot.keyClick(row(panel, "fp32").tick, Qt.Key.Key_Space)
    assert list(preferences.ticked) == ["bf16", "int8", "nf4", "fp4"]
    assert [precision.name for precision in panel.selected()] == ["bf16", "int8", "nf4", "fp4"]
    preferences.flush()
    again = show(qtbot, Preferences.load(tmp_path / "preferences.json"))
    assert again.selected() == panel.selected()


def test_a_click_beside_the_tick_box_ticks_nothing(qtbot: QtBot, panel: PrecisionPanel) -> None:
    before = panel.selected()
    qtbot.mouseClick(row(panel, "fp4").summary, LEFT)
    assert panel.selected() == before
    assert "FP4" in panel.new.toolTip()


def test_options_open_in_place_one_at_a_time(qtbot: QtBot, panel: PrecisionPanel) -> None:
    open_options(qtbot, panel, "int8")
    assert row(panel, "int8").editor.isVisible()
    open_options(qtbot, panel, "nf4")
    assert row(panel, "nf4").editor.isVisible()
    assert not row(panel, "int8").editor.isVisible()
    qtbot.keyClick(row(panel, "nf4").options, Qt.Key.Key_Space)
    assert not row(panel, "nf4").editor.isVisible()


def test_an_edit_is_shown_kept_and_can_be_reset(qtbot: QtBot, panel: PrecisionPanel, preferences: Preferences) -> None:
    open_options(qtbot, panel, "int8")
    with qtbot.waitSignal(panel.precisions_changed):
        type_over(qtbot, panel, "int8", "threshold", "3")
    edited = msgspec.structs.replace(READY_PRECISIONS[3], quantization=Int8(threshold=3))
    assert preferences.precision("int8") == edited
    assert edited in panel.selected()
    assert row(panel, "int8").summary.text() == f"edited: {edited.summary}"
    with qtbot.waitSignal(panel.precisions_changed):
        qtbot.mouseClick(row(panel, "int8").editor.reset, LEFT)
    assert panel.precisions() == preferences.all_precisions() == READY_PRECISIONS
    assert field_of(panel, "int8", "threshold").text() == "6"
    assert not row(panel, "int8").editor.reset.isVisible()


def test_a_new_precision_is_a_copy_of_the_current_one_to_be_named_at_once(
    qtbot: QtBot, panel: PrecisionPanel, preferences: Preferences
) -> None:
    qtbot.mouseClick(row(panel, "fp4").summary, LEFT)
    with qtbot.waitSignal(panel.precisions_changed):
        qtbot.mouseClick(panel.new, LEFT)
    made = panel.precisions()[-1]
    assert made == msgspec.structs.replace(READY_PRECISIONS[6], name="fp4-2", label="fp4-2")
    assert made in panel.selected()
    editor = row(panel, "fp4-2").editor
    assert editor.isVisible()
    assert QApplication.focusWidget() is editor.name
    assert editor.name.selectedText() == "fp4-2"
    hue = theme.color("fp4-2", False)

    qtbot.keyClicks(editor.name, "tiny")
    with qtbot.waitSignal(panel.precisions_changed):
        qtbot.keyClick(editor.name, Qt.Key.Key_Return)
    assert names(panel)[-1] == "tiny"
    assert row(panel, "tiny").tick.text() == "tiny"
    assert preferences.ticked[-1] == "tiny"
    assert theme.color("tiny", False) == hue


def test_the_keyboard_alone_makes_the_copied_one_current(qtbot: QtBot, panel: PrecisionPanel) -> None:
    panel.activateWindow()
    row(panel, "bf16").options.setFocus()
    qtbot.keyClick(row(panel, "bf16").options, Qt.Key.Key_Tab)
    QApplication.sendEvent(row(panel, "fp16").tick, QFocusEvent(QFocusEvent.Type.FocusIn))
    qtbot.keyClick(panel.new, Qt.Key.Key_Space)
    assert names(panel)[-1] == "fp16-2"


def test_a_name_that_is_taken_is_said_in_place_and_nothing_changes(
    qtbot: QtBot, panel: PrecisionPanel, preferences: Preferences
) -> None:
    qtbot.mouseClick(panel.new, LEFT)
    before = preferences.all_precisions()
    with qtbot.assertNotEmitted(panel.precisions_changed):
        type_over(qtbot, panel, "fp32-2", "name", "nf4")
    editor = row(panel, "fp32-2").editor
    assert "already a precision named 'nf4'" in editor.error.text()
    assert editor.name.text() == "nf4"
    assert preferences.all_precisions() == before


def test_a_half_made_edit_survives_edits_elsewhere(qtbot: QtBot, panel: PrecisionPanel) -> None:
    open_options(qtbot, panel, "int8")
    type_over(qtbot, panel, "int8", "threshold", "six")
    qtbot.mouseClick(panel.new, LEFT)
    open_options(qtbot, panel, "int8")
    assert field_of(panel, "int8", "threshold").text() == "six"
    assert row(panel, "int8").editor.error.isVisible()


def test_an_own_precision_can_be_removed(qtbot: QtBot, panel: PrecisionPanel, preferences: Preferences) -> None:
    qtbot.mouseClick(panel.new, LEFT)
    with qtbot.waitSignal(panel.precisions_changed):
        qtbot.mouseClick(row(panel, "fp32-2").editor.remove, LEFT)
    assert panel.row("fp32-2") is None
    assert preferences.all_precisions() == READY_PRECISIONS
    assert tuple(precision.name for precision in panel.selected()) == DEFAULT_TICKED
    qtbot.mouseClick(panel.new, LEFT)  # copies the current precision
    assert len(panel.precisions()) == len(READY_PRECISIONS) + 1


def test_own_precisions_are_there_at_the_next_start(
    qtbot: QtBot, panel: PrecisionPanel, preferences: Preferences, tmp_path: Path
) -> None:
    qtbot.mouseClick(panel.new, LEFT)
    preferences.flush()
    again = show(qtbot, Preferences.load(tmp_path / "preferences.json"))
    assert again.precisions() == panel.precisions()
    assert row(again, "fp32-2").tick.isChecked()


def test_without_bfloat16_ready_quantized_precisions_become_float16_and_say_why(
    qtbot: QtBot, panel: PrecisionPanel, preferences: Preferences
) -> None:
    own = Precision(name="own", label="own", dtype=Dtype.BFLOAT16, quantization=Int8())
    preferences.save_precision(own)
    preferences.set_ticked(("bf16", "int8", "own"))
    panel.refresh()
    with qtbot.waitSignal(panel.precisions_changed):
        panel.set_bfloat16_available(False)
    bf16, int8, mine = panel.selected()
    assert (bf16, mine) == (READY_PRECISIONS[1], own)
    assert int8 == READY_PRECISIONS[3].without_bfloat16()
    assert int8.dtype is Dtype.FLOAT16
    for widget in (row(panel, "int8").tick, row(panel, "int8").summary):
        assert "bfloat16" in widget.toolTip()
    assert "cannot" not in row(panel, "own").tick.toolTip()
    assert preferences.precision("int8") == READY_PRECISIONS[3]
    with qtbot.waitSignal(panel.precisions_changed):
        panel.set_bfloat16_available(True)
    assert panel.selected()[1] == READY_PRECISIONS[3]
    with qtbot.assertNotEmitted(panel.precisions_changed):
        panel.set_bfloat16_available(True)


def test_sizes_stand_in_their_rows_and_stay_through_edits(qtbot: QtBot, panel: PrecisionPanel) -> None:
    panel.set_size_text("nf4", "116 MB", "4 MB of it are scales")
    panel.set_size_text("unheard-of", "1 MB")
    assert row(panel, "nf4").size_text.text() == "116 MB"
    assert row(panel, "nf4").size_text.toolTip() == "4 MB of it are scales"
    qtbot.mouseClick(panel.new, LEFT)
    assert row(panel, "nf4").size_text.text() == "116 MB"


def test_tab_visits_rows_in_order_then_the_button(qtbot: QtBot, panel: PrecisionPanel) -> None:
    qtbot.mouseClick(panel.new, LEFT)
    open_options(qtbot, panel, "fp32-2")
    open_options(qtbot, panel, "fp32")
    expected: list[QWidget] = []
    for shown in (row(panel, name) for name in names(panel)):
        expected += [shown.tick, shown.options]
    visited: list[QWidget] = []
    widget: QWidget | None = row(panel, "fp32").tick
    while widget is not None and widget is not panel.new:
        if widget.isVisible() and widget.focusPolicy() & Qt.FocusPolicy.TabFocus:
            visited.append(widget)
        widget = widget.nextInFocusChain()
    assert visited == expected


def test_everything_has_an_accessible_name(qtbot: QtBot, panel: PrecisionPanel) -> None:
    for name in names(panel):
        assert row(panel, name).tick.accessibleName() == row(panel, name).precision.label
        assert row(panel, name).precision.label in row(panel, name).options.accessibleName()
        assert row(panel, name).options.toolTip()


@pytest.mark.parametrize("name", ["fp32", "int8", "nf4-dq", "own"])
def test_nothing_is_wider_than_three_hundred_pixels_allow(qtbot: QtBot, preferences: Preferences, name: str) -> None:
    own = msgspec.structs.replace(READY_PRECISIONS[5], name="own" + "-long" * 7, label="own" + "-long" * 7)
    preferences.save_precision(own)
    panel = show(qtbot, preferences)
    name = own.name if name == "own" else name
    panel.set_size_text(name, "1,234 MB")
    open_options(qtbot, panel, name)
    opened = row(panel, name)
    bar = panel.style().pixelMetric(panel.style().PixelMetric.PM_ScrollBarExtent)
    assert opened.minimumSizeHint().width() <= 300 - bar
    area = panel.findChild(QScrollArea)
    assert area is not None
    qtbot.waitUntil(lambda: 0 < opened.editor.width() <= opened.width() == area.viewport().width())


def swatch_color(panel: PrecisionPanel) -> QColor:
    image = row(panel, "fp32").tick.icon().pixmap(theme.SWATCH, theme.SWATCH).toImage()
    return image.pixelColor(image.rect().center())


def test_the_swatch_follows_the_scheme(qtbot: QtBot, qapp: QApplication, panel: PrecisionPanel) -> None:
    for dark in (True, False):
        theme.paint(qapp, dark)
        qtbot.waitUntil(lambda dark=dark: swatch_color(panel) == theme.color("fp32", dark))  # type: ignore[misc]


@pytest.mark.parametrize("typed", ["", "half a na"])
def test_escape_takes_a_precision_away_that_was_only_just_made(
    qtbot: QtBot, panel: PrecisionPanel, preferences: Preferences, typed: str
) -> None:
    qtbot.mouseClick(panel.new, LEFT)
    assert names(panel)[-1] == "fp32-2" and "fp32-2" in preferences.ticked
    qtbot.keyClicks(row(panel, "fp32-2").editor.name, typed)
    with qtbot.waitSignal(panel.precisions_changed):
        panel.escape()
    assert panel.precisions() == READY_PRECISIONS == preferences.all_precisions()
    assert preferences.ticked == DEFAULT_TICKED
    assert panel.new.hasFocus()


def test_escape_closes_the_options_of_one_that_was_changed_or_was_there_before(
    qtbot: QtBot, panel: PrecisionPanel
) -> None:
    qtbot.mouseClick(panel.new, LEFT)
    type_over(qtbot, panel, "fp32-2", "name", "mine")
    panel.escape()
    assert names(panel)[-1] == "mine"
    assert not row(panel, "mine").options.isChecked() and row(panel, "mine").options.hasFocus()
    qtbot.mouseClick(panel.new, LEFT)
    open_options(qtbot, panel, "nf4")  # closes those of the new one
    open_options(qtbot, panel, names(panel)[-1])
    panel.escape()
    assert len(names(panel)) == len(READY_PRECISIONS) + 2


def test_escape_elsewhere_leaves_open_options_alone(qtbot: QtBot, panel: PrecisionPanel) -> None:
    qtbot.mouseClick(panel.new, LEFT)
    other = QLineEdit()
    qtbot.addWidget(other)
    with qtbot.waitActive(other):
        other.show()
        other.activateWindow()
    other.setFocus()
    panel.escape()
    assert row(panel, "fp32-2").options.isChecked()
