"""The device picker and the placement dialog, over the scripted engine."""

import pytest
from msgspec.structs import replace
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QPalette
from PySide6.QtTest import QTest
from pytestqt.qtbot import QtBot

from qplayground.core.messages.events import PlacementPlanned
from qplayground.core.placement import CPU, DISK, Block, Placement
from qplayground.core.precision import READY_PRECISIONS
from qplayground.runtime.machine.gpus import Gpu
from qplayground.runtime.processes.launcher import Launcher
from qplayground.ui import window as window_module
from qplayground.ui.application import make_window
from qplayground.ui.setup import placement_dialog
from qplayground.ui.setup.device_box import DeviceBox
from qplayground.ui.setup.device_column import DeviceColumn
from qplayground.ui.setup.placement_dialog import PlacementDialog
from qplayground.ui.widgets.block_bars import SHARE
from qplayground.ui.window import MainWindow
from tests.ui.conftest import FAKE_ENGINE
from tests.ui.driving import compare, type_prompt

GPUS = [Gpu(0, "A GPU", 8_000_000_000, 6_000_000_000, True), Gpu(1, "Another", 8_000_000_000, 7_000_000_000, True)]
LEFT = Qt.MouseButton.LeftButton


def labels(box: DeviceBox) -> list[str]:
    return [box.itemText(row) for row in range(box.count())]


def test_only_what_there_is_is_offered(qtbot: QtBot) -> None:
    box = DeviceBox([])
    qtbot.addWidget(box)
    assert labels(box) == ["Auto", "CPU", "", "Placement…"]
    box.set_usable(0, mps=True)
    assert labels(box)[:3] == ["Auto", "Apple GPU", "CPU"]
    many = DeviceBox(GPUS)
    qtbot.addWidget(many)
    assert labels(many)[:5] == ["Auto", "Balanced", "A GPU · 6.00 GB free", "Another · 7.00 GB free", "CPU"]
    many.set_usable(1, mps=False)  # torch cannot use the other GPU
    assert labels(many)[:3] == ["Auto", "A GPU · 6.00 GB free", "CPU"]
    twins = DeviceBox([GPUS[0], replace(GPUS[0], index=1)])
    qtbot.addWidget(twins)
    assert labels(twins)[2:4] == ["A GPU (0) · 6.00 GB free", "A GPU (1) · 6.00 GB free"]


def test_what_is_chosen_stays_chosen(qtbot: QtBot) -> None:
    box = DeviceBox([])
    qtbot.addWidget(box)
    box.setCurrentIndex(1)
    assert box.placement == Placement(device="cpu")
    with qtbot.waitSignal(box.edit_requested):
        box.setCurrentIndex(box.count() - 1)
    assert box.currentText() == "CPU" and box.placement == Placement(device="cpu")
    away = Placement(device="custom", modules={"": CPU, "layers.0": DISK}, threads=1)
    with qtbot.waitSignal(box.placement_changed):
        box.set_placement(away)
    assert box.currentText() == "By hand, 1 thread" and box.placement == away
    box.set_saved({"mine": away})
    assert box.currentText() == "mine" and "By hand, 1 thread" not in labels(box)
    box.set_saved({})
    assert box.placement == away  # deleting the saved name does not undo the choice


@pytest.fixture
def dialog(qtbot: QtBot, ready_window: MainWindow) -> PlacementDialog:
    ready_window.models.device.setCurrentIndex(ready_window.models.device.count() - 1)
    found = ready_window.placing.dialog
    assert found is not None
    wait_for_plan(qtbot, found)
    return found


def wait_for_plan(qtbot: QtBot, dialog: PlacementDialog) -> None:
    qtbot.waitUntil(lambda: any(column.parts.count() for column in dialog.columns.values()), timeout=10_000)


def is_overfull(column: DeviceColumn) -> bool:
    return column.sum.foregroundRole() == QPalette.ColorRole.BrightText


def names(column: DeviceColumn) -> list[str]:
    return [column.parts.item(row).text().split(" ")[0] for row in range(column.parts.count())]


def move(qtbot: QtBot, dialog: PlacementDialog, rows: tuple[int, int], source: str, target: str) -> None:
    """Move a range of layers as a person does: with a click, and another with Shift."""
    parts = dialog.columns[source].parts
    for row, keys in zip(rows, (Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ShiftModifier), strict=True):
        middle: QPoint = parts.visualItemRect(parts.item(row)).center()
        QTest.mouseClick(parts.viewport(), LEFT, keys, middle)
    before = names(dialog.columns[target])
    dialog.columns[target].move_here.click()
    qtbot.waitUntil(lambda: names(dialog.columns[target]) != before, timeout=10_000)


def test_every_part_is_shown_where_it_goes_with_the_sum(dialog: PlacementDialog) -> None:
    ram, disk = dialog.columns[CPU], dialog.columns[DISK]
    assert names(ram) == ["layers.0", "layers.1", "layers.2", "head"] and names(disk) == []
    assert ram.sum.text().startswith("404 MB of weights, ") and ram.sum.text().endswith(" free")
    assert disk.sum.text().startswith("0 B of weights, ") and not disk.limit.isVisibleTo(disk)
    assert not ram.move_here.isEnabled() and not disk.move_here.isEnabled()


