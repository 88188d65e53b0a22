"""Samples the engines' memory from outside, because a busy engine could not report it."""

import threading
import time

import psutil
from PySide6.QtCore import QObject, QThread, Signal

from qplayground.core.memory.process_memory import MemorySample, read_process_memory
from qplayground.runtime.machine.gpus import vram_reader

SAMPLES_PER_S = 20
REPORTED_TOGETHER = 5  # each report wakes the window, which takes CPU time from the measured engine


class Sampler(QThread):
    """Reads the memory of every watched process 20 times a second. Sleeps while nothing is watched.

    Signal: `sampled(key, list[MemorySample])`: a few samples at a time, in order. `key` is the one given to `watch`.
    """

    sampled = Signal(str, object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._watched: dict[str, psutil.Process] = {}
        self._unreported: dict[str, list[MemorySample]] = {}
        self._changed = threading.Condition()
        self._stopping = False

    def watch(self, key: str, pid: int) -> None:
        """Start sampling a process. One that has ended is ignored."""
        try:
            process = psutil.Process(pid)
        except psutil.NoSuchProcess:
            return
        with self._changed:
            self._watched[key] = process
            self._changed.notify()

    def forget(self, key: str) -> None:
        """Stop sampling the process."""
        with self._changed:
            self._watched.pop(key, None)

    def _forget_process(self, key: str, process: psutil.Process) -> None:
        """Forget only that process: its key may be another's by now."""
        with self._changed:
            if self._watched.get(key) is process:
                del self._watched[key]

    def stop(self) -> None:
        """Stop the thread and wait for it."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self.wait()

    def run(self) -> None:
        """Sample until stopped, at even intervals."""
        with vram_reader() as vram_of:
            while self._wait_for_work():
                with self._changed:
                    watched = list(self._watched.items())
                for key, process in watched:
                    try:
                        memory = read_process_memory(process)
                    except psutil.Error:
                        self._forget_process(key, process)
                        continue
                    sample = MemorySample(time.monotonic(), memory, vram_of(process.pid))
                    self._unreported.setdefault(key, []).append(sample)
                self._report()

    def _report(self) -> None:
        """Emit full batches, and the last samples of processes that are no longer watched."""
        for key, samples in list(self._unreported.items()):
            if len(samples) >= REPORTED_TOGETHER or key not in self._watched:
                self.sampled.emit(key, self._unreported.pop(key))

    def _wait_for_work(self) -> bool:
        with self._changed:
            if self._watched:
                self._changed.wait(1 / SAMPLES_PER_S)
            while not self._watched and not self._unreported and not self._stopping:
                self._changed.wait()
            return not self._stopping
