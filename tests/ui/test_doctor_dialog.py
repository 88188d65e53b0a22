"""Checking this machine from the Log tab."""

from msgspec.structs import replace
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QPalette
from pytestqt.qtbot import QtBot

from qplayground.report.diagnosis import diagnosis_text
from qplayground.runtime.clients.doctor import QUANTIZED, Doctor
from qplayground.runtime.processes.launcher import Launcher
from qplayground.ui.dialogs.doctor_dialog import DoctorDialog
from qplayground.ui.status.log_view import LogView
from qplayground.ui.window import MainWindow
from tests.ui.conftest import FAKE_ENGINE
from tests.ui.driving import type_prompt


def open_dialog(qtbot: QtBot, window: MainWindow) -> DoctorDialog:
    window.tabs.setCurrentWidget(window.log_view)
    qtbot.mouseClick(window.log_view.check, Qt.MouseButton.LeftButton)
    dialog = window.log_view.dialog
    assert dialog is not None and dialog.isVisible() and not dialog.isModal()
    return dialog


def test_it_shows_progress_and_then_what_was_found(qtbot: QtBot, window: MainWindow) -> None:
    with qtbot.waitSignal(window.doctor.succeeded, timeout=20_000) as found:
        dialog = open_dialog(qtbot, window)
        assert dialog.bar.isVisible() and dialog.stop.isVisible()
        assert not dialog.again.isVisible() and not dialog.copy.isEnabled()
        assert dialog.state.text() == "Checking: starting an engine…"
    assert dialog.text.toPlainText() == diagnosis_text(found.args[0])
    assert "offscreen (in use)" in dialog.text.toPlainText()
    assert not dialog.bar.isVisible() and not dialog.stop.isVisible() and dialog.again.isVisible()


def test_copy_puts_the_text_on_the_clipboard(qtbot: QtBot, window: MainWindow) -> None:
    QGuiApplication.clipboard().clear()
    with qtbot.waitSignal(window.doctor.finished, timeout=20_000):
        dialog = open_dialog(qtbot, window)
    qtbot.mouseClick(dialog.copy, Qt.MouseButton.LeftButton)
    copied = QGuiApplication.clipboard().text()
    assert copied == dialog.text.toPlainText() and "Quantization, tried on a small matrix" in copied


def test_it_can_be_stopped_and_begun_again(qtbot: QtBot, window: MainWindow) -> None:
    dialog = open_dialog(qtbot, window)
    with qtbot.waitSignal(window.doctor.cancelled):
        qtbot.mouseClick(dialog.stop, Qt.MouseButton.LeftButton)
    assert dialog.state.text() == "The check was stopped."
    assert not dialog.copy.isEnabled()
    with qtbot.waitSignal(window.doctor.succeeded, timeout=20_000):
        qtbot.mouseClick(dialog.again, Qt.MouseButton.LeftButton)
    assert dialog.copy.isEnabled()


def test_closing_it_ends_the_check(qtbot: QtBot, window: MainWindow) -> None:
    dialog = open_dialog(qtbot, window)
    with qtbot.waitSignal(window.doctor.cancelled):
        dialog.close()
    assert open_dialog(qtbot, window) is dialog and window.doctor.is_running


def test_what_will_not_work_alarms(qtbot: QtBot, window: MainWindow) -> None:
    for precisions, role in (
        ((replace(QUANTIZED[0], skip_modules=("exit-checking",)),), QPalette.ColorRole.BrightText),
        (QUANTIZED, QPalette.ColorRole.WindowText),
    ):
        doctor = Doctor(Launcher(FAKE_ENGINE), precisions)
        view = LogView(window.session, doctor)
        qtbot.addWidget(view)
        with qtbot.waitSignal(doctor.finished, timeout=20_000):
            qtbot.mouseClick(view.check, Qt.MouseButton.LeftButton)
        assert view.dialog is not None and view.dialog.state.foregroundRole() == role
        assert (view.dialog.state.text() == "1 problem: something will not work here.") == (precisions != QUANTIZED)
        doctor.close()


def test_a_comparison_ends_the_check_and_none_begins_meanwhile(qtbot: QtBot, ready_window: MainWindow) -> None:
    dialog = open_dialog(qtbot, ready_window)
    type_prompt(qtbot, ready_window, "Once slow")
    with qtbot.waitSignal(ready_window.doctor.cancelled):
        ready_window.comparing.compare()
    assert not ready_window.log_view.check.isEnabled() and not dialog.again.isEnabled()
    with qtbot.waitSignal(ready_window.session.comparison_finished, timeout=20_000):
        ready_window.session.stop()
    qtbot.waitUntil(ready_window.log_view.check.isEnabled)
    assert dialog.again.isEnabled()
