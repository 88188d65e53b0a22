"""Memory seen from outside: a growing child, an ending child, a stopping thread."""

import os
import time
from collections.abc import Iterator

import psutil
import pytest
from PySide6.QtTest import QSignalSpy
from pytestqt.qtbot import QtBot

from qplayground.core.memory.process_memory import MemorySample, ProcessMemory, read_process_memory
from qplayground.core.messages.commands import Cancel
from qplayground.core.messages.events import Progressed
from qplayground.runtime.comparison.sampler import SAMPLES_PER_S, Sampler
from qplayground.runtime.processes.launcher import Launcher
from qplayground.runtime.processes.process import ChildProcess
from tests.process import children
from tests.process.children import MEBIBYTE, asked


class Samples:
    """A running sampler and its samples."""

    def __init__(self) -> None:
        self.sampler = Sampler()
        self.taken: list[tuple[str, MemorySample]] = []
        self.sampler.sampled.connect(lambda key, samples: self.taken.extend((key, sample) for sample in samples))
        self.sampler.start()

    def of(self, key: str) -> list[MemorySample]:
        return [sample for name, sample in self.taken if name == key]

    def largest(self, key: str) -> int:
        return max((sample.memory.resident_bytes for sample in self.of(key)), default=0)


@pytest.fixture
def samples() -> Iterator[Samples]:
    samples = Samples()
    yield samples
    samples.sampler.stop()


@pytest.fixture
def growing() -> Iterator[ChildProcess]:
    """A child that holds 64 MiB more at each command."""
    with Launcher(fork=False).job(children.TARGET) as child:
        child.send(asked("grow"))
        assert isinstance(next(child.events()), Progressed)
        yield child
        child.kill()


def test_a_child_is_seen_to_grow(qtbot: QtBot, samples: Samples, growing: ChildProcess) -> None:
    assert growing.pid is not None
    samples.sampler.watch("fp32", growing.pid)
    qtbot.waitUntil(lambda: len(samples.of("fp32")) >= 2)
    before = samples.largest("fp32")
    growing.send(Cancel(0))  # the channel handles cancels itself, so nothing may grow
    growing.send(asked("more"))
    qtbot.waitUntil(lambda: samples.largest("fp32") >= before + 60 * MEBIBYTE)
    assert samples.largest("fp32") < before + 100 * MEBIBYTE


def test_times_are_monotonic_and_memory_adds_up(qtbot: QtBot, samples: Samples) -> None:
    before = time.monotonic()
    samples.sampler.watch("me", os.getpid())
    qtbot.waitUntil(lambda: len(samples.of("me")) >= 4)
    after = time.monotonic()
    times = [sample.time_s for sample in samples.of("me")]
    assert times == sorted(times)
    assert before <= times[0] <= times[-1] <= after
    assert times[3] - times[0] >= 2 / SAMPLES_PER_S  # at intervals, not as fast as possible
    for sample in samples.of("me"):
        assert sample.memory.resident_bytes == sample.memory.anonymous_bytes + sample.memory.file_bytes > 10 * MEBIBYTE


def test_several_are_told_apart(qtbot: QtBot, samples: Samples, growing: ChildProcess) -> None:
    assert growing.pid is not None
    samples.sampler.watch("me", os.getpid())
    samples.sampler.watch("child", growing.pid)
    qtbot.waitUntil(lambda: len(samples.of("me")) >= 2 and len(samples.of("child")) >= 2)
    assert samples.largest("me") > samples.largest("child") > 0  # this process has Qt


def test_what_is_forgotten_is_not_sampled(qtbot: QtBot, samples: Samples) -> None:
    samples.sampler.watch("one", os.getpid())
    samples.sampler.watch("other", os.getpid())
    qtbot.waitUntil(lambda: len(samples.of("one")) >= 1)
    samples.sampler.forget("one")
    samples.sampler.forget("unheard-of")
    seen = len(samples.of("other"))
    qtbot.waitUntil(lambda: len(samples.of("other")) >= seen + 2)  # the round in progress is over
    last = len(samples.of("one"))
    seen = len(samples.of("other"))
    qtbot.waitUntil(lambda: len(samples.of("other")) >= seen + 3)
    assert len(samples.of("one")) == last


def test_a_child_that_ended_is_forgotten(
    qtbot: QtBot, samples: Samples, growing: ChildProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = growing.pid
    assert pid is not None
    reads: list[int] = []

    def read(process: psutil.Process) -> ProcessMemory:
        reads.append(process.pid)
        return read_process_memory(process)

    monkeypatch.setattr("qplayground.runtime.comparison.sampler.read_process_memory", read)
    samples.sampler.watch("child", pid)
    qtbot.waitUntil(lambda: len(samples.of("child")) >= 1)
    growing.kill()
    with growing:
        pass  # waits for its end
    samples.sampler.watch("me", os.getpid())
    qtbot.waitUntil(lambda: len(samples.of("me")) >= 2)
    last = reads.count(pid)
    qtbot.waitUntil(lambda: len(samples.of("me")) >= 5)
    assert reads.count(pid) == last  # it is not even tried
    assert samples.sampler.isRunning()


def test_a_process_that_is_gone_is_not_watched(qtbot: QtBot, samples: Samples) -> None:
    with Launcher(fork=False).job(children.TARGET) as child:
        pid = child.pid
        child.kill()
    assert pid is not None
    samples.sampler.watch("gone", pid)
    samples.sampler.watch("me", os.getpid())
    qtbot.waitUntil(lambda: len(samples.of("me")) >= 2)
    assert samples.of("gone") == []


@pytest.mark.parametrize("watching", [False, True])
def test_it_stops_promptly(samples: Samples, watching: bool) -> None:
    if watching:
        samples.sampler.watch("me", os.getpid())
    started = time.monotonic()
    samples.sampler.stop()
    assert time.monotonic() - started < 0.5
    assert samples.sampler.isFinished()


def test_a_sampler_that_never_ran_can_be_stopped() -> None:
    sampler = Sampler()
    sampler.stop()
    assert QSignalSpy(sampler.sampled).count() == 0
