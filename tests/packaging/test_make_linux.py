"""What is made of a frozen folder on Linux, and that missing tools are reported before anything is built."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qplayground import APPLICATION_ID, __version__
from tests.packaging.scripts import ROOT, skip_without

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="makes packages for Linux")
SCRIPT = ROOT / "packaging" / "make_linux.sh"


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> "subprocess.CompletedProcess[str]":
    inherited = {name: value for name, value in os.environ.items() if name not in ("HOMEPAGE", "LEVEL", "MAKEFLAGS")}
    environment = {**inherited, "PYTHON": sys.executable, **environment}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, encoding="utf-8", errors="replace", timeout=120
    )


@pytest.fixture
def frozen(tmp_path: Path) -> Path:
    """A folder with a program that prints its name, in place of PyInstaller's."""
    skip_without("dpkg-deb")
    skip_without("zstd")
    folder = tmp_path / "dist" / "qplayground"
    folder.mkdir(parents=True)
    (folder / "qplayground").write_text("#!/bin/sh\necho frozen\n")
    (folder / "qplayground").chmod(0o755)
    return folder


def test_a_package_an_appdir_and_an_archive_are_made(frozen: Path) -> None:
    done = run(SCRIPT, frozen, LEVEL="1")
    assert done.returncode == 0, done.stderr
    dist = frozen.parent
    [deb] = dist.glob("qplayground_*.deb")
    assert run("dpkg-deb", "--field", deb, "Version").stdout == f"{__version__}\n"
    assert run("dpkg-deb", "--field", deb, "Homepage").stdout.strip() == ""
    inside = run("dpkg-deb", "--contents", deb).stdout
    assert "./opt/qplayground/qplayground\n" in inside
    assert "./usr/bin/qplayground -> /opt/qplayground/qplayground\n" in inside
    assert f"./usr/share/applications/{APPLICATION_ID}.desktop\n" in inside
    app = dist / "QPlayground.AppDir"
    assert run(app / "AppRun").stdout == "frozen\n"
    assert (app / f"{APPLICATION_ID}.desktop").is_file() and (app / ".DirIcon").is_file()
    [archive] = dist.glob("*.tar.zst")
    assert "qplayground/qplayground\n" in run("tar", "--zstd", "-tf", archive).stdout
    assert {path.name for path in dist.iterdir()} == {"qplayground", app.name, deb.name, archive.name}


def test_a_homepage_is_named_everywhere(frozen: Path) -> None:
    done = run(SCRIPT, frozen, LEVEL="none", HOMEPAGE="https://example.org/q")
    assert done.returncode == 0, done.stderr
    [deb] = frozen.parent.glob("qplayground_*.deb")
    assert run("dpkg-deb", "--field", deb, "Homepage").stdout == "https://example.org/q\n"
    run("dpkg-deb", "--extract", deb, frozen.parent / "unpacked")
    for prefix in ("unpacked/usr", "QPlayground.AppDir/usr"):
        [metainfo] = (frozen.parent / prefix / "share" / "metainfo").iterdir()
        assert "https://example.org/q/docs/pictures/compare.png" in metainfo.read_text("utf-8")


@pytest.mark.parametrize("present", ["zstd", "dpkg dpkg-deb"])
def test_tools_that_are_missing_are_named(tmp_path: Path, present: str) -> None:
    for tool in ("bash", "dirname", *present.split()):
        (tmp_path / tool).symlink_to(shutil.which(tool) or "/bin/true")
    done = run(SCRIPT, "--check", PATH=str(tmp_path))
    missing = " ".join(tool for tool in ("dpkg", "dpkg-deb", "zstd") if tool not in present.split())
    assert done.returncode == 1
    assert f"cannot be made without {missing}: install the packages dpkg and zstd." in done.stderr


def test_a_homepage_that_is_none_is_refused_before_the_build(frozen: Path) -> None:
    assert run(SCRIPT, "--check").returncode == 0
    done = run(SCRIPT, "--check", HOMEPAGE="example.org")
    assert done.returncode == 2 and "must begin with https://" in done.stderr


@pytest.mark.parametrize("ready", [True, False])
def test_make_asks_for_the_tools_first_and_leaves_one_package(tmp_path: Path, ready: bool) -> None:
    """With a Python that only prints its arguments, and a script that fails like a missing tool."""
    skip_without("make")
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("packaging", ".venv-package/bin", "dist"):
        (tmp_path / name).mkdir(parents=True)
    for name in (
        "pyproject.toml",
        "packaging/constraints.txt",
        ".venv-package/.ready",
        "dist/qplayground_0.0.1_all.deb",
    ):
        (tmp_path / name).touch()
    scripts = {
        ".venv-package/bin/python": "#!/bin/sh\necho build\n",
        "packaging/make_linux.sh": f"#!/bin/sh\necho $1\n{'true' if ready else 'false'}\n",
    }
    for name, text in scripts.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    done = run("make", "--silent", "package", cwd=tmp_path)
    printed = done.stdout.splitlines()
    assert printed == (["--check", *["build"] * 3, "dist/qplayground"] if ready else ["--check"]), done.stderr
    assert (done.returncode == 0) == ready
    assert [path.name for path in (tmp_path / "dist").iterdir()] == ([] if ready else ["qplayground_0.0.1_all.deb"])
