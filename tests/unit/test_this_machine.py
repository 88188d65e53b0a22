"""What the program finds out in its own process: folders, Qt's platform, and no user names."""

import getpass
import importlib.metadata
import os
import shutil
import sys
import tempfile
from pathlib import Path

import psutil
import PySide6
import pytest
from PySide6.QtCore import QCoreApplication

from qplayground.core.system.redaction import Redaction
from qplayground.runtime.machine import this_machine
from qplayground.runtime.machine.qt_platform import can_load, candidates, explain_platform
from qplayground.runtime.machine.this_machine import find_redaction, gather_facts, look_at_folder

NOBODY = Redaction()


def test_a_folder_is_written_to_and_left_empty(tmp_path: Path) -> None:
    folder = look_at_folder("Settings", tmp_path, Redaction((str(tmp_path.parent),)))
    assert (folder.path, folder.problem, folder.is_there) == (f"~/{tmp_path.name}", "", True)
    assert folder.free_bytes is not None and 0 < folder.free_bytes <= psutil.disk_usage("/").total
    assert list(tmp_path.iterdir()) == []


def test_of_a_folder_that_is_not_there_yet_the_one_above_is_tried_and_nothing_is_made(tmp_path: Path) -> None:
    folder = look_at_folder("Settings", tmp_path / "a" / "b", NOBODY)
    assert (folder.path, folder.problem, folder.is_there) == (str(tmp_path / "a" / "b"), "", False)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert look_at_folder("Settings", tmp_path / "file" / "folder", NOBODY).problem == "not a directory"
    assert look_at_folder("Settings", Path("/proc/self/fd"), NOBODY).problem
    missing = look_at_folder("Settings", Path("/proc/nothing/here"), NOBODY)
    assert missing.problem and not missing.is_there


def test_of_a_folder_that_cannot_be_looked_at_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(_place: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(this_machine, "existing_above", closed)
    folder = look_at_folder("Settings", tmp_path, NOBODY)
    assert (folder.problem, folder.is_there, folder.free_bytes) == ("permission denied", False, None)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_full_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full")
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: full.open("wb"))
    folder = look_at_folder("Settings", tmp_path, NOBODY)
    assert folder.problem == "no space left on device" and folder.free_bytes is not None


def test_the_settings_folder_can_be_moved(tmp_path: Path) -> None:
    folders = this_machine.written_folders()
    assert folders["Settings"] == folders["History"] == tmp_path / "config"  # set by the tests' own variable
    assert folders["Baselines"].is_relative_to(tmp_path / "config")
    assert folders["Temporary files"] == Path(tempfile.gettempdir())


def test_nobody_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "wonderland"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USER", "alice")
    monkeypatch.setattr(getpass, "getuser", lambda: "alice")
    monkeypatch.setenv("QPLAYGROUND_CONFIG", str(home / "config"))
    monkeypatch.setenv("QPLAYGROUND_CACHE", str(tmp_path / "alice"))
    assert find_redaction().user == "alice"
    facts = gather_facts()
    paths = {folder.purpose: folder.path for folder in facts.folders}
    assert paths["Settings"] == "~/config"
    assert paths["Demo model"].endswith("/<user>/models")
    assert "alice" not in repr(facts) and "wonderland" not in repr(facts)


def test_versions_are_those_that_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = gather_facts().versions
    assert versions["torch"] == importlib.metadata.version("torch")
    assert versions["PySide6"] == importlib.metadata.version("PySide6-Essentials")
    assert "kernels" not in versions
    version = importlib.metadata.version

    def without_torch(name: str) -> str:
        return version("no-such-distribution" if name == "torch" else name)

    monkeypatch.setattr(importlib.metadata, "version", without_torch)
    assert gather_facts().versions["torch"] == ""


# ---- Qt -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "system", "names"),
    [
        ({}, "linux", ()),
        ({"DISPLAY": ":0"}, "linux", ("xcb",)),
        ({"DISPLAY": ":0", "WAYLAND_DISPLAY": "wayland-0"}, "linux", ("wayland", "xcb")),
        ({"DISPLAY": ":0", "QT_QPA_PLATFORM": "offscreen:size=1x1"}, "linux", ("offscreen",)),
        ({"QT_QPA_PLATFORM": "wayland;xcb"}, "linux", ("wayland", "xcb")),
        ({}, "darwin", ("cocoa",)),
        ({}, "win32", ("windows",)),
    ],
)
def test_the_platforms_that_qt_would_try(environment: dict[str, str], system: str, names: tuple[str, ...]) -> None:
    assert candidates(environment, system) == names


def test_a_plugin_that_does_not_load_says_why(tmp_path: Path) -> None:
    assert not can_load("xcb", [tmp_path])
    assert explain_platform("xcb", [tmp_path]).message == "Qt has no platform 'xcb' here."
    (tmp_path / "libqxcb.so").write_bytes(b"\x7fELF and nothing more")
    assert not can_load("xcb", [tmp_path])
    damaged = explain_platform("xcb", [tmp_path])
    assert "cannot be loaded" in damaged.message and "PySide6" in damaged.hint


def test_a_platform_is_told_by_what_the_plugin_says_and_not_by_its_file(tmp_path: Path) -> None:
    own = next((Path(PySide6.__file__).parent / "Qt" / "plugins" / "platforms").glob("*qoffscreen.*"))
    shutil.copy(own, tmp_path / own.name.replace("offscreen", "other"))
    assert can_load("offscreen", [tmp_path]) and can_load("OffScreen", [tmp_path])
    assert not can_load("other", [tmp_path])
    assert explain_platform("other", [tmp_path]).hint.endswith("name one of these: offscreen.")


@pytest.mark.skipif(sys.platform != "linux", reason="Wayland is Linux's")
def test_a_plugin_may_have_several_platforms() -> None:
    names = ("wayland", "wayland-egl", "Wayland-EGL")  # whether or not this system has all their libraries
    assert not [name for name in names if "Qt has no platform" in explain_platform(name).message]


def test_a_platform_is_looked_for_wherever_qt_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "platforms").mkdir()
    for path in (tmp_path / "libqdirect.so", tmp_path / "platforms" / "libqbelow.so"):
        path.write_bytes(b"\x7fELF and nothing more")
    assert all("Qt has no platform" in explain_platform(name).message for name in ("direct", "below"))
    QCoreApplication.addLibraryPath(str(tmp_path))
    try:
        assert "cannot be loaded" in explain_platform("below").message
    finally:
        QCoreApplication.removeLibraryPath(str(tmp_path))
    monkeypatch.setenv("QT_QPA_PLATFORM_PLUGIN_PATH", str(tmp_path))
    assert "cannot be loaded" in explain_platform("direct").message


def test_the_tests_own_platform_loads() -> None:
    assert os.environ["QT_QPA_PLATFORM"] == "offscreen"
    qt = gather_facts().qt
    assert (qt.names, qt.problem) == (("offscreen",), "")
