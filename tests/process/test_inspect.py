"""`qplayground inspect`, as run by a person or a script."""

import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.engine import by_hand, tiny
from tests.process.command_line import Running, run

LAYER = "model.layers.0.mlp.down_proj"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny Llama with random weights."""
    return tiny.make(tmp_path / "tiny", "llama")


def inspect(folder: Path, *arguments: str) -> dict[str, Any]:
    """The JSON of a command that succeeds."""
    done = run("inspect", "--model", str(folder), *arguments, "--json", "-")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_module_that_there_is_not_is_wrong_usage(folder: Path) -> None:
    done = run("inspect", "--model", str(folder), "--module", "model.layers.0.mlp.down_prog")
    assert done.returncode == 2, done.stderr
    assert (done.stdout, "Traceback" in done.stderr) == ("", False)
    assert "down_prog" in done.stderr and LAYER in done.stderr  # it suggests the right name


def test_one_layer_costs_what_its_codes_and_scales_say(folder: Path) -> None:
    """Against bitsandbytes' codes of the whole weight, dequantized by hand."""
    from bitsandbytes.functional import quantize_4bit
    from safetensors.torch import load_file

    found = inspect(folder, "--module", LAYER, "--methods", "nf4,fp4", "--block-sizes", "64,256")
    weight = load_file(folder / "model.safetensors")[f"{LAYER}.weight"]
    assert [(row["method"], row["block_size"]) for row in found["rows"]] == [
        *(("nf4", 64), ("nf4", 256), ("fp4", 64), ("fp4", 256))
    ]
    for row in found["rows"]:
        packed, state = quantize_4bit(weight.bfloat16(), blocksize=row["block_size"], quant_type=row["method"])
        error = by_hand.four_bit(packed, state).double() - weight.double()
        assert row["relative_error"] == pytest.approx(float(error.norm() / weight.double().norm()), rel=1e-6)
        assert row["max_abs_error"] == pytest.approx(float(error.abs().max()), rel=1e-6)
        assert (row["module"], row["double_quant"]) == (LAYER, False)


@pytest.mark.exhaustive
def test_every_quantized_layer_is_measured(folder: Path) -> None:
    found = inspect(folder, "--methods", "nf4,int8,uniform3", "--block-sizes", "64,tensor", "--double-quant")
    modules = {row["module"] for row in found["rows"]}
    assert LAYER in modules and "lm_head" not in modules and "model.embed_tokens" not in modules
    by_module = [[row for row in found["rows"] if row["module"] == module] for module in modules]
    assert {len(rows) for rows in by_module} == {9}  # int8 has no blocks
    for row in found["rows"]:
        assert set(row) == {
            *("module", "method", "block_size", "double_quant"),
            *("bits_per_weight", "relative_error", "snr_db", "max_abs_error"),
        }
        assert 0 < row["relative_error"] < 1 and row["bits_per_weight"] > 3
        assert row["method"] != "int8" or (row["block_size"], row["double_quant"]) == (None, False)
    errors = {row["method"]: row["relative_error"] for row in found["rows"] if row["module"] == LAYER}
    assert errors["int8"] < errors["nf4"] < errors["uniform3"]
    assert (found["model"], found["dtype"], found["left_out"]) == (str(folder), "bfloat16", [])


@pytest.mark.exhaustive
def test_the_table_and_the_file(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "rows.json"
    done = run("inspect", "--model", str(folder), "--methods", "nf4", "--block-sizes", "64", "--json", str(target))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Module") and any(line.startswith(f"{LAYER} ") for line in lines)
    assert "NF4, blocks of 64: median" in lines[-1]
    assert len(json.loads(target.read_bytes())["rows"]) == len(lines) - 2 - 3
    assert "Measuring tiny …" in done.stderr and "layers" in done.stderr


@pytest.mark.exhaustive
def test_a_layer_that_cannot_be_measured_is_said(folder: Path) -> None:
    """A norm has one dimension."""
    done = run("inspect", "--model", str(folder), "--module", LAYER, "--module", "model.norm", "--json", "-")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert {row["module"] for row in found["rows"]} == {LAYER}
    (left_out,) = found["left_out"][:1]
    assert left_out["module"] == "model.norm" and left_out["reason"]
    assert f"model.norm was left out: {left_out['reason']}" in done.stderr


@pytest.mark.exhaustive
def test_a_model_that_is_quantized_already_says_why_nothing_can_be_measured(folder: Path) -> None:
    """Saved by transformers, as such models are published."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    done = run("inspect", "--model", str(folder))
    assert done.returncode == 1, done.stderr
    assert "These weights were quantized before" in done.stderr
    assert (done.stdout, "Traceback" in done.stderr) == ("", False)


def test_ctrl_c_ends_it(folder: Path) -> None:
    running = Running("inspect", "--model", str(folder), "--methods", "nf4,fp4,int8-block,uniform4,uniform3")
    family: list[psutil.Process] = []
    while not family:  # once there is an engine, Ctrl-C is handled
        family = psutil.Process(running.process.pid).children()
        assert running.process.poll() is None
    code, output, took = running.interrupt()
    assert (code, output) == (1, "")
    assert took < 3
    assert "Cancelled." in running.errors
