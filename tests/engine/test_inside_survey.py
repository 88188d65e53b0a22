"""Layers measured one after another, against the figures of each layer opened alone."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorCode
from qplayground.core.inside import LayerRow, QuantizationParams
from qplayground.core.messages.events import Event, Failed, Progressed
from qplayground.core.messages.inside import (
    LayerMeasured,
    LayersMeasured,
    MatrixQuantized,
    MeasureLayers,
    OpenMatrix,
    QuantizeMatrix,
)
from qplayground.engines.transformers.model.shapes import Shapes
from tests.engine import tiny
from tests.engine.conftest import ModelFolder, carry_out

PARAMS = (
    QuantizationParams(),
    QuantizationParams(method="int8"),
    QuantizationParams(method="fp4", block_size=None, double_quant=True),
)


def measuring(path: Path, *modules: str, params: tuple[QuantizationParams, ...] = PARAMS) -> MeasureLayers:
    return MeasureLayers(id=5, path=str(path), modules=modules, params=params)


def rows_of(events: list[Event]) -> list[LayerRow]:
    return [event.row for event in events if isinstance(event, LayerMeasured)]


def refused(events: list[Event]) -> Failed:
    assert isinstance(events[-1], Failed), events[-1]
    return events[-1]


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral"])
def test_every_quantized_layer_has_a_row_for_each_of_the_params(model_folder: ModelFolder, family: str) -> None:
    path = model_folder(family)
    events = carry_out(measuring(path))
    rows = rows_of(events)
    layers = Shapes.read(path).converted_layers(tiny.precision("nf4"))
    assert [(row.module, row.params) for row in rows] == [
        (name, params.checked()) for name in layers for params in PARAMS
    ]
    last = [event for event in events if isinstance(event, Progressed)][-1]
    assert (last.done, last.total, last.unit) == (len(layers), len(layers), "layers")
    assert isinstance(events[-1], LayersMeasured) and not events[-1].left_out
    for row in rows[:: len(PARAMS) + 1]:
        viewed = carry_out(
            OpenMatrix(id=1, path=str(path), module=row.module), QuantizeMatrix(id=2, params=row.params)
        )[-1]
        assert isinstance(viewed, MatrixQuantized)
        assert viewed.quantized.figures == row.figures


def test_params_that_mean_the_same_are_measured_once(model_folder: ModelFolder) -> None:
    same = (
        QuantizationParams(method="int8"),
        QuantizationParams(method="int8", block_size=None),
        QuantizationParams(method="int8"),
    )
    rows = rows_of(carry_out(measuring(model_folder("llama"), "lm_head", params=same)))
    assert [(row.module, row.params.block_size) for row in rows] == [("lm_head", None)]


def test_what_cannot_be_measured_is_left_out_with_its_reason(model_folder: ModelFolder, tmp_path: Path) -> None:
    path = shutil.copytree(model_folder("llama"), tmp_path / "copy")
    tensors = load_file(path / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.weight"][3, 4] = 1e5
    tensors["model.layers.0.mlp.down_proj.weight"][0, 1] = float("nan")
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    events = carry_out(measuring(path, "model.layers.0.mlp.up_proj", "model.layers.0.mlp.down_proj", "model.norm"))
    assert [row.params.method for row in rows_of(events)] == ["nf4", "fp4"]
    assert isinstance(events[-1], LayersMeasured)
    reasons = {left.module: left.reason for left in events[-1].left_out}
    assert "INT8 by row" in reasons["model.layers.0.mlp.up_proj"]
    assert "row 0, column 1" in reasons["model.layers.0.mlp.down_proj"]
    assert "1 dimension" in reasons["model.norm"]


def test_a_cancel_ends_it_between_two_params(model_folder: ModelFolder) -> None:
    events = carry_out(measuring(model_folder("llama")), cancel_after=6)
    assert 0 < len(rows_of(events)) < 6
    assert isinstance(events[-1], LayersMeasured)


def test_what_was_asked_wrong_is_refused(model_folder: ModelFolder, tmp_path: Path) -> None:
    path = model_folder("llama")
    unknown = refused(carry_out(measuring(path, "model.layers.0.mlp.up_prj"))).error
    assert unknown.code is ErrorCode.BAD_SETTINGS and "model.layers.0.mlp.up_proj" in unknown.hint
    odd = refused(carry_out(measuring(path, params=(QuantizationParams(block_size=100),)))).error
    assert odd.code is ErrorCode.BAD_SETTINGS
    assert refused(carry_out(measuring(model_folder("falcon")))).error.code is ErrorCode.NOT_QUANTIZED
    quantized = shutil.copytree(path, tmp_path / "quantized")
    tiny.edit_json(quantized / "config.json", quantization_config={"quant_method": "awq"})
    before = refused(carry_out(measuring(quantized))).error
    assert before.code is ErrorCode.ALREADY_QUANTIZED and "AWQ" in before.message
    assert rows_of(carry_out(measuring(quantized, "lm_head")))  # its tensor is not quantized


def test_small_weights_have_errors_too(model_folder: ModelFolder, tmp_path: Path) -> None:
    """Their squares underflow in single precision."""
    path = shutil.copytree(model_folder("llama"), tmp_path / "small")
    tensors = load_file(path / "model.safetensors")
    name = "model.layers.0.mlp.up_proj"
    (usual,) = rows_of(carry_out(measuring(path, name, params=(QuantizationParams(dtype=Dtype.FLOAT32),))))
    tensors[f"{name}.weight"] *= 2.0**-90
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    (small,) = rows_of(carry_out(measuring(path, name, params=(QuantizationParams(dtype=Dtype.FLOAT32),))))
    assert small.figures.relative_error == pytest.approx(usual.figures.relative_error, rel=1e-3)


def test_wider_types_lose_less(model_folder: ModelFolder) -> None:
    """The weights are float32. bfloat16 rounds them before quantization, and rounds the result."""
    params = tuple(QuantizationParams(method="int8-block", dtype=dtype) for dtype in (Dtype.FLOAT32, Dtype.BFLOAT16))
    one, other = rows_of(carry_out(measuring(model_folder("llama"), "lm_head", params=params)))
    assert one.figures.relative_error < other.figures.relative_error
    assert torch.tensor(one.figures.bits_per_weight) == other.figures.bits_per_weight
