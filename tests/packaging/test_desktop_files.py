"""The files for a Linux desktop: validators pass, and the icon matches its SVG."""

import fnmatch
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PySide6.QtGui import QImage
from pytestqt.qtbot import QtBot

from qplayground import APPLICATION_ID, __version__
from qplayground.ui.widgets.theme import ICON_SIZES
from tests.packaging.scripts import PACKAGES, ROOT, load_script, skip_without

desktop_files = load_script("desktop_files")
make_icons = load_script("make_icons")

COMPARISON = "application/vnd.qplayground.comparison+json"


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """Everything installed below a prefix."""
    desktop_files.lay_out(tmp_path)
    return tmp_path / "share"


def run(*command: str) -> str:
    """A validator's output. Skips if it is not installed, and fails if it finds a fault."""
    skip_without(command[0])
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_what_the_tests_run_is_installed_before_them() -> None:
    """`.ci/run` lists the tools for a machine with Python and make, so that no test is skipped there."""
    listed = (ROOT / "packaging" / "test-packages.txt").read_text().split()
    assert set(PACKAGES.values()) - {"dpkg", "make"} <= set(listed)
    assert "packaging/test-packages.txt" in (ROOT / ".ci" / "run").read_text()


def test_nothing_is_left_to_be_filled_in(share: Path) -> None:
    texts = [path.read_text("utf-8") for path in share.rglob("*") if path.suffix in (".desktop", ".xml")]
    assert len(texts) == 3
    assert not [text for text in texts if re.search("@[A-Z_]+@", text)]
    assert f'version="{__version__}"' in "".join(texts)


def test_every_file_has_the_name_of_the_application(share: Path) -> None:
    files = [path for path in share.rglob("*") if path.is_file()]
    assert len(files) == 4 + len(ICON_SIZES)
    assert {path.name.removeprefix(APPLICATION_ID) for path in files} == {
        ".desktop",
        ".metainfo.xml",
        ".xml",
        ".svg",
        ".png",
    }


def test_the_desktop_entry_is_valid(share: Path) -> None:
    assert run("desktop-file-validate", *map(str, (share / "applications").iterdir())) == ""


def test_the_metainfo_is_valid(share: Path) -> None:
    run("appstreamcli", "validate", "--no-net", *map(str, (share / "metainfo").iterdir()))


def test_nothing_names_a_homepage_that_nobody_gave(share: Path) -> None:
    [metainfo] = (share / "metainfo").iterdir()
    text = metainfo.read_text("utf-8")
    assert "http" not in text and "<url" not in text and "screenshot" not in text
    assert text.startswith("<?xml version") and text.count("<p>") == 2  # the rest is unchanged


def test_a_homepage_brings_the_screenshots(tmp_path: Path) -> None:
    desktop_files.lay_out(tmp_path, homepage="https://example.org/q?a&b/")
    [metainfo] = (tmp_path / "share" / "metainfo").iterdir()
    root = ElementTree.parse(metainfo).getroot()
    assert root.findtext("url") == "https://example.org/q?a&b"
    pictures = [(image.text or "").removeprefix("https://example.org/q?a&b/") for image in root.iter("image")]
    assert pictures == ["docs/pictures/compare.png", "docs/pictures/inside.png"]
    assert all((ROOT / picture).is_file() for picture in pictures)
    run("appstreamcli", "validate", "--no-net", str(metainfo))


def test_what_is_no_homepage_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "packaging/desktop_files.py", str(tmp_path), "--homepage", "example.org"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 2 and "'example.org' must begin with https://" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "written"),
    [
        ("qplayground", "qplayground"),
        ("/opt/a folder/qplayground", '"/opt/a folder/qplayground"'),
        ("/opt/50%/qplayground", '"/opt/50%%/qplayground"'),
        ("/opt/$HOME/`q`", r'"/opt/\\$HOME/\\`q\\`"'),
        ('/opt/"q"', r'"/opt/\\"q\\""'),
        (r"/opt/a\b", r'"/opt/a\\\\b"'),
    ],
)
def test_a_program_at_any_place_is_started(tmp_path: Path, command: str, written: str) -> None:
    """Desktop entries are decoded twice: as strings with backslashes, then by Exec's quoting rules."""
    desktop_files.lay_out(tmp_path, command)
    [entry] = (tmp_path / "share" / "applications").iterdir()
    lines = entry.read_text("utf-8").splitlines()
    assert f"Exec={written} %F" in lines
    assert "TryExec=" + command.replace("\\", r"\\") in lines
    assert run("desktop-file-validate", str(entry)) == ""


@pytest.mark.parametrize("name", ["mine.qplayground.json", "qplayground-report.json"])
def test_a_comparison_is_known_by_its_name(share: Path, name: str) -> None:
    run("update-mime-database", str(share / "mime"))
    rows = [row.split(":") for row in (share / "mime" / "globs2").read_text().splitlines() if row[0] != "#"]
    assert COMPARISON in [kind for _, kind, pattern in rows if fnmatch.fnmatch(name, pattern)]
    assert not [kind for _, kind, pattern in rows if fnmatch.fnmatch("config.json", pattern)]


@pytest.mark.parametrize("size", ICON_SIZES)
def test_the_icons_are_what_the_svg_shows(qtbot: QtBot, size: int) -> None:
    saved = QImage(str(make_icons.FOLDER / f"{size}.png")).convertToFormat(QImage.Format.Format_ARGB32)
    drawn = make_icons.rendered(size)
    assert saved.size() == drawn.size()
    for x in range(0, size, 3):
        for y in range(0, size, 3):
            assert abs(saved.pixelColor(x, y).lightness() - drawn.pixelColor(x, y).lightness()) < 24, (x, y)
            assert abs(saved.pixelColor(x, y).alpha() - drawn.pixelColor(x, y).alpha()) < 24, (x, y)
            assert abs(saved.pixelColor(x, y).blue() - drawn.pixelColor(x, y).blue()) < 24, (x, y)


def test_icons_for_the_other_systems_hold_every_size() -> None:
    pictures = {16: b"small", 256: b"large"}
    icon = make_icons.ico(pictures)
    assert icon[:6] == b"\0\0\1\0\2\0" and icon.endswith(b"smalllarge")
    assert int.from_bytes(icon[6 + 12 : 6 + 16], "little") == icon.index(b"small")
    block = make_icons.icns(pictures)
    assert block[:4] == b"icns" and int.from_bytes(block[4:8], "big") == len(block)
