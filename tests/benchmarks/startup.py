"""How soon the window can be used, against the time to import torch and transformers.

`python -m tests.benchmarks.startup PROGRAM` measures only that executable, such as the frozen one.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence

from tests.benchmarks.display import display
from tests.benchmarks.figures import Figure, median_of, table

ROUNDS = 7
_IMPORT = "import torch, transformers"
_SAID = re.compile(r"painted and answers, after ([\d.]+) s of processor time")
_PROGRAM = (sys.executable, "-m", "qplayground")
_OPEN_S, _END_S = 120, 60
"""A program that takes longer is considered hung."""


def measure() -> list[Figure]:
    """Seconds from process start until a painted window answers, alternating with the import."""
    windows, imports = [], []
    with display() as screen, tempfile.TemporaryDirectory() as config:
        environment = {**os.environ, **screen, "QPLAYGROUND_CONFIG": config}
        for round_number in range(ROUNDS + 1):
            window, _ = _open_window(_PROGRAM, environment)
            torch = _import_seconds()
            if round_number:  # the first round warms the page cache
                windows.append(window)
                imports.append(torch)
    ratios = [window / torch for window, torch in zip(windows, imports, strict=True)]
    return [
        median_of("window painted and answering", windows, "s", at_most=1.0),
        median_of(_IMPORT, imports, "s"),
        median_of("window / import", ratios, "", at_most=0.4),
    ]


def measure_program(program: Sequence[str], *, rounds: int, at_most_s: float) -> list[Figure]:
    """The same for one program, and the CPU time of its process until then, in all threads."""
    with display() as screen, tempfile.TemporaryDirectory() as config:
        environment = {**os.environ, **screen, "QPLAYGROUND_CONFIG": config}
        _open_window(program, environment)  # warms the page cache
        pairs = [_open_window(program, environment) for _ in range(rounds)]
    return [
        median_of("window painted and answering", [wall for wall, _ in pairs], "s", at_most=at_most_s),
        median_of("processor time until then", [worked for _, worked in pairs], "s"),
    ]


def _open_window(program: Sequence[str], environment: dict[str, str]) -> tuple[float, float]:
    """Wall-clock and CPU seconds until it reports a usable window. Then an interrupt ends it.

    Raises RuntimeError for a program that ends earlier or has no such window after _OPEN_S.
    """
    started = time.monotonic()
    with subprocess.Popen([*program, "--watchdog"], env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = []
        deadline = threading.Timer(_OPEN_S, process.kill)  # ends its stderr, and so the loop
        deadline.start()
        try:
            for line in process.stderr:
                answered = time.monotonic()
                said.append(line)
                if found := _SAID.search(line):
                    process.send_signal(signal.SIGINT)
                    process.communicate(timeout=_END_S)
                    return answered - started, float(found[1])
        finally:
            deadline.cancel()
            process.kill()
    raise RuntimeError(f"{program[0]} opened no window: {''.join(said)}")


def _import_seconds() -> float:
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", _IMPORT], check=True)
    return time.monotonic() - started


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.startup", description=__doc__)
    parser.add_argument("program", nargs="*", default=_PROGRAM, help="what opens the window (default: this checkout)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--at-most", type=float, default=1.5, metavar="S", help="the target (default: %(default)s s)")
    arguments = parser.parse_args()
    figures = measure_program(arguments.program, rounds=arguments.rounds, at_most_s=arguments.at_most)
    print(table(figures))
    return 0 if all(figure.met for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(_main())
