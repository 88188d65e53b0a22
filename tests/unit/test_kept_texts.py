"""What the test of the frozen program reads from a history."""

import subprocess
import sys
from pathlib import Path

import pytest

from qplayground.runtime.storage.history import History
from tests.comparisons import comparison, done, failed

SCRIPT = Path(__file__).parents[2] / "packaging" / "kept_texts.py"


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """A history of two comparisons."""
    path = tmp_path / "history.sqlite3"
    kept = History(path)
    for number, runs in enumerate([[done("bf16")], [done("fp32", " one\ntwo"), failed("nf4")]]):
        one = comparison(*runs)
        one.id, one.started_at = str(number), f"2026-11-0{number + 1}T10:00:00+00:00"
        kept.save(one).result(10)
    kept.close()
    return path


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, timeout=60)


def test_the_newest_comparison_is_printed(history: Path) -> None:
    assert run(history).stdout == "fp32\tdone\t one two\nnf4\tfailed\t half a\n"


@pytest.mark.parametrize(("names", "code"), [(["nf4", "fp32"], 0), (["fp32"], 1), (["fp32", "nf4", "int8"], 1)])
def test_it_is_finished_when_all_runs_are_over(history: Path, names: list[str], code: int) -> None:
    assert run(history, "--finished", *names).returncode == code


def test_without_a_history_there_are_no_runs(tmp_path: Path) -> None:
    assert run(tmp_path / "none").stdout == ""
    assert run(tmp_path / "none", "--finished", "fp32").returncode == 1
