"""The status bar's line about this machine, over the scripted engine."""

import pytest
from pytestqt.qtbot import QtBot

from qplayground.runtime.machine.available import AvailableMemory
from qplayground.ui.status import machine_status
from qplayground.ui.status.machine_status import MachineStatus
from qplayground.ui.window import MainWindow


def test_a_containers_limit_counts_and_not_the_hosts_memory(
    qtbot: QtBot, window: MainWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    for found, said in (
        (AvailableMemory(690_000_000, 1_150_000_000, limited=True), "690 MB of 1.15 GB RAM allowed here free"),
        (AvailableMemory(2_000_000_000, 8_000_000_000), "2.00 GB of 8.00 GB RAM free"),
    ):
        monkeypatch.setattr(machine_status, "available_memory", lambda found=found: found)
        status = MachineStatus(window.session)
        qtbot.addWidget(status)
        assert said in status.text()
