"""What holds for every quantizer family.

Other modules test the rest: bytes (test_prediction), odd widths (test_kernels), scripts (test_script), and text against
a plain script (test_loading).
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PhimoeConfig, PhimoeForCausalLM

from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorCode
from qplayground.core.inside import QuantizationParams
from qplayground.core.messages.commands import EstimateMemory
from qplayground.core.messages.events import Failed, MemoryEstimated
from qplayground.core.placement import Placement
from qplayground.core.precision import READY_PRECISIONS, Precision
from qplayground.core.quantizers import installed
from qplayground.core.quantizers.base import Method
from qplayground.core.quantizers.registry import FAMILIES, METHODS
from qplayground.engines.transformers.inside.quantized import QuantizedValues, quantize
from qplayground.engines.transformers.inside.source import SourceWeight
from qplayground.engines.transformers.quantizers.registry import BACKENDS, backend, configuration, family_of
from qplayground.engines.transformers.quantizers.torchao_int8 import TorchaoInt8Backend
from tests.engine import tiny
from tests.engine.conftest import ModelFolder, carry_out, load_quietly

QUANTIZED = [precision for precision in READY_PRECISIONS if precision.is_quantized]
EVERY = pytest.mark.parametrize("precision", QUANTIZED, ids=[precision.name for precision in QUANTIZED])


STORED = [method for method in METHODS.values() if not method.is_contrast]


def choices(method: Method, dtype: Dtype) -> list[QuantizationParams]:
    """The method's smallest and largest blocks, with and without double quantization where it exists."""
    sizes = dict.fromkeys((*method.block_sizes[:1], *method.block_sizes[-1:])) or (None,)
    return [
        QuantizationParams(method=method.name, block_size=size, double_quant=double, dtype=dtype)
        for size in sizes
        for double in ((False, True) if method.double else (False,))
    ]


def by_hand(found: QuantizedValues) -> tuple[torch.Tensor, torch.Tensor]:
    """Each code's level, and levels times scales, in plain torch."""
    everything = slice(0, found.rows), slice(0, found.columns)
    levels = found.codec.levels.double()[found.displayed(*everything).int() - found.codec.first_code]
    scales = found.scales.used.double().repeat_interleave(found.block_size)[: found.count]
    return levels, levels * scales.view(found.rows, found.columns)


def ids_of(model: Any, folder: Path) -> list[int]:
    inputs = AutoTokenizer.from_pretrained(folder)(tiny.PROMPT, return_tensors="pt")
    return [int(token) for token in model.generate(**inputs, do_sample=False, max_new_tokens=12)[0]]


def asking(folder: Path, *precisions: Precision) -> EstimateMemory:
    return EstimateMemory(
        id=1, path=str(folder), precisions=precisions, placement=Placement(device="cpu"), request=tiny.request()
    )


def test_each_family_has_both_halves() -> None:
    assert set(BACKENDS) == set(FAMILIES)


@EVERY
def test_it_owns_what_it_quantized_and_nothing_else(precision: Precision, model_folder: ModelFolder) -> None:
    loaded = load_quietly(model_folder("llama"), precision)
    assert precision.quantization is not None
    own = type(backend(precision.quantization))
    found = {name: family_of(module) for name, module in loaded.model.named_modules()}
    quantized = {name for name, module in loaded.model.named_modules() if tiny.is_quantized(module)}
    assert len(quantized) == 14 and {name for name, family in found.items() if family is own} == quantized
    assert {family for name, family in found.items() if name not in quantized} == {None}


@EVERY
@torch.inference_mode()
def test_what_the_library_dequantizes_is_codes_times_scales(precision: Precision) -> None:
    """The product is computed by hand. Its error is as large as the family says."""
    assert precision.quantization is not None
    quantizer = backend(precision.quantization)
    weight = torch.randn(64, 128, generator=torch.Generator().manual_seed(2)).to(getattr(torch, precision.dtype))
    layer = quantizer.layer(weight).eval().to("cpu")
    by_hand = quantizer.leading_rows(layer, 64)
    found = quantizer.round_trip(weight, torch.device("cpu")).float()
    assert torch.allclose(found, by_hand, rtol=0.01, atol=0.001)
    error = float((by_hand - weight.float()).norm() / weight.float().norm())
    assert 0.9 < error / quantizer.expected_error < 1.2


@pytest.mark.parametrize("dtype", Dtype)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_method_takes_the_nearest_level_of_each_weight(method: Method, dtype: Dtype) -> None:
    """Each block is scaled by its largest weight. Dequantized values are levels times scales, computed by hand."""
    weight = torch.randn(24, 128, generator=torch.Generator().manual_seed(5)).to(getattr(torch, dtype))
    for params in choices(method, dtype):
        found = quantize(SourceWeight(weight), params, "w")
        blocks = weight.double().view(-1, found.block_size)
        largest = blocks.abs().amax(1)
        assert torch.allclose(found.scales.exact.double(), largest, rtol=2**-8), params
        assert torch.allclose(found.scales.used.double(), largest, rtol=0.02), params
        levels, back = by_hand(found)
        assert torch.allclose(found.part(slice(0, 24), slice(0, 128)).double(), back, rtol=2**-7, atol=1e-6), params
        scaled = (blocks / found.scales.exact.double().view(-1, 1)).view(24, 128)
        nearest = (scaled.unsqueeze(-1) - found.codec.levels.double()).abs().amin(-1)
        assert torch.allclose((scaled - levels).abs(), nearest, atol=2**-10), params


