"""Systems where the program cannot start normally, each really set up. It says what is wrong and what to do."""

import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import PySide6
import pytest

from tests.process.command_line import PROGRAM, check_refused

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these are Linux's ways of lacking something")

WINDOW = [sys.executable, "-c", "from qplayground.cli import main_window; raise SystemExit(main_window([]))"]
NO_SERVER = ":9797"
CHECK = "from qplayground.runtime.machine.display import check_display; check_display()"
DISPLAYS = dict.fromkeys(("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"), "")
QT = Path(PySide6.__file__).parent
X11_PLUGIN = QT / "Qt" / "plugins" / "platforms" / "libqxcb.so"


def run(command: list[str], **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command with no display except those in `environment`."""
    variables = {**os.environ, **DISPLAYS, **environment}
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=variables, timeout=300)


def changed(script: str, command: list[str], **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in a private mount namespace, after a shell script has changed the mounts."""
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this user may not change mounts")
    done = run(["unshare", "--mount", "bash", "-ec", f'{script}\nexec "$@"', "bash", *command], **environment)
    if "mount: " in done.stderr:
        pytest.skip(f"this system does not mount that: {done.stderr}")
    return done


def without(folder: Path, *names: str) -> str:
    """A script that hides system libraries with whiteouts."""
    found = {path for name in names for place in ("/lib", "/usr/lib", "/usr/lib64") for path in Path(place).rglob(name)}
    places = {path.parent.resolve() for path in found}
    if len(places) != 1:
        pytest.skip(f"{', '.join(names)} do not lie in one folder here")
    (place,) = places
    over = shlex.quote(str(folder))
    whiteouts = "\n".join(f"mknod {over}/upper/{shlex.quote(name)} c 0 0" for name in names)
    return (
        f"mount -t tmpfs tmpfs {over}\nmkdir {over}/upper {over}/work\n{whiteouts}\n"
        f"mount -t overlay overlay -o lowerdir={place},upperdir={over}/upper,workdir={over}/work {place}"
    )


@functools.cache
def missing_before() -> frozenset[str]:
    """What a window on X11 lacks on this system with nothing hidden, according to the dynamic loader."""
    files = [*QT.glob("QtGui.*so"), *QT.glob("QtWidgets.*so"), X11_PLUGIN]
    told = subprocess.run(["ldd", *map(str, files)], capture_output=True, text=True, check=True).stdout
    return frozenset(re.findall(r"(\S+) => not found", told))


def check_named(done: "subprocess.CompletedProcess[str]", *names: str) -> None:
    """Exactly these libraries are reported missing, in order, besides those missing on this system anyway."""
    everything = sorted({*names, *missing_before()})
    check_refused(done, f"Libraries that Qt needs are missing on this system: {', '.join(everything)}.", code=1)


@pytest.fixture
def x11() -> None:
    """Skips unless Qt's X11 plugin can be loaded."""
    if missing_before():
        pytest.skip(f"Qt's X11 plugin lacks {', '.join(sorted(missing_before()))} here")


@pytest.mark.parametrize("command", [PROGRAM, WINDOW], ids=["qplayground", "qplayground-window"])
def test_a_library_of_the_window_is_named_before_qt_aborts(tmp_path: Path, command: list[str]) -> None:
    done = changed(without(tmp_path, "libxcb-cursor.so.0"), command, DISPLAY=NO_SERVER)
    check_named(done, "libxcb-cursor.so.0")
    assert "Or use `qplayground compare`" in done.stderr and " install " in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_libraries_of_several_of_qts_parts_are_named_together(tmp_path: Path) -> None:
    names = ("libEGL.so.1", "libxcb-cursor.so.0", "libxcb-icccm.so.4")
    done = changed(without(tmp_path, *names), PROGRAM, DISPLAY=NO_SERVER)
    check_named(done, *names)


@pytest.mark.exhaustive
def test_what_the_window_lacks_the_command_line_needs_not(tmp_path: Path) -> None:
    done = changed(without(tmp_path, "libEGL.so.1", "libxcb-cursor.so.0"), [*PROGRAM, "models"])
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("demo ")


@pytest.mark.parametrize("arguments", [["models"], ["doctor"], ["compare"]])
def test_a_library_that_everything_needs_is_named(tmp_path: Path, arguments: list[str]) -> None:
    done = changed(without(tmp_path, "libglib-2.0.so.0"), [*PROGRAM, *arguments], DISPLAY=NO_SERVER)
    check_refused(done, "missing on this system: libglib-2.0.so.0.", code=1)
    assert "Or use" not in done.stderr


def test_a_library_that_everything_needs_is_named_with_those_of_the_window(tmp_path: Path) -> None:
    done = changed(without(tmp_path, "libglib-2.0.so.0"), PROGRAM, DISPLAY=NO_SERVER)
    check_named(done, "libglib-2.0.so.0")
    assert "Or use" not in done.stderr


def test_help_needs_no_library_of_the_system(tmp_path: Path) -> None:
    done = changed(without(tmp_path, "libglib-2.0.so.0"), [*PROGRAM, "--help"])
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.usefixtures("x11")
@pytest.mark.parametrize(
    ("environment", "display"),
    [
        ({"DISPLAY": NO_SERVER}, NO_SERVER),
        ({"DISPLAY": "no display"}, "no display"),
        ({"QT_QPA_PLATFORM": "xcb"}, ""),
        ({"QT_QPA_PLATFORM": "XCB;xcb"}, ""),
    ],
)
def test_a_display_that_does_not_answer_is_said(environment: dict[str, str], display: str) -> None:
    done = run(PROGRAM, **environment)
    check_refused(done, f"The display cannot be reached (DISPLAY={display}).", code=1)
    assert "qplayground compare" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_platform_that_qt_has_not_is_said() -> None:
    done = run(PROGRAM, QT_QPA_PLATFORM="no-such")
    check_refused(done, "Qt has no platform 'no-such' here. Unset QT_QPA_PLATFORM", code=1)
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.usefixtures("x11")
@pytest.mark.skipif(shutil.which("xvfb-run") is None, reason="there is no virtual screen")
def test_a_display_that_answers_is_taken() -> None:
    done = run(["xvfb-run", "-a", sys.executable, "-c", f"{CHECK}; print('taken')"])
    assert (done.returncode, done.stdout) == (0, "taken\n"), done.stderr


def test_no_platform_after_the_first_that_works_is_loaded() -> None:
    code = f"{CHECK}; print(open('/proc/self/maps').read())"
    done = run([sys.executable, "-c", code], QT_QPA_PLATFORM="offscreen;minimal")
    assert "libqoffscreen" in done.stdout and "libqminimal" not in done.stdout, done.stderr


def test_ldd_is_asked_only_when_no_platform_works(tmp_path: Path) -> None:
    (tmp_path / "libqdamaged.so").write_bytes(b"\x7fELF and nothing more")
    (tmp_path / "ldd").write_text(f"#!/bin/sh\necho asked >> {shlex.quote(str(tmp_path / 'asked'))}\n")
    (tmp_path / "ldd").chmod(0o755)
    own = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "QT_QPA_PLATFORM_PLUGIN_PATH": str(tmp_path)}
    done = run([sys.executable, "-c", CHECK], QT_QPA_PLATFORM="damaged;offscreen", **own)
    assert done.returncode == 0 and not (tmp_path / "asked").exists(), done.stderr
    done = run([sys.executable, "-c", CHECK], QT_QPA_PLATFORM="damaged;no-such", **own)
    assert "Qt's platform plugin 'damaged' cannot be loaded" in done.stderr
    assert (tmp_path / "asked").read_text() == "asked\n"


