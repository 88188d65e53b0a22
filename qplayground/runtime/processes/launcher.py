"""How child processes are made: forked from a preloaded server where that is safe, else spawned."""

import contextlib
import multiprocessing
import os
import sys
import threading
from collections.abc import Mapping
from multiprocessing.context import BaseContext

from qplayground.core.comparison.results import TRANSFORMERS
from qplayground.runtime.machine.gpus import has_nvidia_gpu
from qplayground.runtime.processes.fork_server import ForkServer
from qplayground.runtime.processes.process import ChildProcess

ENGINE_TARGET = "qplayground.engines.transformers.host"
ENGINES: Mapping[str, str] = {}
"""Engine name → module, for engines other than transformers."""
SPAWN_VARIABLE = "QPLAYGROUND_SPAWN"
"""The environment variable that, set to anything, has engines spawned even where they could be forked."""


def _python_path() -> dict[str, str]:
    """Environment variables that give children this process's import path, without the working folder.

    A clone there has the program's own name. Python 3.11's fork server preloads by these variables alone.
    """
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def fork_is_safe() -> bool:
    """Whether engines may be forked: on Linux without an NVIDIA GPU.

    A fork after CUDA was initialised breaks the child, and importing bitsandbytes with CUDA may initialise it.
    """
    return sys.platform == "linux" and not has_nvidia_gpu()


class Launcher:
    """Makes engines and jobs. `target` is the module of the transformers engine, whose `main(channel)` runs.

    `engines` maps the names of other engines to their modules; these are spawned. With the fork server an engine
    starts in tens of milliseconds. Without it, `warm` makes one spare process that imports ahead. A used spare is not
    replaced automatically, because imports would disturb a measurement.
    """

    def __init__(
        self, target: str = ENGINE_TARGET, *, engines: Mapping[str, str] = ENGINES, fork: bool | None = None
    ) -> None:
        os.environ.update(_python_path())
        self._target = target
        self._engines = engines
        forks = fork_is_safe() and not os.environ.get(SPAWN_VARIABLE) if fork is None else fork
        self._context: BaseContext = multiprocessing.get_context("forkserver" if forks else "spawn")
        self._server = ForkServer(self._context, target) if forks else None
        self._spare: ChildProcess | None = None
        self._spares = threading.Lock()

    @property
    def forks(self) -> bool:
        """Whether engines come from a fork server."""
        return self._server is not None

    @property
    def spare_pid(self) -> int | None:
        """Process id of the spare engine, or None."""
        spare = self._spare
        return None if spare is None else spare.pid

    def warm(self) -> None:
        """Start importing, without waiting for it. Ignores OSError; `engine` meets and reports it again."""
        with contextlib.suppress(OSError):
            if self._server is not None:
                self._server.ensure_running()
                return
            with self._spares:
                if self._spare is None:
                    spare = ChildProcess(self._context, self._target)
                    spare.start()
                    self._spare = spare

    def check_kind(self, kind: str) -> None:
        """Raise KeyError for an unknown kind of engine."""
        if kind != TRANSFORMERS:
            self._engines[kind]

    def engine(self, kind: str = TRANSFORMERS) -> ChildProcess:
        """An engine of that kind, to enter as a context. It may have been started already.

        Raises KeyError for an unknown kind.
        """
        if kind != TRANSFORMERS:
            return self.job(self._engines[kind])
        if self._server is not None:
            return self.engine_job(self._target)
        with self._spares:
            spare, self._spare = self._spare, None
        if spare is not None and not spare.is_alive:
            with spare:  # it was killed while it waited
                spare = None
        return spare or ChildProcess(self._context, self._target)

    def job(self, target: str) -> ChildProcess:
        """A child that runs module `target` without the engine's libraries preloaded."""
        return ChildProcess(multiprocessing.get_context("spawn"), target)

    def engine_job(self, target: str) -> ChildProcess:
        """A child that runs module `target` with the engine's libraries preloaded."""
        ready = None if self._server is None else self._server.ensure_running()
        return ChildProcess(self._context, target, ready)

    def close(self) -> None:
        """End the spare, or a fork server that still imports. A ready fork server ends with this process."""
        if self._server is not None:
            self._server.close()
        with self._spares:
            spare, self._spare = self._spare, None
        if spare is not None:
            spare.kill()
            with spare:
                pass
