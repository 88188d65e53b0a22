"""Layers that bitsandbytes cannot compute, or computes wrongly, on some processors.

They are known before a load, and a loaded model is checked.
"""

from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
import torch
from bitsandbytes.nn import Linear4bit

from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorCode, PlaygroundError
from qplayground.core.messages.events import Failed, Loaded
from qplayground.core.precision import READY_PRECISIONS, Precision
from qplayground.core.quantizers.bitsandbytes_4bit import FourBit
from qplayground.core.quantizers.bitsandbytes_int8 import Int8
from qplayground.engines.transformers.loading.accounting import kinds_by_module
from qplayground.engines.transformers.model.shapes import Shapes
from qplayground.engines.transformers.prediction.estimating import weights_by_module
from qplayground.engines.transformers.quantizers import kernels
from qplayground.engines.transformers.quantizers.base import Layer
from qplayground.engines.transformers.quantizers.kernels import obstacle
from qplayground.engines.transformers.quantizers.registry import backend
from tests.daily import daily
from tests.engine import tiny
from tests.engine.conftest import ModelFolder, UseProcessor, carry_out, load_quietly

QUANTIZED = [precision for precision in READY_PRECISIONS if precision.quantization is not None]
WRONG_WITH_AVX512 = (32, 48, 80, 96, 160, 720, 1056, 1120, 1376)
"""Row lengths seen to go wrong with blocks of 64."""
RIGHT_WITH_AVX512 = (64, 72, 100, 128, 200, 576)


@pytest.fixture(autouse=True)
def no_compiler() -> object:
    """bitsandbytes compiles some functions for odd widths, which takes seconds each."""
    with torch.compiler.set_stance("force_eager"):
        yield


def nf4(dtype: Dtype = Dtype.BFLOAT16) -> FourBit:
    return FourBit(compute_dtype=dtype)


@pytest.mark.parametrize("precision", QUANTIZED, ids=str)
@pytest.mark.parametrize("columns", [*WRONG_WITH_AVX512, *RIGHT_WITH_AVX512, 33])
def test_no_width_is_found_wrong_that_is_right(precision: Precision, columns: int) -> None:
    assert precision.quantization is not None
    if bitsandbytes.functional.has_avx512bf16() or torch.backends.cpu.get_cpu_capability() == "AVX512":
        pytest.skip("this processor's own kernels go wrong at some of these")
    assert obstacle(Layer(40, columns), precision.quantization, Dtype.BFLOAT16) == ""


@pytest.mark.parametrize("dtype", list(Dtype))
@pytest.mark.parametrize("quant_type", ["nf4", "fp4"])
def test_every_width_that_avx512_dequantizes_wrongly_is_noticed(
    quant_type: str, dtype: Dtype, use_processor: UseProcessor
) -> None:
    use_processor("avx512")
    for double in (False, True):
        kind = FourBit(quant_type=quant_type, compute_dtype=dtype, double_quantization=double)  # type: ignore[arg-type]
        for columns in WRONG_WITH_AVX512:
            assert "computes wrongly" in obstacle(Layer(40, columns), kind, dtype), columns
        for columns in RIGHT_WITH_AVX512:
            assert obstacle(Layer(40, columns), kind, dtype) == "", columns


def test_what_the_kernel_for_avx512_bf16_refuses_is_noticed(use_processor: UseProcessor) -> None:
    use_processor("avx512_bf16")
    for layer in (Layer(64, 80), Layer(16, 64), Layer(80, 1536), Layer(4, 64), Layer(64, 32)):
        assert "cannot compute" in obstacle(layer, nf4(), Dtype.BFLOAT16), layer
    assert obstacle(Layer(96, 192), nf4(), Dtype.BFLOAT16) == ""


def test_int8_cannot_take_tensors_of_four_dimensions_and_four_bits_can() -> None:
    layer = Layer(64, 64, dimensions=4)
    assert "cannot compute" in obstacle(layer, Int8(), Dtype.BFLOAT16)
    assert obstacle(layer, nf4(), Dtype.BFLOAT16) == ""


