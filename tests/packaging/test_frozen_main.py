"""Which program each executable of the frozen folder starts, decided by its name."""

import subprocess
import sys

import pytest

from tests.packaging.scripts import ROOT

START = """
import runpy, signal, sys
import qplayground.cli as cli

sys.executable, cli.run_program, cli.open_window = "/opt/qplayground/" + sys.argv.pop(1), {run}, {open_window}
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs the tests may have it ignored
{more}
runpy.run_path("packaging/frozen_main.py", run_name="__main__")
"""
"""Starts the frozen program as if it were the executable in its first argument."""


def start(*arguments: str, run: str = "cli.run_program", more: str = "") -> "subprocess.CompletedProcess[str]":
    code = START.format(run=run, open_window=run.replace("run_program", "open_window"), more=more)
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=120)


@pytest.mark.parametrize(
    ("executable", "program"),
    [
        ("qplayground", "qplayground"),
        ("qplayground.exe", "qplayground"),
        ("qplayground-window.exe", "qplayground-window"),
    ],
)
def test_each_executable_is_its_own_program(executable: str, program: str) -> None:
    done = start(executable, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: {program} ")


def test_the_windows_program_ends_well_without_output() -> None:
    done = start("qplayground-window.exe", run="lambda argv: 0", more="sys.stdout = sys.stderr = None")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_ctrl_c_ends_the_terminals_program_without_a_word() -> None:
    """As in a checkout, where `__main__` does this."""
    done = start("qplayground", run="lambda argv: print(signal.getsignal(signal.SIGINT).name) or 0")
    assert (done.returncode, done.stdout, done.stderr) == (0, "SIG_DFL\n", "")


def test_children_are_not_told_to_import_the_script_which_is_no_file() -> None:
    done = start("qplayground", run="lambda argv: print(hasattr(sys.modules['__main__'], '__file__')) or 0")
    assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")
