"""A killed window: its engines end too, no file is half-written, and everything finished is kept."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import psutil
import pytest

from qplayground.core.comparison.results import RunState
from qplayground.runtime.storage.history import History, history_path
from qplayground.runtime.storage.preferences import Preferences, preferences_path
from tests.daily import daily
from tests.unit.catalog_files import write_model
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="process groups and signals as Linux has them")

GONE_WITHIN_S = 2.0
ROOT = Path(__file__).parents[2]


@contextmanager
def busy_window(tmp_path: Path, int8: str, **screen: str) -> Iterator["subprocess.Popen[str]"]:
    """A comparing window in a separate process that prints its progress. `screen`: variables for a display."""
    folder = write_model(tmp_path / "a model")
    command = [sys.executable, "-m", "tests.faults.busy_window", str(folder), int8]
    with (
        # A separate folder, because killed processes leave files. Not in tmp_path, where a socket's path can be too
        # long.
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary,
        subprocess.Popen(
            command,
            env={**os.environ, "TMPDIR": temporary, **screen},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        ) as running,
    ):
        try:
            yield running
        finally:
            running.kill()


@contextmanager
def x_server() -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """A server with an invisible screen, and its DISPLAY."""
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x720x24", "-nolisten", "tcp", "-noreset"]
    with subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL) as server:
        os.close(write)
        try:
            with os.fdopen(read) as answer:
                yield server, f":{answer.readline().strip()}"
        finally:
            server.kill()


def wait_for(window: "subprocess.Popen[str]", *lines: str) -> None:
    assert window.stdout is not None
    awaited = set(lines)
    for said in window.stdout:
        awaited.discard(said.strip())
        if not awaited:
            return
    pytest.fail(f"the window ended before it said {awaited}")


def is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("how", daily([signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGINT], signal.SIGKILL))
@pytest.mark.parametrize(
    ("int8", "when"),
    [
        ("hang-loading", "int8 quantize 1"),
        ("slow", "int8 decode 1"),
        ("ignore-cancel", "int8 decode 1"),
        ("hang-scoring", "int8 score 1"),
    ],
)
def test_a_killed_window_takes_its_engines_along_and_loses_nothing(
    tmp_path: Path, int8: str, when: str, how: signal.Signals
) -> None:
    with busy_window(tmp_path, int8) as window:
        wait_for(window, "kept 2", when)
        check_its_end(window, lambda: window.send_signal(how))
    check_what_is_kept()


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="needs an X server that may be killed")
@pytest.mark.parametrize(("int8", "when"), [("hang-loading", "int8 quantize 1"), ("slow", "int8 decode 1")])
def test_a_window_whose_screen_goes_takes_its_engines_along_and_loses_nothing(
    tmp_path: Path, int8: str, when: str
) -> None:
    """Qt ends the program from within while its threads work. It may abort, and nothing here can prevent that."""
    with (
        x_server() as (server, display),
        busy_window(tmp_path, int8, DISPLAY=display, QT_QPA_PLATFORM="xcb") as window,
    ):
        wait_for(window, "kept 2", when)
        check_its_end(window, server.kill)
        assert window.returncode != 0
    check_what_is_kept()


def test_two_windows_that_are_killed_lose_nothing_of_each_other(tmp_path: Path) -> None:
    """Both share one history, one preferences file and one cache."""
    with busy_window(tmp_path, "slow") as one, busy_window(tmp_path, "slow") as other:
        for window in (one, other):
            wait_for(window, "int8 decode 1")
        history = History()
        wait_until(lambda: sum(len(history.load(entry.id).runs) > 1 for entry in history.entries()) == 4, seconds=20)
        history.close()
        for window in (one, other):
            check_its_end(window, window.kill)
    check_what_is_kept(windows=2)


def check_its_end(window: "subprocess.Popen[str]", end: Callable[[], None]) -> None:
    family = psutil.Process(window.pid).children(recursive=True)
    assert family
    end()
    deadline = time.monotonic() + GONE_WITHIN_S
    window.wait(GONE_WITHIN_S)
    while not all(is_gone(process) for process in family):
        assert time.monotonic() < deadline, [process for process in family if not is_gone(process)]


def check_what_is_kept(windows: int = 1) -> None:
    with closing(sqlite3.connect(history_path())) as file, file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    history = History()
    entries = history.entries()
    assert not history.notice and not history.problem and len(entries) >= 2
    whole = [entry for entry in entries if entry.prompt.endswith("number-0")]
    assert len(whole) == windows
    for run in (run for entry in whole for run in history.load(entry.id).runs):
        assert run.state is RunState.DONE and len(run.token_ids) == 50
    cut = [history.load(entry.id) for entry in entries if entry.prompt.endswith("number-1")]
    assert len(cut) == windows
    for comparison in cut:
        states = {run.id: run.state for run in comparison.runs}
        assert states["fp32"] is RunState.DONE and set(states.values()) <= {RunState.DONE, RunState.CANCELLED}
    history.close()
    kept = msgspec.json.decode(preferences_path().read_bytes())
    assert kept["last_request"]["prompt"].startswith("Once")
    assert not Preferences.load().notice
    leftovers = [path.name for path in preferences_path().parent.iterdir() if path.name.startswith("preferences.json.")]
    assert leftovers == []