@pytest.mark.parametrize("precision", QUANTIZED, ids=str)
@pytest.mark.parametrize("shape", [(64, 128), (75, 150), (5, 80)])
def test_a_weight_by_hand_is_near_the_original(precision: Precision, shape: tuple[int, int]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    assert precision.quantization is not None
    quantizer = backend(precision.quantization)
    layer = quantizer.layer(weight).eval().to("cpu")
    rows = quantizer.leading_rows(layer, shape[0])
    far = 0.01 if isinstance(precision.quantization, Int8) else 0.15
    assert rows.shape == shape and float((rows - weight).norm() / weight.norm()) < far
    assert torch.equal(quantizer.leading_rows(layer, 2), rows[:2])


# ---- whole models ---------------------------------------------------------------------------------------------------


def odd_llama(folder: Path) -> Path:
    """Of the seven layers in a block, two have 80 outputs and one has 80 inputs."""
    return tiny.make(folder, lambda: tiny.llama(intermediate_size=80))


@pytest.mark.parametrize("precision", ["nf4", "fp4", "nf4-dq"])
@pytest.mark.parametrize(("processor", "left"), [("avx512", 1), ("avx512_bf16", 3), ("this", 0)])
def test_such_layers_stay_as_they_are_and_that_is_said_and_predicted(
    tmp_path: Path, processor: str, left: int, precision: str, use_processor: UseProcessor
) -> None:
    if processor == "this" and torch.backends.cpu.get_cpu_capability() == "AVX512":
        pytest.skip("this processor leaves layers out by itself")
    use_processor(processor)
    folder = odd_llama(tmp_path / "model")
    (loaded,) = (event for event in carry_out(tiny.load_command(folder, precision)) if isinstance(event, Loaded))
    assert loaded.quantized_modules == 2 * (7 - left)
    assert loaded.unforeseen == () and loaded.estimate is not None and loaded.estimate.by_kind == loaded.by_kind
    if left:
        assert f"{2 * left} of 14 layers stay in bfloat16: bitsandbytes c" in loaded.estimate.caution
        assert loaded.by_module["model.layers.1.mlp.down_proj"].plain == 64 * 80 * 2
    else:
        assert loaded.estimate.caution == ""


def test_a_model_of_which_every_layer_would_go_wrong_is_refused_before_the_load(
    tmp_path: Path, use_processor: UseProcessor
) -> None:
    use_processor("avx512_bf16")
    folder = tiny.make(
        tmp_path / "model", lambda: tiny.llama(hidden_size=80, num_attention_heads=2, num_key_value_heads=2, head_dim=8)
    )
    (failed,) = (event for event in carry_out(tiny.load_command(folder, "nf4")) if isinstance(event, Failed))
    assert failed.error.code is ErrorCode.NOT_QUANTIZED
    assert "cannot compute" in failed.error.message and "80 inputs" in failed.error.message


@pytest.mark.parametrize("precision", ["nf4", "fp4", "nf4-dq", "int8"])
def test_a_loaded_model_that_computes_wrongly_is_an_error(
    model_folder: ModelFolder, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The width passes the check before the load, but the layer computes wrongly: a library may depend on more than
    widths.
    """
    wrong = bitsandbytes.nn.Linear8bitLt if precision == "int8" else Linear4bit
    real = wrong.forward

    def forward(layer: torch.nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        found = torch.as_tensor(real(layer, hidden))
        found[..., 1] *= 1.05  # only one row
        return found

    load_quietly(model_folder("llama"), precision)
    monkeypatch.setattr(wrong, "forward", forward)
    with pytest.raises(PlaygroundError, match="computes wrongly") as refused:
        load_quietly(model_folder("llama"), precision)
    assert refused.value.info.code is ErrorCode.WRONG_VALUES
    assert "inputs and" in refused.value.info.message and "model.layers.0" in refused.value.info.message


@pytest.mark.parametrize("processor", ["avx512", "avx512_bf16"])
@pytest.mark.parametrize("family", daily(["llama-biases", "gpt2", "qwen2"], "gpt2"))
def test_no_alarm_on_other_processors_where_nothing_is_wrong(
    model_folder: ModelFolder, family: str, processor: str, use_processor: UseProcessor
) -> None:
    use_processor(processor)
    for precision in (each for each in QUANTIZED if tiny.takes(family, each)):
        loaded = load_quietly(model_folder(family), precision)
        predicted = weights_by_module(Shapes.read(model_folder(family)), precision, {"": "cpu"})
        assert predicted == kinds_by_module(loaded.model)


@pytest.mark.parametrize("precision", QUANTIZED, ids=str)
def test_weights_as_small_as_float16_has_them_are_no_alarm(precision: Precision) -> None:
    assert precision.quantization is not None
    narrow = precision.without_bfloat16()
    assert narrow.quantization is not None
    for scale in (1e-6, 1e-5, 1e-2):
        weight = torch.randn(64, 128, generator=torch.Generator().manual_seed(3)) * 0.02
        weight[:4] *= scale / 0.02  # dead rows in a layer that is not dead
        quantizer = backend(narrow.quantization)
        layer = quantizer.layer(weight.half()).eval().to("cpu")
        with torch.inference_mode():
            assert kernels.computes(layer, quantizer.leading_rows(layer, 4), torch.float16), scale


def test_a_layer_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Layer] = []
    real = kernels.quantized_layer

    def make(layer: Layer, *rest: Any) -> torch.nn.Module:
        made.append(layer)
        return real(layer, *rest)

    monkeypatch.setattr(kernels, "quantized_layer", make)
    kernels.tried.cache_clear()
    for rows in (70, 102, 4070):  # equal except for whole tiles of rows
        obstacle(Layer(rows, 80), nf4(), Dtype.BFLOAT16)
    obstacle(Layer(64, 64), nf4(), Dtype.BFLOAT16)
    assert [tuple(layer) for layer in made] == [(38, 80, 3)]
