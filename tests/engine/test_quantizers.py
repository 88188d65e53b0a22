"""What holds of every family of quantizers; their bytes are held in test_prediction, odd widths in test_kernels, the
scripts in test_script, and what they write beside a plain script in test_loading.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from qplayground.core.messages.commands import EstimateMemory
from qplayground.core.placement import Placement
from qplayground.core.precision import READY_PRECISIONS, Precision
from qplayground.core.quantizers.registry import FAMILIES
from qplayground.engine.quantizers.registry import BACKENDS, backend, configuration, family_of
from tests.engine import tiny
from tests.engine.conftest import ModelFolder, load_quietly

QUANTIZED = [precision for precision in READY_PRECISIONS if precision.is_quantized]
EVERY = pytest.mark.parametrize("precision", QUANTIZED, ids=[precision.name for precision in QUANTIZED])


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
    """By hand, and as near to the original as the family says."""
    assert precision.quantization is not None
    quantizer = backend(precision.quantization)
    weight = torch.randn(64, 128, generator=torch.Generator().manual_seed(2)).to(getattr(torch, precision.dtype))
    layer = quantizer.layer(weight).eval().to("cpu")
    by_hand = quantizer.leading_rows(layer, 64)
    found = quantizer.round_trip(weight, torch.device("cpu")).float()
    assert torch.allclose(found, by_hand, rtol=0.01, atol=0.001)
    error = float((by_hand - weight.float()).norm() / weight.float().norm())
    assert 0.9 < error / quantizer.expected_error < 1.2


@EVERY
def test_saved_and_loaded_again_it_writes_the_same(
    precision: Precision, model_folder: ModelFolder, tmp_path: Path
) -> None:
    """Saved before it writes: on some processors the first forward repacks weights for good."""
    folder = model_folder("llama")
    settings = {"dtype": getattr(torch, precision.dtype), "device_map": "cpu"}
    model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=configuration(precision), **settings)
    model.save_pretrained(tmp_path / "saved")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", device_map="cpu")
    assert sum(map(tiny.is_quantized, again.modules())) == 14
    assert ids_of(again, folder) == ids_of(model, folder)
