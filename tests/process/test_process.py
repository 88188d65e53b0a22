"""A child process from start to end, by fork server and by spawn."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import pytest
from pytestqt.qtbot import QtBot

from qplayground.core.errors import ErrorCode
from qplayground.core.messages.commands import Cancel
from qplayground.core.messages.events import Event, Failed, JobDone, Progressed
from qplayground.runtime.processes import process as process_module
from qplayground.runtime.processes.launcher import SPAWN_VARIABLE, Launcher, fork_is_safe
from qplayground.runtime.processes.process import EXIT_GRACE_S, LOG_LIMIT_BYTES, LOG_TAIL_BYTES, ChildProcess
from qplayground.runtime.processes.worker import ChildWorker
from qplayground.runtime.storage.leftovers import clear_leftovers
from tests.process import children
from tests.process.children import asked
from tests.waiting import wait_until

MakeChild = Callable[[], ChildProcess]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and fork servers as Linux has them")


@pytest.fixture(params=["fork", "spawn"], scope="module")
def make_child(request: pytest.FixtureRequest) -> MakeChild:
    launcher = Launcher(children.TARGET, fork=request.param == "fork")
    with launcher.engine_job(children.TARGET) as first:  # from now on the fork server answers at once
        first.kill()
    return lambda: launcher.engine_job(children.TARGET)


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the children's logs during this test."""
    folder = tmp_path / "logs"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def live(make_child: MakeChild, behaviour: str, argument: str = "") -> tuple[ChildProcess, list[Event]]:
    """A child with that behaviour that has ended, and all its events."""
    child = make_child()
    with child:
        assert child.send(asked(behaviour, argument))
        events = list(child.events())
    return child, events


def is_gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("spawn", ["", "1"])
def test_engines_are_spawned_where_that_is_asked_for(spawn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SPAWN_VARIABLE, spawn)
    assert Launcher(children.TARGET).forks == (fork_is_safe() and not spawn)
    assert Launcher(children.TARGET, fork=True).forks


# ---- how children end ---------------------------------------------------------------------------------------------


def test_a_child_that_completes_is_heard_to_the_end(make_child: MakeChild) -> None:
    child, events = live(make_child, "complete")
    assert events[:-1] == [Progressed(1, "Working", step, 3, "steps") for step in range(3)]
    assert events[-1] == JobDone(1, children.ENTRY)
    assert child.outcome is not None
    assert (child.outcome.exit_code, child.outcome.requested) == (0, False)


def test_many_events_arrive_complete_and_in_order(make_child: MakeChild) -> None:
    _, events = live(make_child, "only-progress", "5000")
    assert [event.done for event in events if isinstance(event, Progressed)] == list(range(5000))


def test_a_child_that_fails_says_why(make_child: MakeChild) -> None:
    _, events = live(make_child, "fail")
    assert events[-1] == Failed(1, children.FAILURE)


def test_an_exit_code_is_an_error_with_the_output(make_child: MakeChild) -> None:
    child, events = live(make_child, "exit", "3")
    assert len(events) == 1
    assert child.outcome is not None
    assert child.outcome.exit_code == 3
    error = child.outcome.error
    assert error is not None
    assert error.code is ErrorCode.ENGINE_DIED
    assert "exit code 3" in error.message
    assert error.detail == "about to exit"


def test_an_exception_is_an_error_with_its_traceback(make_child: MakeChild) -> None:
    child, _ = live(make_child, "raise")
    assert child.outcome is not None
    assert child.outcome.exit_code == 1
    assert child.outcome.error is not None
    assert child.outcome.error.detail.endswith("ValueError: scripted")


def test_a_crash_in_native_code_names_the_signal(make_child: MakeChild) -> None:
    child, _ = live(make_child, "crash")
    assert child.outcome is not None
    assert child.outcome.exit_code == -signal.SIGSEGV
    assert child.outcome.error is not None
    assert child.outcome.error.code is ErrorCode.ENGINE_DIED
    assert "(signal 11, SIGSEGV)" in child.outcome.error.message