@pytest.mark.parametrize("method", STORED, ids=[method.name for method in STORED])
def test_a_method_is_what_a_model_in_that_precision_computes_with(method: Method) -> None:
    precision = next(each for each in READY_PRECISIONS if each.name == method.name)
    assert precision.quantization is not None
    quantizer = backend(precision.quantization)
    weight = torch.randn(24, 128, generator=torch.Generator().manual_seed(6)).to(getattr(torch, precision.dtype))
    held = quantizer.leading_rows(quantizer.layer(weight).eval().to("cpu"), 24)
    _, back = by_hand(quantize(SourceWeight(weight), choices(method, precision.dtype)[0], "w"))
    assert torch.allclose(held.double(), back, rtol=1e-6)


@pytest.mark.exhaustive
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_quantizing_a_layer_takes_what_its_family_says() -> None:
    quantized = {each.name: each.quantization for each in READY_PRECISIONS if each.quantization is not None}
    command = [sys.executable, "-m", "tests.engine.quantizing", *quantized]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = {name: float(taken) for name, taken in map(str.split, done.stdout.splitlines())}
    for name, quantization in quantized.items():
        assert 0.5 < found[name] / backend(quantization).quantizing_bytes < 1.1, found


@EVERY
def test_saved_and_loaded_again_it_writes_the_same(
    precision: Precision, model_folder: ModelFolder, tmp_path: Path
) -> None:
    """Saved before it generates: on some processors the first forward repacks weights permanently."""
    folder = model_folder("llama")
    settings = {"dtype": getattr(torch, precision.dtype), "device_map": "cpu"}
    model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=configuration(precision), **settings)
    model.save_pretrained(tmp_path / "saved")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", device_map="cpu")
    assert sum(map(tiny.is_quantized, again.modules())) == 14
    assert ids_of(again, folder) == ids_of(model, folder)


def test_one_whose_library_is_missing_is_refused_and_estimated_as_that(
    model_folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed, "installed_version", lambda name: "")
    recipe = tiny.precision("int8-ao")
    (failed,) = (
        event for event in carry_out(tiny.load_command(model_folder("llama"), recipe)) if isinstance(event, Failed)
    )
    assert failed.error.code is ErrorCode.MISSING_PACKAGE and "pip install torchao" in failed.error.hint
    answers = [e for e in carry_out(asking(model_folder("llama"), recipe)) if isinstance(e, MemoryEstimated)]
    (estimate,) = answers[-1].estimates
    assert estimate.problem is not None and estimate.problem.code is ErrorCode.MISSING_PACKAGE


def test_a_library_that_does_not_work_costs_its_own_precisions(
    model_folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library is installed, but was built for another torch."""

    def refuse(_backend: object, _weight: torch.Tensor) -> None:
        raise ImportError("undefined symbol")

    monkeypatch.setattr(TorchaoInt8Backend, "layer", refuse)
    folder, both = model_folder("llama"), (tiny.precision("bf16"), tiny.precision("int8-ao"))
    answers = [event for event in carry_out(asking(folder, *both)) if isinstance(event, MemoryEstimated)]
    fine, broken = answers[-1].estimates
    assert fine.problem is None and fine.weight_bytes
    assert broken.problem is not None and broken.problem.code is ErrorCode.UNSUPPORTED
    assert "torchao" in broken.problem.message and "undefined symbol" in broken.problem.detail


def test_torchao_leaves_alone_what_it_would_convert_of_itself(tmp_path: Path) -> None:
    """PhiMoE's router is a subclass of nn.Linear, and counts as not quantized."""
    config = PhimoeConfig(
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
        vocab_size=320,
    )
    folder = tiny.make(tmp_path / "model", lambda: PhimoeForCausalLM(config))
    loaded = load_quietly(folder, "int8-ao")
    assert loaded.unforeseen == () and loaded.estimate.by_kind == loaded.by_kind
    assert {name for name, module in loaded.model.named_modules() if tiny.is_quantized(module)} == {
        f"model.layers.{layer}.self_attn.{part}_proj" for layer in (0, 1) for part in "qkvo"
    }


def test_a_model_that_torchao_has_nothing_in_is_told_so(model_folder: ModelFolder) -> None:
    (failed,) = (
        event for event in carry_out(tiny.load_command(model_folder("gpt2"), "int8-ao")) if isinstance(event, Failed)
    )
    assert (
        failed.error.message == "INT8 torchao would convert nothing: GPT2LMHeadModel has no layers that torchao knows."
    )
