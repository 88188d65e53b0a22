"""The list of models and the jobs that add to it, with stubs for the disk and for the jobs."""

import threading
from pathlib import Path

import pytest
from PySide6.QtCore import QThread
from pytestqt.qtbot import QtBot

from qplayground.catalog.demo import DEMO_ID, HUB_ID, DemoOrigin, DemoSource
from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.model import ModelEntry, ModelSource, ModelTypes
from qplayground.runtime.models import library as library_module
from qplayground.runtime.models.jobs import Job
from qplayground.runtime.models.library import Library
from qplayground.runtime.processes.launcher import Launcher
from tests.process import children
from tests.unit.catalog_files import write_model

DEMO = ModelEntry(id=DEMO_ID, source=ModelSource.DEMO)
LLAMA = ModelTypes(causal=frozenset({"llama"}))
CACHED = ModelEntry(id="owner/name", source=ModelSource.CACHE, path="/cache", complete=True)


class Disk:
    """The results of a scan, and a record of the scans. A scan can be delayed."""

    def __init__(self) -> None:
        self.entries = [DEMO, CACHED]
        self.looks: list[tuple[ModelTypes | None, tuple[str, ...]]] = []
        self.may_answer = threading.Event()
        self.may_answer.set()

    def list_models(self, types: ModelTypes | None, folders: tuple[str, ...] = ()) -> list[ModelEntry]:
        self.looks.append((types, folders))
        self.may_answer.wait(10)
        return list(self.entries)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(library_module, "list_models", disk.list_models)
    monkeypatch.setattr(library_module, "DOWNLOAD_TARGET", children.TARGET)
    monkeypatch.setattr(library_module, "PREPARE_TARGET", children.TARGET)
    return disk


class Shelf:
    """A library and its signals."""

    def __init__(self, folders: tuple[str, ...] = ()) -> None:
        self.library = Library(Launcher(fork=False), folders)
        self.said: list[tuple[str, object]] = []
        self.jobs: list[Job] = []
        self.errors: list[ErrorInfo] = []
        self.library.entries_changed.connect(lambda: self.said.append(("entries_changed", None)))
        self.library.job_failed.connect(lambda job, error: self.errors.append(error))
        self.library.job_started.connect(self.jobs.append)
        for name in ("folder_opened", "model_added", "job_started", "job_ended"):
            getattr(self.library, name).connect(lambda what, name=name: self.said.append((name, what)))
        self.library.job_failed.connect(lambda job, error: self.said.append(("job_failed", error)))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.said]

    def refresh(self, qtbot: QtBot) -> None:
        with qtbot.waitSignal(self.library.entries_changed):
            self.library.refresh()


@pytest.fixture
def shelf(qtbot: QtBot, disk: Disk) -> Shelf:
    return Shelf()


# ---- looking ------------------------------------------------------------------------------------------------------


def test_a_refresh_gives_the_list(qtbot: QtBot, shelf: Shelf, disk: Disk) -> None:
    assert shelf.library.entries == []
    shelf.refresh(qtbot)
    assert shelf.library.entries == [DEMO, CACHED]
    shelf.library.close()


def test_the_list_that_is_given_away_is_a_copy(qtbot: QtBot, shelf: Shelf) -> None:
    shelf.refresh(qtbot)
    shelf.library.entries.clear()
    assert shelf.library.entries == [DEMO, CACHED]
    shelf.library.close()


def test_it_looks_for_what_engines_can_continue(qtbot: QtBot, disk: Disk) -> None:
    shelf = Shelf(("/opened",))
    with qtbot.waitSignal(shelf.library.entries_changed):
        shelf.library.set_model_types(LLAMA)
    assert disk.looks == [(LLAMA, ("/opened",))]
    shelf.library.close()