def test_a_kill_from_outside_is_taken_for_the_systems(make_child: MakeChild) -> None:
    child = make_child()
    with child:
        child.send(asked("hang"))
        for _ in child.events():
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
    assert child.outcome is not None
    assert (child.outcome.exit_code, child.outcome.requested) == (-signal.SIGKILL, False)
    assert child.outcome.error is not None
    assert child.outcome.error.code is ErrorCode.OUT_OF_MEMORY


def test_nonsense_ends_the_conversation_and_the_child(make_child: MakeChild) -> None:
    child, events = live(make_child, "talk-nonsense")
    assert events == [Progressed(1, "sense", 1, 1, "steps")]
    assert child.outcome is not None
    assert child.outcome.error is not None
    assert child.outcome.error.code is ErrorCode.INTERNAL


def test_a_child_ends_when_its_parent_lets_go(make_child: MakeChild) -> None:
    child = make_child()
    with child:
        child.send(asked("hang"))
        next(child.events())
        pid = child.pid
    assert pid is not None
    assert is_gone(pid)
    assert child.outcome is not None
    assert (child.outcome.exit_code, child.outcome.requested) == (0, True)  # it ended by itself, on request
    assert child.outcome.error is None


@pytest.mark.parametrize("behaviour", ["freeze", "close-and-hang"])
def test_a_child_that_does_not_end_is_killed_within_the_grace(make_child: MakeChild, behaviour: str) -> None:
    child = make_child()
    with child:
        child.send(asked(behaviour))
        if behaviour == "freeze":
            next(child.events())
        else:
            assert list(child.events()) == []
        pid = child.pid
        wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
        leaving = time.monotonic()
    took = time.monotonic() - leaving
    assert pid is not None
    assert is_gone(pid)
    assert EXIT_GRACE_S <= took < EXIT_GRACE_S + 1
    assert child.outcome is not None
    assert (child.outcome.exit_code, child.outcome.requested) == (-signal.SIGKILL, True)
    assert child.outcome.error is None


def test_it_knows_its_pid_only_while_there_is_a_process(make_child: MakeChild) -> None:
    child = make_child()
    assert child.pid is None
    with child:
        assert child.pid in {process.pid for process in psutil.Process().children(recursive=True)}
        child.kill()
    assert child.pid is None


# ---- killing ------------------------------------------------------------------------------------------------------


def test_killed_before_the_start(make_child: MakeChild) -> None:
    child = make_child()
    child.kill()
    with child:
        assert list(child.events()) == []
    assert child.outcome is not None
    assert child.outcome.requested
    assert child.outcome.error is None


def test_killed_between_start_and_use(make_child: MakeChild) -> None:
    child = make_child()
    child.start()
    child.kill()
    with child:
        assert list(child.events()) == []
    assert child.outcome is not None
    assert child.outcome.requested