def test_what_is_free_is_shown_as_it_is_now(
    qtbot: QtBot, ready_window: MainWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = {CPU: 500_000_000, DISK: 90_000_000}
    monkeypatch.setattr(placement_dialog, "_REFRESH_MS", 10)
    monkeypatch.setattr(placement_dialog, "free_memory", lambda: {CPU: free[CPU]})
    monkeypatch.setattr(placement_dialog, "free_on_disk", lambda folder: free[DISK])
    ready_window.placing.edit()
    dialog = ready_window.placing.dialog
    assert dialog is not None
    wait_for_plan(qtbot, dialog)
    ram, disk = dialog.columns[CPU], dialog.columns[DISK]
    assert ram.sum.text() == "404 MB of weights, 500 MB free" and not is_overfull(ram)
    assert disk.sum.text() == "0 B of weights, 90.0 MB free"
    free[CPU] = 400_000_000
    qtbot.waitUntil(lambda: ram.sum.text() == "404 MB of weights, 400 MB free")
    assert is_overfull(ram)
    with qtbot.waitSignal(ready_window.planner.planned, timeout=10_000) as answered:
        move(qtbot, dialog, (0, 1), CPU, DISK)
    assert disk.sum.text() == "269 MB of weights, 90.0 MB free" and not is_overfull(disk)  # no part of it is rewritten
    (planned,) = answered.args
    plans = tuple(replace(plan, rewritten_bytes=100_000_000) for plan in planned.plans)
    ready_window.planner.planned.emit(PlacementPlanned(command_id=1, plans=plans))
    assert disk.sum.text() == "269 MB of weights, 100 MB to write, 90.0 MB free" and is_overfull(disk)
    assert "Choose another folder" in dialog.message.text() and "100 MB" in dialog.message.text()
    free[DISK] = 110_000_000
    qtbot.waitUntil(lambda: "Choose another folder" not in dialog.message.text())
    dialog.reject()


def test_layers_are_moved_with_what_shares_their_weight(
    qtbot: QtBot, dialog: PlacementDialog, ready_window: MainWindow
) -> None:
    move(qtbot, dialog, (0, 1), CPU, DISK)
    assert names(dialog.columns[DISK]) == ["layers.0", "layers.1", "head"]
    assert names(dialog.columns[CPU]) == ["layers.2"]
    assert dialog.columns[DISK].sum.text().startswith("269 MB of weights, ")
    assert dialog.mode.currentText() == "by hand" and dialog.columns[CPU].limit.isHidden()
    assert dialog.placement.modules == {"layers.0": DISK, "layers.1": DISK, "layers.2": CPU, "head": DISK}
    assert "Refused so" in dialog.message.text()
    texts = [dialog.shown.itemText(row) for row in range(dialog.shown.count())]
    assert "FP32" in texts and any("refused" in text for text in texts)
    dialog.shown.setCurrentIndex(next(row for row, text in enumerate(texts) if "refused" in text))
    assert dialog.message.text()
    dialog.use.click()
    assert ready_window.models.device.placement.modules["layers.1"] == DISK
    assert ready_window.models.device.currentText() == "By hand"


def test_it_is_saved_under_a_name_and_taken_away_again(
    qtbot: QtBot, dialog: PlacementDialog, ready_window: MainWindow
) -> None:
    move(qtbot, dialog, (2, 2), CPU, DISK)
    assert not dialog.save.isEnabled()
    dialog.name.setCurrentText("last away")
    dialog.save.click()
    dialog.use.click()
    assert ready_window.models.device.currentText() == "last away"
    ready_window.models.device.edit_requested.emit()
    again = ready_window.placing.dialog
    assert again is not None
    qtbot.waitUntil(lambda: names(again.columns[DISK]) == ["layers.2"], timeout=10_000)
    again.mode.setCurrentIndex(0)
    qtbot.waitUntil(lambda: names(again.columns[DISK]) == [], timeout=10_000)
    again.name.setCurrentText("last away")
    again.name.activated.emit(0)
    qtbot.waitUntil(lambda: names(again.columns[DISK]) == ["layers.2"], timeout=10_000)
    again.delete.click()
    again.reject()
    assert "last away" not in labels(ready_window.models.device)


def test_limits_threads_and_the_folder_are_asked_for(qtbot: QtBot, dialog: PlacementDialog) -> None:
    ram = dialog.columns[CPU]
    ram.limit.setValue(0.2)
    qtbot.waitUntil(lambda: dialog.message.text() == "Limited.", timeout=10_000)
    assert ram.sum.text() == "404 MB of weights, 200 MB allowed"
    dialog.threads.setValue(1)
    dialog.folder.setText("/somewhere")
    assert dialog.placement == Placement(max_memory={CPU: 200_000_000}, offload_folder="/somewhere", threads=1)
    dialog.threads.setValue(0)
    ram.limit.setValue(0)
    dialog.folder.setText("")
    assert dialog.placement == Placement()


def test_the_device_is_kept_for_the_next_start(qtbot: QtBot, ready_window: MainWindow) -> None:
    ready_window.models.device.set_placement(Placement(device=CPU))
    type_prompt(qtbot, ready_window, "Once fast=3")
    compare(qtbot, ready_window)
    again = make_window(Launcher(FAKE_ENGINE))
    qtbot.addWidget(again)
    assert again.models.device.placement == Placement(device=CPU)
    again.close()


def test_a_kept_device_that_is_gone_is_let_go(qtbot: QtBot, ready_window: MainWindow) -> None:
    ready_window.models.device.set_placement(Placement(device="cuda:7"))
    ready_window.session.probe()
    qtbot.waitUntil(lambda: ready_window.models.device.placement == Placement(), timeout=10_000)


def test_a_gpu_of_the_drivers_that_torch_cannot_use_counts_for_nothing(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NVIDIA's driver is installed, but torch was built for CPUs."""
    monkeypatch.setattr(window_module, "list_gpus", lambda: [replace(GPUS[0], bfloat16=False)])
    window = make_window(Launcher(FAKE_ENGINE))
    qtbot.addWidget(window)
    assert "A GPU · 6.00 GB free" in labels(window.models.device)
    with qtbot.waitSignal(window.session.machine_known, timeout=10_000):
        window.session.probe()
    assert labels(window.models.device) == ["Auto", "CPU", "", "Placement…"]
    assert window.precisions.precisions() == READY_PRECISIONS
    window.placing.edit()
    dialog = window.placing.dialog
    assert dialog is not None and list(dialog.columns) == [CPU, DISK]
    dialog.reject()
    window.close()


def test_without_a_model_it_says_what_to_do(window: MainWindow) -> None:
    window.models.device.edit_requested.emit()
    dialog = window.placing.dialog
    assert dialog is not None and "Pick a model" in dialog.message.text()
    dialog.reject()
    assert window.placing.dialog is None


@pytest.mark.parametrize(
    ("typed", "limit"),
    [("300 MB", 300_000_000), ("0.3", 300_000_000), ("2 GB", 2_000_000_000), ("1,5", 1_500_000_000), ("", None)],
)
def test_a_limit_is_typed_with_its_unit(qtbot: QtBot, typed: str, limit: int | None) -> None:
    column = DeviceColumn(CPU, "RAM", 8_000_000_000)
    qtbot.addWidget(column)
    column.limit.selectAll()
    qtbot.keyClicks(column.limit, typed) if typed else qtbot.keyClick(column.limit, Qt.Key.Key_Delete)
    qtbot.keyClick(column.limit, Qt.Key.Key_Return)
    assert column.limit_bytes == limit


def test_parts_and_their_sum_are_bars(qtbot: QtBot) -> None:
    column = DeviceColumn(CPU, "RAM", 1_000_000)
    qtbot.addWidget(column)
    parts = (Block("large", 400_000, 800_000), Block("small", 100_000, 300_000), Block("tied", 0, 0, "large"))
    column.show_parts(parts, 400_000, plain=False)
    assert [column.parts.item(row).data(SHARE) for row in range(3)] == [1.0, 0.25, None]
    assert column.fill.value() == column.fill.maximum() / 2
    usual = column.fill.palette().color(QPalette.ColorRole.Highlight)
    column.show_parts(parts, 800_000, plain=True)
    assert [column.parts.item(row).data(SHARE) for row in range(2)] == [1.0, 0.375]
    assert column.fill.value() == column.fill.maximum()
    assert column.fill.palette().color(QPalette.ColorRole.Highlight) != usual
    column.show_parts(parts, 400_000, plain=False)
    assert column.fill.palette().color(QPalette.ColorRole.Highlight) == usual
    full = DeviceColumn("cuda:0", "A GPU", 0)
    qtbot.addWidget(full)
    full.show_parts(parts, 400_000, plain=False)
    assert full.fill.value() == full.fill.maximum()


def test_a_part_that_is_selected_keeps_its_bar(qtbot: QtBot) -> None:
    column = DeviceColumn(CPU, "RAM", 1_000_000)
    qtbot.addWidget(column)
    column.resize(300, 300)
    column.show_parts((Block("half", 50, 50), Block("whole", 100, 100)), 100, plain=False)
    column.parts.selectAll()
    row = column.parts.visualItemRect(column.parts.item(0))
    drawn = column.parts.viewport().grab(row).toImage()
    assert drawn.pixelColor(3 * row.width() // 8, row.height() // 2) != drawn.pixelColor(
        row.width() - 4, row.height() // 2
    )


def test_what_is_refused_is_said_whichever_precision_is_shown(qtbot: QtBot, dialog: PlacementDialog) -> None:
    move(qtbot, dialog, (0, 0), CPU, DISK)
    assert dialog.shown.currentText() == "FP32" and "Refused so: " in dialog.message.text()
