"""The wheel and the source distribution: they contain what the program needs, nothing else, and it starts."""

import email
import email.message
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from qplayground import __version__

ROOT = Path(__file__).parents[2]
NOT_SOURCE = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist")
BIN = "Scripts" if sys.platform == "win32" else "bin"

CLOSES_ITSELF = """
import sys
import qplayground.ui.application as application
from qplayground.cli import main_window

make_window = application.make_window

def close(window):
    assert window.isVisible()
    print(application.__file__)
    window.close()

def make_closing_window(launcher, files):
    window = make_window(launcher, files)
    window.start_up.charts_ready.connect(lambda: close(window))
    return window

application.make_window = make_closing_window
sys.exit(main_window([]))
"""
"""A window that closes once its last library is imported."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with both: a source distribution of a copy of the checkout, and a wheel built from it."""
    base = tmp_path_factory.mktemp("built")
    shutil.copytree(ROOT, base / "source", ignore=NOT_SOURCE)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(base / "dist"), str(base / "source")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return base / "dist"


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return built / f"qplayground-{__version__}-py3-none-any.whl"


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts folder of an environment with the wheel, and with the libraries of the test environment."""
    place = tmp_path_factory.mktemp("elsewhere") / "environment"
    venv.create(place, with_pip=False)
    paths = sysconfig.get_paths(vars={"base": str(place), "platbase": str(place)})
    libraries = {str(importlib.metadata.distribution(name).locate_file("")) for name in ("PySide6-Essentials", "torch")}
    # .pth files inside those folders are not read
    (Path(paths["purelib"]) / "libraries.pth").write_text("\n".join(libraries))
    command = [sys.executable, "-m", "pip", "--python", str(place), "install", "--no-deps", "--no-index", str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return place / BIN


def package_files() -> dict[str, Path]:
    """Every file of the program in the checkout, by its path in a wheel."""
    guide = [ROOT / "docs" / "guide.md", *(ROOT / "docs" / "pictures").iterdir()]
    found = [*(ROOT / "qplayground").rglob("*"), *(ROOT / "resources").rglob("*"), *guide]
    files = [path for path in found if path.is_file() and "__pycache__" not in path.parts]
    inside = {path: path.relative_to(ROOT).as_posix() for path in files}
    return {name if name.startswith("qplayground/") else f"qplayground/{name}": path for path, name in inside.items()}


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        about = f"qplayground-{__version__}.dist-info"
        assert {name for name in names if not name.startswith(f"{about}/")} == set(package_files())
        assert {f"{about}/licenses/LICENSE", f"{about}/entry_points.txt"} <= names
        for name, path in package_files().items():
            assert archive.read(name) == path.read_bytes()


def test_the_source_distribution_can_be_built_and_read(built: Path) -> None:
    top = f"qplayground-{__version__}"
    with tarfile.open(built / f"{top}.tar.gz") as archive:
        names = {name.removeprefix(f"{top}/") for name in archive.getnames() if archive.getmember(name).isfile()}
    kept = {
        path.relative_to(ROOT).as_posix() for folder in ("packaging", "docs") for path in (ROOT / folder).rglob("*")
    }
    kept = {name for name in kept if (ROOT / name).is_file() and not name.endswith(".pyc")}
    sources = {path.relative_to(ROOT).as_posix() for path in package_files().values()}
    assert names >= sources | kept | {"setup.py", "pyproject.toml", "README.md", "LICENSE", "Makefile"}
    assert not [name for name in names if name.startswith("tests") or "__pycache__" in name or "/." in name]


def test_the_metadata_is_complete(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        found = email.message_from_bytes(archive.read(f"qplayground-{__version__}.dist-info/METADATA"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert (found["Name"], found["Version"], found["Summary"]) == ("qplayground", __version__, project["description"])
    assert (found["License-Expression"], found["License-File"]) == ("Apache-2.0", "LICENSE")
    assert found["Author"] and found["Keywords"] and found["Description-Content-Type"] == "text/markdown"
    assert set(found["Requires-Python"].split(",")) == {">=3.11", "<3.14"}
    for minor in (11, 12, 13):
        assert f"Programming Language :: Python :: 3.{minor}" in found.get_all("Classifier", [])
    needed = [line for line in found.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert len(needed) == len(project["dependencies"])
    body = found.get_payload()
    assert isinstance(body, str) and body.startswith("# qplayground\n")


def run(*command: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run it outside the checkout, without settings that would lead there."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    return subprocess.run(
        command, capture_output=True, encoding="utf-8", cwd=cwd, env={**inherited, **environment}, timeout=300
    )


def test_the_command_line_starts_from_there(installed: Path, tmp_path: Path) -> None:
    for name in ("qplayground", "qplayground-window"):
        done = run(str(installed / name), "--version", cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"qplayground {__version__}\n", "")
        done = run(str(installed / name), "--help", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith(f"usage: {name} ")


def test_engines_start_from_there(installed: Path, tmp_path: Path) -> None:
    """`doctor` starts one, and reads files beside the code. Other faults of the machine do not matter here."""
    done = run(str(installed / "qplayground"), "doctor", "--json", "-", cwd=tmp_path)
    facts = json.loads(done.stdout)["facts"]
    assert facts["engine_error"] is None, done.stderr
    assert {check["outcome"] for check in facts["checks"] if check["device"] == "cpu"} == {"works"}


def test_the_window_opens_from_there(installed: Path, tmp_path: Path) -> None:
    python = str(installed / ("python.exe" if sys.platform == "win32" else "python"))
    done = run(python, "-c", CLOSES_ITSELF, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    place = Path(done.stdout.strip())
    assert place.is_relative_to(installed.parent) and place.name == "application.py"
    assert "Traceback" not in done.stderr


def test_the_window_is_not_replaced_by_a_table_where_there_is_no_display(installed: Path, tmp_path: Path) -> None:
    display = dict.fromkeys(("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"), "")
    done = run(str(installed / "qplayground-window"), cwd=tmp_path, **display)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("qplayground: There is no display here") and "qplayground compare" in done.stderr
    assert not list(tmp_path.glob("qplayground-report.*"))