def test_refreshes_during_a_scan_make_one_more(qtbot: QtBot, shelf: Shelf, disk: Disk) -> None:
    disk.may_answer.clear()
    shelf.library.refresh()
    qtbot.waitUntil(lambda: len(disk.looks) == 1)
    shelf.library.set_model_types(LLAMA)
    for _ in range(5):
        shelf.library.refresh()
    assert len(disk.looks) == 1
    disk.may_answer.set()
    qtbot.waitUntil(lambda: len(disk.looks) == 2)
    qtbot.waitUntil(lambda: shelf.names.count("entries_changed") == 2)
    assert disk.looks[1] == (LLAMA, ())
    shelf.refresh(qtbot)
    assert len(disk.looks) == 3
    shelf.library.close()


def test_closing_waits_for_the_scan(qtbot: QtBot, shelf: Shelf, disk: Disk) -> None:
    disk.may_answer.clear()
    shelf.library.refresh()
    qtbot.waitUntil(lambda: len(disk.looks) == 1)
    threading.Timer(0, disk.may_answer.set).start()
    shelf.library.close()
    assert not any(scan.isRunning() for scan in shelf.library.findChildren(QThread))


# ---- folders ------------------------------------------------------------------------------------------------------


def test_a_folder_with_a_model_is_listed_once(qtbot: QtBot, shelf: Shelf, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "a model")
    for _ in range(2):
        with qtbot.waitSignal(shelf.library.folder_opened) as opened:
            shelf.library.open_folder(str(folder))
        assert opened.args is not None
        assert opened.args[0].usable
        assert opened.args[0].id == str(folder)
    assert shelf.names == ["entries_changed", "folder_opened"] * 2  # read again, because it may have been repaired
    assert [entry.id for entry in shelf.library.entries] == [str(folder)]
    assert shelf.library.folders == (str(folder),)
    shelf.library.close()


