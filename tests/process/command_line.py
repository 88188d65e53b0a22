"""Starts the program as a person does in a terminal."""

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

import psutil
import pytest

PROGRAM = [sys.executable, "-m", "qplayground"]


def run(
    *arguments: str,
    program: list[str] = PROGRAM,
    cwd: Path | None = None,
    stdout: int | IO[str] = subprocess.PIPE,
    **environment: str,
) -> "subprocess.CompletedProcess[str]":
    """Run the program and wait for its end."""
    done = subprocess.run(
        [*program, *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        cwd=cwd,
        env={**os.environ, **environment},
        timeout=600,
    )
    assert "QThread" not in done.stderr and "leaked" not in done.stderr, done.stderr  # nothing is left running
    return done


def check_refused(done: "subprocess.CompletedProcess[str]", part: str, *, code: int = 2) -> None:
    """One sentence on standard error, and nothing else. The exit code is 2 for wrong usage."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert part in done.stderr
    assert "Traceback" not in done.stderr


class Running:
    """The running program, in its own process group as in a terminal."""

    def __init__(self, *arguments: str, program: list[str] = PROGRAM, **environment: str) -> None:
        self.process = subprocess.Popen(
            [*program, *arguments],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        self.errors = ""

    def wait_for(self, part: str) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors += line
            if part in line:
                return
        pytest.fail(f"it ended without saying {part!r}:\n{self.errors}")

    def interrupt(self) -> tuple[int, str, float]:
        """Press Ctrl-C. Returns the exit code, standard output, and how many seconds it took."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        started = time.monotonic()
        os.killpg(self.process.pid, signal.SIGINT)
        output, errors = self.process.communicate(timeout=30)
        took = time.monotonic() - started
        self.errors += errors
        _, alive = psutil.wait_procs(family, timeout=3)
        assert alive == []
        assert "Traceback" not in self.errors, self.errors
        return self.process.returncode, output, took


ROOT = Path(__file__).parents[2]


WITH_SCRIPTED_ENGINE = """
import functools
import sys
from qplayground import cli
from qplayground.console import commands
from qplayground.runtime.comparison import conductor

if __name__ == "__main__":
    commands.Launcher = functools.partial(commands.Launcher, "tests.fakes.engine")
    conductor.free_memory = lambda: {"cpu": 280 * 10**12}
    sys.exit(cli.main(sys.argv[1:]))
"""


SCRIPTED: Any = {"program": [sys.executable, "-c", WITH_SCRIPTED_ENGINE], "PYTHONPATH": str(ROOT)}
run_scripted = functools.partial(run, **SCRIPTED)
"""Like `run`, with an engine that does not import torch, which would take seconds."""
