"""A prompt's layer inputs against transformers' own, and thresholds against bitsandbytes' own layer."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.nn import Linear8bitLt
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorCode
from qplayground.core.inside import ThresholdTrial
from qplayground.core.messages.channel import Channel
from qplayground.core.messages.events import Failed, PhaseStarted
from qplayground.core.messages.inside import CaptureInputs, InputsCaptured, ThresholdTried, TryThreshold
from qplayground.engines.transformers import host
from qplayground.engines.transformers.inside import bands
from qplayground.engines.transformers.text.prompt import encode_prompt
from qplayground.engines.transformers.text.tokenizer import read_tokenizer
from tests.engine import tiny
from tests.engine.conftest import ModelFolder, RecordingChannel

LAYER = "model.layers.1.mlp.down_proj"


class Study:
    """An engine that has run a prompt."""

    def __init__(self, path: Any, dtype: Dtype = Dtype.BFLOAT16, prompt: str = tiny.PROMPT) -> None:
        self.channel = RecordingChannel()
        self._engine = host.Engine(self.channel)
        self._engine.carry_out(CaptureInputs(id=1, path=str(path), dtype=dtype, request=tiny.request(prompt)))

    @property
    def captured(self) -> InputsCaptured:
        event = self.channel.sent[-1]
        assert isinstance(event, InputsCaptured), event
        return event

    def attempt(self, module: str, threshold: float) -> Any:
        self._engine.carry_out(TryThreshold(id=2, module=module, threshold=threshold))
        event = self.channel.sent[-1]
        return event.trial if isinstance(event, ThresholdTried) else event


def inputs_of(path: Any, module: str, dtype: torch.dtype, prompt: str = tiny.PROMPT) -> torch.Tensor:
    """The inputs of that layer in transformers' own model."""
    model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype).eval()
    kept: list[torch.Tensor] = []
    model.get_submodule(module).register_forward_pre_hook(lambda _module, given: kept.append(given[0].clone()))
    ids = encode_prompt(read_tokenizer(path), tiny.request(prompt)).ids
    with torch.inference_mode():
        model(input_ids=torch.tensor([ids[:256]]))
    return kept[0][0]


@pytest.mark.parametrize("asked", [0, 1, 5])
def test_a_threshold_in_work_is_given_up_when_it_is_cancelled(model_folder: ModelFolder, asked: int) -> None:
    study = Study(model_folder("llama"))
    study.channel._cancel_after = asked
    assert study.attempt(LAYER, 1.0) is None and study.channel._times_asked <= asked + 3
    study.channel._cancel_after = None
    assert study.attempt(LAYER, 1.0).repeats >= 5  # the capture is still there


@pytest.mark.parametrize("dtype", Dtype)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_magnitudes_are_those_of_the_model(model_folder: ModelFolder, family: str, dtype: Dtype) -> None:
    path = model_folder(family)
    study = Study(path, dtype)
    layers = {layer.module: torch.tensor(layer.magnitudes.values) for layer in study.captured.layers}
    assert study.captured.tokens == len(encode_prompt(read_tokenizer(path), tiny.request()).ids)
    assert any(isinstance(event, PhaseStarted) for event in study.channel.sent)
    names = [LAYER, "model.layers.0.self_attn.q_proj"] if family == "llama" else ["transformer.h.1.mlp.c_proj"]
    for name in names:
        expected = inputs_of(path, name, getattr(torch, dtype)).abs().amax(0).float()
        assert torch.allclose(layers[name], expected, rtol=2e-2, atol=1e-3), name
    assert "lm_head" not in layers


def test_only_the_beginning_of_a_long_prompt_is_kept(model_folder: ModelFolder) -> None:
    assert Study(model_folder("llama"), prompt=tiny.PROMPT * 100).captured.tokens == 256


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9, 2.0])
def test_a_threshold_is_what_the_layer_does(model_folder: ModelFolder, share: float) -> None:
    path = model_folder("llama")
    study = Study(path, Dtype.FLOAT16)
    inputs = inputs_of(path, LAYER, torch.float16)
    threshold = share * float(inputs.abs().max())
    trial = study.attempt(LAYER, threshold)
    assert isinstance(trial, ThresholdTrial), trial
    exact = load_file(path / "model.safetensors")[f"{LAYER}.weight"]
    layer = Linear8bitLt(128, 64, bias=False, has_fp16_weights=False, threshold=threshold)
    layer.load_state_dict({"weight": exact.half()})
    with torch.inference_mode():
        output = layer.eval().to("cpu")(inputs).float()
    ideal = inputs.float() @ exact.float().T
    assert trial.relative_error == pytest.approx(float((output - ideal).norm() / ideal.norm()), rel=0.02)
    columns = int((inputs.abs() >= threshold).any(0).sum()) if threshold else 0
    assert (trial.columns, trial.of_columns, trial.extra_bytes) == (columns, 128, columns * 64 * 2)
    assert trial.repeats >= 5 and trial.seconds > 0 and trial.seconds_without > 0
    assert (trial.module, trial.threshold) == (LAYER, threshold)


def test_a_layer_in_many_bands_is_tried_too(model_folder: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bands, "_LEAST", 64)
    monkeypatch.setattr(bands, "THREADS", 2)
    trial = Study(model_folder("llama")).attempt(LAYER, 1e-6)
    assert isinstance(trial, ThresholdTrial), trial
    assert trial.columns > 0


def test_outliers_in_16_bits_help(model_folder: ModelFolder) -> None:
    study = Study(model_folder("llama"))
    none, all_of_them = study.attempt(LAYER, 0), study.attempt(LAYER, 1e-6)
    assert all_of_them.columns > none.columns == 0
    assert all_of_them.relative_error < none.relative_error


def test_a_layer_with_a_bias_has_it_in_both(model_folder: ModelFolder, tmp_path: Path) -> None:
    path = shutil.copytree(model_folder("gpt2"), tmp_path / "copy")
    tensors = load_file(path / "model.safetensors")
    for name, tensor in tensors.items():
        if name.endswith("mlp.c_fc.bias"):
            tensor.fill_(50.0)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    with_bias, without = (
        Study(folder).attempt("transformer.h.0.mlp.c_fc", 6.0) for folder in (path, model_folder("gpt2"))
    )
    assert 0 < with_bias.relative_error < without.relative_error < 0.05


def test_what_cannot_be_tried_says_why(model_folder: ModelFolder) -> None:
    channel: Channel = RecordingChannel()
    host.Engine(channel).carry_out(TryThreshold(id=1, module=LAYER, threshold=6.0))
    assert isinstance(channel.sent[-1], Failed)  # type: ignore[attr-defined]
    study = Study(model_folder("llama"))
    for module, threshold in (("lm_head", 6.0), (LAYER, -1.0), (LAYER, float("nan"))):
        failed = study.attempt(module, threshold)
        assert isinstance(failed, Failed) and failed.error.code is ErrorCode.BAD_SETTINGS
    empty = Study(model_folder("llama"), prompt=" ")
    last = empty.channel.sent[-1]
    assert isinstance(last, Failed) and last.error.code is ErrorCode.EMPTY_PROMPT