def test_killed_while_starting(make_child: MakeChild, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kill comes when the process exists, but the child does not know it yet."""
    child = make_child()
    pids: list[int] = []
    start = BaseProcess.start

    def start_slowly(process: BaseProcess) -> None:
        start(process)
        assert process.pid is not None
        pids.append(process.pid)
        child.kill()

    monkeypatch.setattr(BaseProcess, "start", start_slowly)
    with child:
        assert list(child.events()) == []
    assert child.outcome is not None
    assert child.outcome.requested
    wait_until(lambda: is_gone(pids[0]))


def test_killed_from_another_thread_while_it_is_listened_to(make_child: MakeChild) -> None:
    child = make_child()
    with child:
        child.send(asked("freeze"))
        events = child.events()
        next(events)
        pid = child.pid
        wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
        killer = threading.Timer(0, child.kill)
        killer.start()
        started = time.monotonic()
        assert list(events) == []
        assert time.monotonic() - started < 1
        killer.join()
    assert child.outcome is not None
    assert (child.outcome.exit_code, child.outcome.requested) == (-signal.SIGKILL, True)


def test_a_burial_waits_for_a_kill_in_work(make_child: MakeChild, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process must not be closed while another thread is killing it."""
    child = make_child()
    close, steps = BaseProcess.close, []
    begun, closed = threading.Event(), threading.Event()

    def kill_slowly(process: BaseProcess) -> None:
        begun.set()
        closed.wait(0.2)
        steps.append("killed")

    def note_close(process: BaseProcess) -> None:
        close(process)
        steps.append("closed")
        closed.set()

    monkeypatch.setattr(BaseProcess, "kill", kill_slowly)
    monkeypatch.setattr(BaseProcess, "close", note_close)
    killer = threading.Thread(target=child.kill)
    with child:
        child.send(asked("complete"))
        list(child.events())
        killer.start()
        assert begun.wait(5)
    killer.join()
    assert steps == ["killed", "closed"]


def test_neither_a_child_nor_its_fork_server_hears_ctrl_c(make_child: MakeChild) -> None:
    with make_child() as child:
        assert child.pid is not None
        family = [child.pid]
        parent = psutil.Process(child.pid).ppid()
        if parent != os.getpid():
            family.append(parent)
        for pid in family:
            (blocked,) = re.findall(r"SigBlk:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
            assert int(blocked, 16) & 1 << (signal.SIGINT - 1)
        child.kill()


def test_a_fork_server_that_python_starts_anew_does_not_hear_ctrl_c_either() -> None:
    """The server is killed before its first request. Runs in a separate interpreter: a process has one fork server."""
    code = """
import multiprocessing, os, re, signal
from pathlib import Path
from types import SimpleNamespace
import psutil
from qplayground.runtime.processes.fork_server import ForkServer

def server():
    return next(child for child in psutil.Process().children() if "forkserver" in " ".join(child.cmdline()))

def killed_first(**arguments):
    process = server()
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # Python waits for it too
    return context.Process(**arguments)

context = multiprocessing.get_context("forkserver")
seam = SimpleNamespace(set_forkserver_preload=context.set_forkserver_preload, Process=killed_first)
ForkServer(seam, "tests.process.children").ensure_running().result(30)
print(re.search(r"SigBlk:\\s*(\\w+)", Path(f"/proc/{server().pid}/status").read_text())[1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout, 16) & 1 << (signal.SIGINT - 1)


def test_after_a_fork_server_that_was_ended_another_one_serves() -> None:
    """Runs in a separate interpreter: a process has one fork server."""
    code = """
from qplayground.runtime.processes.launcher import Launcher
from tests.process.children import TARGET, asked

def serve():
    with Launcher("tests.process.large_import", fork=True).engine_job(TARGET) as child:
        child.send(asked("complete"))
        print(len(list(child.events())))

serve()
ended = Launcher("tests.process.large_import", fork=True)
ended.warm()
ended.close()  # before it knows that the server is ready
serve()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["4", "4"]


def test_killing_twice_and_after_the_end_does_nothing(make_child: MakeChild) -> None:
    child, _ = live(make_child, "complete")
    outcome = child.outcome
    child.kill()
    child.kill()
    assert child.outcome is outcome


def test_a_fork_server_that_still_imports_keeps_nobody_waiting() -> None:
    """A stop during the first seconds. Runs in a separate interpreter, because a process has one fork server."""
    code = """
import threading, time
from qplayground.runtime.processes.launcher import Launcher

launcher = Launcher("tests.process.slow_import", fork=True)
launcher.warm()
child = launcher.engine()
threading.Timer(0.2, child.kill).start()
started = time.monotonic()
with child:
    assert list(child.events()) == []
assert child.outcome.requested
launcher.close()
print(time.monotonic() - started)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1


def test_a_fork_server_that_still_imports_goes_with_its_parent() -> None:
    code = """
import psutil, signal
from qplayground.runtime.processes.launcher import Launcher

Launcher("tests.process.slow_import", fork=True).warm()
print(*(child.pid for child in psutil.Process().children()), flush=True)
signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        family = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert family
    wait_until(lambda: all(is_gone(pid) for pid in family), 2)


# ---- commands -----------------------------------------------------------------------------------------------------


def test_a_command_to_nobody_is_refused(make_child: MakeChild) -> None:
    child = make_child()
    assert not child.send(Cancel(1))
    with child:
        child.send(asked("complete"))
        list(child.events())
        wait_until(lambda: not child.send(Cancel(1)))
    assert not child.send(Cancel(1))


def test_a_system_that_starts_nothing_is_an_os_error(
    make_child: MakeChild, monkeypatch: pytest.MonkeyPatch, logs: Path
) -> None:
    child = make_child()

    def refuse(process: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(BaseProcess, "start", refuse)
    with pytest.raises(OSError, match="temporarily unavailable"), child:
        pass
    assert list(logs.iterdir()) == []


def test_a_fork_server_that_is_gone_is_an_error(make_child: MakeChild, monkeypatch: pytest.MonkeyPatch) -> None:
    child = make_child()

    def end_of_file(process: object) -> None:
        raise EOFError("unexpected EOF")

    monkeypatch.setattr(BaseProcess, "start", end_of_file)
    with pytest.raises(EOFError), child:
        pass


def log_size(child: ChildProcess) -> int:
    """The size of the file for its standard output, which no longer has a name."""
    return Path(f"/proc/{child.pid}/fd/1").stat().st_size


# ---- the log ------------------------------------------------------------------------------------------------------


def test_a_flood_is_cut_and_its_end_kept(make_child: MakeChild, logs: Path) -> None:
    child = make_child()
    sizes = []
    with child:
        child.send(asked("flood", "5"))
        for _ in child.events():
            sizes.append(log_size(child))
            child.send(asked("go on"))
    assert len(sizes) == 5
    assert max(sizes) <= LOG_LIMIT_BYTES
    assert child.outcome is not None
    tail = child.outcome.output_tail
    assert len(tail.encode()) <= LOG_TAIL_BYTES
    assert tail.endswith("the last line")
    assert "flood 00004" in tail
    assert list(logs.iterdir()) == []


def test_a_flood_of_a_child_that_says_nothing_is_cut_too(make_child: MakeChild, logs: Path) -> None:
    _, events = live(make_child, "flood-in-silence")
    assert [event.label for event in events if isinstance(event, Progressed)] == ["cut"]


@pytest.mark.parametrize("behaviour", ["complete", "crash", "talk-nonsense"])
def test_the_log_is_removed(make_child: MakeChild, logs: Path, behaviour: str) -> None:
    child = make_child()
    with child:
        child.send(asked(behaviour))
        for _ in child.events():
            assert sys.platform == "win32" or list(logs.iterdir()) == []  # open, but without a name
    assert list(logs.iterdir()) == []


def test_what_is_said_just_before_the_end_is_heard(make_child: MakeChild, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a process can be noticed before its last messages."""

    def see_only_the_end(objects: list[Any], timeout: float | None = None) -> list[Any]:
        return connection.wait(objects[1:])  # the second object is the process

    monkeypatch.setattr(process_module, "wait", see_only_the_end)
    _, events = live(make_child, "complete")
    assert events[-1] == JobDone(1, children.ENTRY)


# ---- the parent's death -------------------------------------------------------------------------------------------

PARENT = """
import sys
from qplayground.runtime.processes.launcher import Launcher
from tests.process.children import TARGET, asked

launcher = Launcher(TARGET, fork=sys.argv[1] == "fork")
engines = [launcher.engine_job(TARGET) for _ in sys.argv[2:]]
for engine, path in zip(engines, sys.argv[2:]):
    engine.__enter__()
    engine.send(asked("write-pid", path))
print("started", flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["fork", "spawn"])
def parent(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple["subprocess.Popen[str]", list[Path]]]:
    """A program with two engines, and the files with their process ids."""
    files = [tmp_path / name for name in ("one", "two")]
    command = [sys.executable, "-c", PARENT, request.param, *map(str, files)]
    there = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=there) as running:
        yield running, files
        running.kill()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_engines_die_with_the_window_however_it_dies(
    parent: tuple["subprocess.Popen[str]", list[Path]], how: signal.Signals
) -> None:
    running, files = parent
    wait_until(lambda: all(file.exists() for file in files), 20)
    pids = [int(file.read_text()) for file in files]
    family = psutil.Process(running.pid).children(recursive=True)
    assert set(pids) <= {process.pid for process in family}
    running.send_signal(how)
    running.wait()
    died = time.monotonic()
    wait_until(lambda: all(is_gone(pid) for pid in pids), 2)
    assert time.monotonic() - died < 2
    wait_until(lambda: all(is_gone(process.pid) for process in family), 2)  # including the fork server
    assert sys.platform == "win32" or list(files[0].parent.glob("*.log")) == []


def test_engines_start_where_the_name_of_the_temporary_folder_is_too_long_for_a_socket(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    command = [sys.executable, "-c", PARENT, "fork", str(tmp_path / "pid")]
    there = {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=there) as running:
        wait_until((tmp_path / "pid").exists, 20)
        running.kill()


# ---- what a killed program leaves behind ----------------------------------------------------------------------------

KILLED = """
import os, sys
from multiprocessing.process import BaseProcess
from qplayground.runtime.processes.launcher import Launcher
from tests.process.children import TARGET

BaseProcess.start = lambda process: os.kill(os.getpid(), 9)
launcher = Launcher(TARGET, fork=sys.argv[1] == "fork")
if sys.argv[1] == "fork":
    launcher.warm()
    os.kill(os.getpid(), 9)
launcher.job(TARGET).start()
"""


@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_what_a_killed_program_left_is_cleared_up_by_the_next(
    qtbot: QtBot, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The log of a child that had not started, and the folder of a fork server's socket."""
    folder = tmp_path_factory.mktemp("t")  # a short name, because socket paths are limited
    command = [sys.executable, "-c", KILLED, way]
    done = subprocess.run(command, env={**os.environ, "TMPDIR": str(folder)}, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = folder.iterdir()
    assert left.is_dir() is (way == "fork")
    (folder / "somebody else's").touch()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    clear_leftovers.cache_clear()
    launcher = Launcher(children.TARGET, fork=False)
    worker = ChildWorker("first", lambda: launcher.job(children.TARGET), first_command=asked("complete"))
    with qtbot.waitSignal(worker.finished, timeout=20_000):
        worker.start()
    assert clear_leftovers.cache_info().currsize == 1
    clear_leftovers().join()
    assert [path.name for path in folder.iterdir()] == ["somebody else's"]


@pytest.mark.skipif(not fork_is_safe(), reason="engines are not forked here")
def test_a_start_outlives_its_fork_server() -> None:
    """The fork server is killed when it should fork, and another one takes its place."""
    launcher = Launcher(children.TARGET, fork=True)
    with launcher.engine_job(children.TARGET) as first:
        assert first.pid is not None
        server = psutil.Process(first.pid).parent()
        first.kill()
    assert server is not None
    server.suspend()
    child = launcher.engine_job(children.TARGET)
    starting = threading.Thread(target=child.start)
    starting.start()
    server.kill()
    starting.join(30)
    with child:
        assert child.pid is not None and psutil.Process(child.pid).parent() != server
        child.send(asked("complete"))
        assert any(isinstance(event, JobDone) for event in child.events())
