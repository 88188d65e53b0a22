"""How a child process comes to be: from a preloaded fork server where that is safe, else spawned."""

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
"""The modules of the engines besides that for transformers, by the engine's name."""
SPAWN_VARIABLE = "QPLAYGROUND_SPAWN"
"""The environment's variable that, set to anything, has engines spawned where they could be forked."""


def _python_path() -> dict[str, str]:
    """Variables by which children import from where this process does, and nothing that lies in the working folder: a
    clone there has the program's own name. A fork server of Python 3.11 goes by them alone when it imports ahead.
    """
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def fork_is_safe() -> bool:
    """Whether engines may be forked: on Linux without an NVIDIA GPU.

    A fork after CUDA was initialised breaks the child, and importing bitsandbytes on a CUDA machine may initialise it.
    """
    return sys.platform == "linux" and not has_nvidia_gpu()


class Launcher:
    """Makes engines and jobs. `target` is the module whose `main(channel)` the engine for transformers runs, `engines`
    those of others by their names; these are spawned.

    With the fork server an engine is there in tens of milliseconds. Without it `warm` makes one spare that imports
    ahead; it is not replaced by itself, since imports would disturb whatever is being timed.
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
        """The process id of the engine that imports ahead of the next one asked for, None where there is none."""
        spare = self._spare
        return None if spare is None else spare.pid

    def warm(self) -> None:
        """Begin importing, without waiting for it. A system that refuses is met again, and told of, by `engine`."""
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
        """Raise KeyError for a kind of engine that there is not."""
        if kind != TRANSFORMERS:
            self._engines[kind]

    def engine(self, kind: str = TRANSFORMERS) -> ChildProcess:
        """An engine of that kind, to enter as a context. It may have been started already. Raises KeyError for a kind
        that there is not.
        """
        if kind != TRANSFORMERS:
            return self.job(self._engines[kind])
        if self._server is not None:
            return self.engine_job(self._target)
        with self._spares:
            spare, self._spare = self._spare, None
        if spare is not None and not spare.is_alive:
            with spare:  # somebody killed it while it waited
                spare = None
        return spare or ChildProcess(self._context, self._target)

    def job(self, target: str) -> ChildProcess:
        """A child that runs module `target` without the engine's libraries preloaded."""
        return ChildProcess(multiprocessing.get_context("spawn"), target)

    def engine_job(self, target: str) -> ChildProcess:
        """A child that runs module `target` with the engine's libraries at hand."""
        ready = None if self._server is None else self._server.ensure_running()
        return ChildProcess(self._context, target, ready)

    def close(self) -> None:
        """End what is there ahead of need. A fork server that is ready ends by itself when this process does."""
        if self._server is not None:
            self._server.close()
        with self._spares:
            spare, self._spare = self._spare, None
        if spare is not None:
            spare.kill()
            with spare:
                pass
