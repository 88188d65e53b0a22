"""The command line with an engine that says which devices torch can use."""

from pathlib import Path

import pytest
from PySide6.QtCore import QCoreApplication

from qplayground import cli
from qplayground.console import commands
from qplayground.core.comparison.results import from_json
from qplayground.core.dtype import Dtype
from qplayground.core.quantizers.bitsandbytes_4bit import FourBit
from qplayground.runtime.comparison import request
from qplayground.runtime.machine.gpus import Gpu
from qplayground.runtime.processes.launcher import Launcher
from tests.unit.catalog_files import write_model


def test_a_gpu_of_the_drivers_that_torch_cannot_use_changes_no_recipe(
    qapp: QCoreApplication, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "Launcher", lambda: Launcher("tests.fakes.engine"))
    monkeypatch.setattr(request, "list_gpus", lambda: [Gpu(0, "An old one", 8_000, 6_000, bfloat16=False)])
    folder, saved = write_model(tmp_path / "model"), tmp_path / "saved.json"
    asked = ["compare", "--model", str(folder), "--precisions", "nf4", "--prompt", "Once fast=3", "--json", str(saved)]
    assert cli.main(asked) == 0
    [run] = from_json(saved.read_bytes()).runs
    assert run.precision.dtype is Dtype.BFLOAT16
    assert (
        isinstance(run.precision.quantization, FourBit) and run.precision.quantization.compute_dtype is Dtype.BFLOAT16
    )