def test_a_library_of_the_programs_that_is_missing_is_named() -> None:
    code = "import sys; sys.modules['psutil'] = None; from qplayground.__main__ import main; main()"
    done = run([sys.executable, "-c", code, "models"])
    check_refused(done, "The library psutil is not installed. Install the program with its libraries:", code=1)


def test_what_lies_in_the_working_folder_is_not_imported(tmp_path: Path) -> None:
    """A clone contains a folder with the program's name, and any script can share a library's name."""
    program = Path(sys.executable).with_name("qplayground")
    if not program.exists():
        pytest.skip("the program is not installed here")
    (tmp_path / "qplayground").mkdir()
    (tmp_path / "torch.py").write_text("raise SystemExit('not this one')")
    variables = {**os.environ, **DISPLAYS, "QPLAYGROUND_CACHE": str(tmp_path / "cache")}
    command = [str(program), "doctor", "--json", "-"]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, encoding="utf-8", timeout=300)
    facts = json.loads(done.stdout)["facts"]
    assert facts["engine_error"] is None and facts["checks"], done.stderr


def test_no_folder_for_temporary_files_is_said() -> None:
    closed = (
        "for place in /tmp /var/tmp; do mount --rbind $place $place; mount -o remount,bind,ro $place; done; cd /proc"
    )
    done = changed(closed, [*PROGRAM, "models"], TMPDIR="/nowhere")
    assert "No folder for temporary files can be written to" in done.stderr
    assert "TMPDIR" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("problem", "part"),
    [("ro", "The demo model could not be written."), ("size=2m", "The demo model takes 542 MB and only")],
)
def test_a_home_that_takes_no_model_is_said(tmp_path: Path, problem: str, part: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    own = {"HOME": str(home), "QPLAYGROUND_CONFIG": "", "QPLAYGROUND_CACHE": "", "HF_HOME": "", "HF_HUB_CACHE": ""}
    done = changed(f"mount -t tmpfs -o {problem} tmpfs {shlex.quote(str(home))}", [*PROGRAM, "compare"], **own)
    assert done.returncode == 1, done.stderr
    assert part in done.stderr and "QPLAYGROUND_CACHE" in done.stderr and "Traceback" not in done.stderr
