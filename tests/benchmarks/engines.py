"""How soon an engine takes commands once the fork server is warm, and its memory before any weights."""

import time

import psutil

from qplayground.core.messages.events import Hello
from qplayground.runtime.processes.launcher import Launcher
from tests.benchmarks.figures import Figure, median_of

ROUNDS = 10
_MB = 1_000_000


def measure() -> list[Figure]:
    """Milliseconds from the request to Hello, and private memory (USS) at that moment, in MB."""
    launcher = Launcher()
    launcher.warm()
    _hello(launcher)  # waits until the server has imported everything
    pairs = [_hello(launcher) for _ in range(ROUNDS)]
    launcher.close()
    limits = (50.0, 30.0) if launcher.forks else (None, None)
    return [
        median_of("engine ready after being asked for", [ms for ms, _ in pairs], "ms", at_most=limits[0]),
        median_of("its private memory before any weight", [mb for _, mb in pairs], "MB", at_most=limits[1]),
    ]


def _hello(launcher: Launcher) -> tuple[float, float]:
    started = time.monotonic()
    with launcher.engine() as engine:
        for event in engine.events():
            if isinstance(event, Hello):
                elapsed_ms = 1000 * (time.monotonic() - started)
                return elapsed_ms, psutil.Process(event.pid).memory_full_info().uss / _MB
    raise RuntimeError(f"the engine did not say hello: {engine.outcome}")