@pytest.mark.parametrize("kind", ["missing", "empty", "a file"])
def test_a_folder_without_a_model_says_why_and_is_not_listed(
    qtbot: QtBot, shelf: Shelf, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "there"
    if kind == "empty":
        path.mkdir()
    elif kind == "a file":
        path.write_text("no model")
    with qtbot.waitSignal(shelf.library.folder_opened) as opened:
        shelf.library.open_folder(str(path))
    assert opened.args is not None
    entry = opened.args[0]
    assert not entry.usable
    assert entry.problem is not None
    assert entry.problem.message
    assert (shelf.names, shelf.library.entries, shelf.library.folders) == (["folder_opened"], [], ())
    shelf.library.close()


def test_a_folder_that_is_opened_during_a_scan_stays(qtbot: QtBot, shelf: Shelf, disk: Disk, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "a model")
    disk.may_answer.clear()
    shelf.library.refresh()
    qtbot.waitUntil(lambda: len(disk.looks) == 1)
    with qtbot.waitSignal(shelf.library.folder_opened):
        shelf.library.open_folder(str(folder))
    with qtbot.waitSignal(shelf.library.entries_changed):
        disk.may_answer.set()
    assert [entry.id for entry in shelf.library.entries] == [DEMO_ID, "owner/name", str(folder)]
    shelf.library.close()


# ---- jobs ---------------------------------------------------------------------------------------------------------


def test_a_download_that_succeeds_adds_its_model(qtbot: QtBot, shelf: Shelf) -> None:
    shelf.refresh(qtbot)
    with qtbot.waitSignal(shelf.library.job_ended, timeout=10_000):
        shelf.library.download("complete")
        started = shelf.library.job
        assert started is shelf.jobs[0]
    assert shelf.names[1:] == ["job_started", "entries_changed", "model_added", "job_ended"]
    assert shelf.library.entries == [DEMO, CACHED, children.ENTRY]
    assert shelf.library.job is None
    assert dict(shelf.said)["model_added"] == children.ENTRY
    shelf.library.close()


def test_a_download_of_a_model_that_is_listed_takes_its_place(qtbot: QtBot, shelf: Shelf, disk: Disk) -> None:
    unfinished = ModelEntry(id=children.ENTRY.id, source=ModelSource.CACHE)
    disk.entries = [unfinished, DEMO]
    shelf.refresh(qtbot)
    with qtbot.waitSignal(shelf.library.job_ended, timeout=10_000):
        shelf.library.download("complete")
    assert shelf.library.entries == [children.ENTRY, DEMO]
    shelf.library.close()


def test_a_job_that_fails_says_why_and_another_can_start(qtbot: QtBot, shelf: Shelf) -> None:
    shelf.refresh(qtbot)
    with qtbot.waitSignal(shelf.library.job_ended, timeout=10_000):
        shelf.library.download("fail")
    assert shelf.errors == [children.FAILURE]
    assert "model_added" not in shelf.names
    with qtbot.waitSignal(shelf.library.model_added, timeout=10_000):
        shelf.library.download("complete")
    shelf.library.close()


def test_a_cancelled_job_is_no_failure(qtbot: QtBot, shelf: Shelf) -> None:
    shelf.refresh(qtbot)
    shelf.library.download("freeze")
    with qtbot.waitSignal(shelf.jobs[0].progressed, timeout=10_000):
        pass
    with qtbot.waitSignal(shelf.library.job_ended, timeout=1000):
        shelf.library.cancel_job()
    assert shelf.errors == []
    assert shelf.names[1:] == ["job_started", "job_ended"]
    assert shelf.library.entries == [DEMO, CACHED]
    shelf.library.cancel_job()  # without a job, nothing happens
    shelf.library.close()


def test_one_job_at_a_time(qtbot: QtBot, shelf: Shelf) -> None:
    shelf.library.download("freeze")
    first = shelf.library.job
    shelf.library.download("complete")
    assert shelf.library.job is first
    assert [error.code for error in shelf.errors] == [ErrorCode.UNSUPPORTED]
    assert "Downloading freeze" in shelf.errors[0].message
    with qtbot.waitSignal(shelf.library.job_ended, timeout=2000):
        shelf.library.cancel_job()
    shelf.library.close()


def test_closing_ends_the_job(qtbot: QtBot, shelf: Shelf) -> None:
    shelf.library.download("freeze")
    with qtbot.waitSignal(shelf.jobs[0].progressed, timeout=10_000):
        pass
    shelf.library.close()  # every test checks that no process is left


# ---- the demo model -----------------------------------------------------------------------------------------------


def from_(monkeypatch: pytest.MonkeyPatch, origin: DemoOrigin, path: str | None) -> None:
    monkeypatch.setattr(library_module, "demo_sources", lambda: [DemoSource(origin, path, "made up")])


def test_the_demo_model_is_made_from_the_package(qtbot: QtBot, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    from_(monkeypatch, DemoOrigin.WHEEL, "complete")
    with qtbot.waitSignal(shelf.library.model_added, timeout=10_000):
        shelf.library.prepare_demo()
        assert shelf.jobs[0].title == "Preparing the demo model"
    shelf.library.close()


def test_a_demo_model_that_cannot_be_made_says_so_in_the_list(
    qtbot: QtBot, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_(monkeypatch, DemoOrigin.WHEEL, "fail")
    shelf.refresh(qtbot)
    with qtbot.waitSignal(shelf.library.job_ended, timeout=10_000):
        shelf.library.prepare_demo()
    demo, cached = shelf.library.entries
    assert demo.problem == children.FAILURE
    assert cached == CACHED
    shelf.library.close()


def test_a_demo_model_that_is_there_is_only_looked_up(
    qtbot: QtBot, shelf: Shelf, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_(monkeypatch, DemoOrigin.PREPARED, "/prepared")
    with qtbot.waitSignal(shelf.library.entries_changed):
        shelf.library.prepare_demo()
    assert shelf.jobs == []
    shelf.library.close()


def test_without_the_package_the_hub_is_asked(qtbot: QtBot, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    from_(monkeypatch, DemoOrigin.HUB, None)
    with qtbot.waitSignal(shelf.library.job_failed, timeout=10_000):  # the stub does not know such a behaviour
        shelf.library.prepare_demo()
        assert shelf.jobs[0].title == f"Downloading {HUB_ID}"
    shelf.library.close()
