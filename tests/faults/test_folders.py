"""Full disks, read-only or vanishing folders, clocks that go back: nothing shown is lost."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from qplayground.core.comparison.results import RunState, from_json
from qplayground.report.files import FORMATS, write_all, write_report
from qplayground.runtime.comparison import session as session_module
from qplayground.runtime.processes.launcher import Launcher
from qplayground.runtime.storage.history import History
from qplayground.runtime.storage.preferences import CONFIG_VARIABLE, Preferences
from qplayground.ui.application import make_window
from qplayground.ui.window import MainWindow
from tests.comparisons import comparison, done
from tests.ui.conftest import FAKE_ENGINE, collect_on_this_thread
from tests.ui.driving import compare, type_prompt
from tests.unit.catalog_files import write_model
from tests.waiting import wait_until

__all__ = ["collect_on_this_thread"]
DISK_BYTES = 2_000_000


class Disk:
    """A file system of two megabytes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        with (self.path / "others").open("wb", buffering=0) as file:
            while True:
                try:
                    file.write(bytes(4096))
                except OSError:
                    return

    def free(self) -> None:
        (self.path / "others").unlink()

    def make_read_only(self, read_only: bool = True) -> None:
        """Retries the remount, which fails while something is being written."""
        command = ["mount", "-o", f"remount,{'ro' if read_only else 'rw'}", str(self.path)]
        wait_until(lambda: subprocess.run(command, check=False, capture_output=True).returncode == 0)


@contextmanager
def mounted(path: Path) -> Iterator[Disk]:
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(path)]
    if sys.platform != "linux" or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """Holds everything that the program keeps."""
    with mounted(tmp_path / "disk") as disk:
        monkeypatch.setenv(CONFIG_VARIABLE, str(disk.path / "config"))
        yield disk


@contextmanager
def opened(qtbot: QtBot, tmp_path: Path) -> Iterator[MainWindow]:
    window = make_window(Launcher(FAKE_ENGINE))
    qtbot.addWidget(window)
    window.show()
    with qtbot.waitSignal(window.library.folder_opened):
        window.library.open_folder(str(write_model(tmp_path / "a model")))
    type_prompt(qtbot, window, "Once fast=3")
    yield window
    window.close()


def check_all_done(window: MainWindow) -> None:
    found = window.session.comparison
    assert found is not None and {run.state for run in found.runs} == {RunState.DONE}
    assert all(column.text.toPlainText() for column in window.results.columns.values())


@pytest.mark.parametrize("problem", ["full", "read-only", "gone"])
def test_a_comparison_that_cannot_be_kept_is_shown_and_said(
    qtbot: QtBot, tmp_path: Path, disk: Disk, problem: str
) -> None:
    with opened(qtbot, tmp_path) as window:
        compare(qtbot, window)
        qtbot.waitUntil(lambda: len(window.history_store.entries()) == 1)
        if problem == "full":
            disk.fill()
        elif problem == "read-only":
            disk.make_read_only()
        else:
            shutil.rmtree(disk.path / "config")
        compare(qtbot, window)
        check_all_done(window)
        if problem != "gone":
            qtbot.waitUntil(lambda: "could not be kept in the history" in window.notice.text(), timeout=30_000)
            assert "Export it to keep it." in window.notice.text() and window.notice.isVisible()
        target = tmp_path / "export.json"
        assert window.session.comparison is not None
        write_report(window.session.comparison, target)
        assert from_json(target.read_bytes()).id == window.session.comparison.id
        if problem == "full":
            disk.free()
        elif problem == "read-only":
            disk.make_read_only(False)
        compare(qtbot, window)  # comparisons are kept again after the repair
        check_all_done(window)
        newest = window.session.comparison
        assert newest is not None
        qtbot.waitUntil(lambda: newest.id in [entry.id for entry in window.history_store.entries()], timeout=30_000)
        assert window.notice.isVisible() is (problem == "gone")  # what was before is not there any more
    kept = {entry.id for entry in History().entries()}
    assert newest.id in kept and len(kept) >= 2  # if the folder was lost, all since then


def test_a_folder_that_goes_away_in_the_middle_costs_no_run(qtbot: QtBot, tmp_path: Path, disk: Disk) -> None:
    with opened(qtbot, tmp_path) as window:
        type_prompt(qtbot, window, "Once nf4=slow")
        window.models.compare.click()
        qtbot.waitUntil(lambda: len(window.history_store.entries()) == 1, timeout=30_000)
        qtbot.waitUntil(lambda: bool(window.results.columns["nf4"].run.token_ids), timeout=30_000)
        shutil.rmtree(disk.path / "config")
        with qtbot.waitSignal(window.session.comparison_finished, timeout=30_000):
            window.session.stop()
        found = window.session.comparison
        assert found is not None
        qtbot.waitUntil(lambda: len(window.history_store.entries()) == 1, timeout=30_000)
        qtbot.waitUntil(lambda: len(window.history_store.load(found.id).runs) == 4, timeout=30_000)
        kept = window.history_store.load(found.id)
        assert [(run.state, run.text) for run in kept.runs] == [(run.state, run.text) for run in found.runs]
        qtbot.waitUntil(lambda: "removed while in use" in window.notice.text(), timeout=30_000)


def test_a_program_starts_where_nothing_can_be_kept(qtbot: QtBot, tmp_path: Path, disk: Disk) -> None:
    disk.make_read_only()
    with opened(qtbot, tmp_path) as window:
        assert "history" in window.notice.text().lower()
        compare(qtbot, window)
        check_all_done(window)


def test_preferences_on_a_full_disk_stay_as_they_were(disk: Disk) -> None:
    preferences = Preferences.load()
    preferences.remember_prompt("one")
    preferences.flush()
    disk.fill()
    preferences.remember_prompt("a longer one" * 1000)
    preferences.flush()
    assert "No space left" in preferences.notice
    assert Preferences.load().recent_prompts == ("one",)
    disk.free()
    preferences.remember_prompt("two")
    preferences.close()
    assert Preferences.load().recent_prompts[0] == "two" and not preferences.notice


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_report_on_a_full_disk_is_none(disk: Disk, suffix: str) -> None:
    made = comparison(done(), done("nf4"))
    target = disk.path / f"report.{suffix}"
    write_report(made, target)
    before = target.read_bytes()
    disk.fill()
    with pytest.raises(OSError, match="No space left"):
        write_report(made, target)
    assert target.read_bytes() == before
    with pytest.raises(OSError, match="No space left"):
        write_all(made, disk.path / "reports")
    disk.free()
    assert {path.name for path in disk.path.iterdir()} <= {target.name, "reports"}
    assert not (disk.path / "reports").exists() or not list((disk.path / "reports").iterdir())


def test_a_clock_that_is_set_back_loses_nothing(qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Earlier(datetime):
        @classmethod
        def now(cls, tz: object = None) -> "datetime":  # type: ignore[override]
            return datetime.now(UTC) - timedelta(days=400)

    with opened(qtbot, tmp_path) as window:
        compare(qtbot, window)
        monkeypatch.setattr(session_module, "datetime", Earlier)
        compare(qtbot, window)
        check_all_done(window)
        found = window.session.comparison
        assert found is not None and all((run.speed.ttft_s or 0) >= 0 for run in found.runs)
        qtbot.waitUntil(lambda: len(window.history_store.entries()) == 2)
        assert window.history_store.load(found.id).runs[0].state is RunState.DONE
