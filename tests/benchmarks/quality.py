"""Scoring: speed against bare forward passes, figures against other computations, and memory."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from qplayground.catalog.demo import demo_folder
from tests.benchmarks.figures import Figure, median_of

_PRECISIONS = ("fp32", "bf16", "fp16", "int8", "nf4")
_MB = 1_000_000
_HARNESS = Path(__file__).parents[2] / ".venv-bench" / "bin" / "python"
"""lm-evaluation-harness, if `make bench` installed it. Without it, its figures are left out."""


def measure() -> list[Figure]:
    """See the module's docstring."""
    with tempfile.TemporaryDirectory() as folder:
        figures = _speed_and_truth(folder)
    return [*figures, *_kept(), *_memory()]


def _speed_and_truth(folder: str) -> list[Figure]:
    figures = []
    for name in _PRECISIONS:
        python = str(_HARNESS) if _HARNESS.exists() else sys.executable
        found = _child("tests.benchmarks.quality_engine", str(demo_folder()), name, folder, python=python)
        title = f"{name}, {found['windows']} windows: scoring / bare forward passes"
        figures.append(median_of(title, found["shares"], "", at_least=0.9))
        if found["unkept_shares"]:
            figures.append(median_of(f"{title}, nothing kept on disk", found["unkept_shares"], "", at_least=0.9))
        if found["written_shares"]:
            written = f"{name}: bare forward passes / those and a plain write of as many bytes"
            figures.append(median_of(written, found["written_shares"], ""))
        figures.append(Figure(f"{name}: figures, off a float64 computation by at most", found["off"], "", at_most=1e-4))
        if found["lm_eval_off"] is not None:
            figures.append(
                Figure(f"{name}: perplexity, off lm-evaluation-harness's by", found["lm_eval_off"], "", at_most=1e-3)
            )
    return figures


def _kept() -> list[Figure]:
    """The same comparison twice, with a separate cache."""
    with tempfile.TemporaryDirectory() as config:
        first, second = (_compare(config) for _ in range(2))
    spent = [run["quality"]["seconds"] for run in (first["runs"][0], second["runs"][0])]
    return [
        Figure("the baseline scored the first time", spent[0], "s"),
        Figure("the same, found again / the first time", spent[1] / spent[0], "", at_most=0.1),
    ]


def _compare(config: str) -> Any:
    command = [sys.executable, "-m", "qplayground", "compare", "--precisions", "fp32,nf4", "--max-new-tokens", "8"]
    command += ["--quality", "builtin", "--json", "-"]
    environment = {**os.environ, "QPLAYGROUND_CONFIG": config}
    return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)


def _memory() -> list[Figure]:
    grown = {
        tokens: _child("tests.benchmarks.quality_memory", str(tokens))["grown"] / _MB for tokens in (5_000, 100_000)
    }
    more = grown[100_000] - grown[5_000]
    return [
        Figure("a tiny model scores 5,000 tokens: memory grows by", grown[5_000], "MB"),
        Figure("100,000 tokens, beyond that", more, "MB", at_most=50),
    ]


def _child(module: str, *arguments: str, python: str = sys.executable) -> Any:
    command = [python, "-m", module, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])
