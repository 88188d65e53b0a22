"""Loads of tiny models in every ready precision: what is converted, its bytes, and the text it then writes."""

import mmap
import shutil
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import has_avx512bf16
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torchao.quantization import Int8WeightOnlyConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedModel, TorchAoConfig
from transformers.pytorch_utils import Conv1D

from qplayground.core.dtype import Dtype
from qplayground.core.generation import GenerationSettings
from qplayground.core.messages.commands import Generate
from qplayground.core.messages.events import Generated, Phase
from qplayground.core.precision import READY_PRECISIONS, Precision
from qplayground.core.quantizers.bitsandbytes_4bit import FourBit
from qplayground.core.quantizers.bitsandbytes_int8 import Int8
from qplayground.core.quantizers.torchao_int8 import TorchaoInt8
from qplayground.engines.transformers.generation import decoding
from qplayground.engines.transformers.loading.accounting import held_tensors
from qplayground.engines.transformers.loading.load import LoadedModel, load_model
from qplayground.engines.transformers.loading.residency import make_resident
from qplayground.engines.transformers.machine.mapped_files import release_pages
from qplayground.engines.transformers.model.checkpoint import Checkpoint
from tests.engine import tiny
from tests.engine.conftest import LoadShared, ModelFolder, carry_out, load_quietly, tokens_of

NAMES = [precision.name for precision in READY_PRECISIONS]
PLAIN = [precision.name for precision in READY_PRECISIONS if not precision.is_quantized]
QUANTIZED = [precision.name for precision in READY_PRECISIONS if precision.is_quantized]
QUANTIZED_LAYERS = {"llama": 14, "llama-tied": 14, "gpt2": 8, "mistral": 14, "qwen2": 14, "mixtral": 8}
TIED = ["llama-tied", "gpt2", "qwen2"]
DAILY = ("fp32", "bf16", "int8", "nf4")
CASES = [(family, each.name) for family in tiny.FAMILIES for each in READY_PRECISIONS if tiny.takes(family, each)]
EVERY = [case if case[1] in DAILY else pytest.param(*case, marks=pytest.mark.exhaustive) for case in CASES]
BLOCK = 64


def continuation(loaded: LoadedModel, prompt: str = tiny.PROMPT, **settings: Any) -> list[int]:
    ids: list[int] = []
    decoding.generate(
        loaded,
        [int(token) for token in loaded.tokenizer(prompt)["input_ids"]],
        GenerationSettings(**{"max_new_tokens": 12, **settings}),
        lambda token, time_s, seen: ids.append(token),
        lambda: False,
    )
    return ids


def plain_script(folder: Path, precision: Precision, prompt: str = tiny.PROMPT, new_tokens: int = 12) -> list[int]:
    """The token ids that a user's own ten-line script would print."""
    config = None
    if isinstance(precision.quantization, Int8):
        config = BitsAndBytesConfig(load_in_8bit=True)
    elif isinstance(precision.quantization, FourBit):
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=precision.quantization.quant_type,
            bnb_4bit_use_double_quant=precision.quantization.double_quantization,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    elif isinstance(precision.quantization, TorchaoInt8):
        config = TorchAoConfig(Int8WeightOnlyConfig(set_inductor_config=False))
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, precision.dtype), quantization_config=config, device_map="cpu"
    )
    inputs = AutoTokenizer.from_pretrained(folder)(prompt, return_tensors="pt")
    length = inputs["input_ids"].shape[1]
    ids = model.generate(**inputs, do_sample=False, max_new_tokens=new_tokens)[0, length:]
    return [int(token) for token in ids]


def expected_bytes(family: str, precision: Precision) -> int:
    """Computed by formula from the original model, not from the loaded one."""
    source = tiny.FAMILIES[family]()
    head = source.get_output_embeddings()
    converted = {
        module.weight.data_ptr(): module.weight
        for module in source.modules()
        if precision.is_quantized and (type(module) is nn.Linear or type(module) is Conv1D) and module is not head
    }
    itemsize = precision.dtype.itemsize
    others = {p.data_ptr(): p.numel() * itemsize for p in source.parameters() if p.data_ptr() not in converted}
    buffers = {b.data_ptr(): b.numel() * b.element_size() for b in source.buffers()}
    rows = {
        module.weight.data_ptr(): module.nf if isinstance(module, Conv1D) else module.out_features
        for module in source.modules()
        if isinstance(module, (nn.Linear, Conv1D))
    }
    quantized = sum(
        weight.numel() + (4 if isinstance(precision.quantization, Int8) else 5) * rows[key]
        if isinstance(precision.quantization, (Int8, TorchaoInt8))
        else four_bit_bytes(weight.numel(), precision.quantization)
        for key, weight in converted.items()
    )
    return int(sum(others.values()) + sum(buffers.values()) + quantized)


def four_bit_bytes(elements: int, quantization: object) -> int:
    """Bytes of packed weight, block scales and code table. With AVX512_BF16, the first forward repacks them."""
    assert isinstance(quantization, FourBit)
    blocks = -(-elements // BLOCK)
    packed, code, offset = -(-elements // 2), 16 * 4, 4
    if has_avx512bf16():
        return packed + 2 * blocks + code + (offset if quantization.double_quantization else 0)
    if quantization.double_quantization:
        return packed + blocks + 4 * -(-blocks // 256) + 256 * 4 + code + offset
    return packed + 4 * blocks + code


@pytest.mark.parametrize(("family", "precision"), EVERY)
class TestEveryFamilyInEveryPrecision:
    def test_converts_its_linear_layers(self, family: str, precision: str, load_shared: LoadShared) -> None:
        loaded = load_shared(family, precision)
        converted = sum(map(tiny.is_quantized, loaded.model.modules()))

        assert loaded.quantized_modules == converted
        assert converted == (QUANTIZED_LAYERS[family] if precision in QUANTIZED else 0)

    def test_weighs_what_the_formula_says(self, family: str, precision: str, load_shared: LoadShared) -> None:
        assert load_shared(family, precision).weight_bytes == expected_bytes(family, tiny.precision(precision))

    def test_continues_like_a_plain_script(
        self, family: str, precision: str, load_shared: LoadShared, model_folder: ModelFolder
    ) -> None:
        ids = continuation(load_shared(family, precision))

        assert ids == plain_script(model_folder(family), tiny.precision(precision))
        assert len(set(ids)) > 2  # a model that repeats one token would hide a difference


def test_precisions_do_not_all_say_the_same(load_shared: LoadShared) -> None:
    assert len({tuple(continuation(load_shared("llama", name), max_new_tokens=24)) for name in NAMES}) > 3


@pytest.mark.parametrize(("family", "precision"), [case for case in CASES if case[0] in TIED])
def test_tied_weights_stay_tied_and_count_once(family: str, precision: str, load_shared: LoadShared) -> None:
    loaded = load_shared(family, precision)
    embedding = loaded.model.get_input_embeddings().weight
    head = loaded.model.get_output_embeddings().weight
    held = [tensor for tensor in held_tensors(loaded.model) if tensor.tensor.data_ptr() == embedding.data_ptr()]

    assert head.data_ptr() == embedding.data_ptr()
    assert len(held) == 1


def test_untied_weights_stay_apart(load_shared: LoadShared) -> None:
    model = load_shared("llama", "fp32").model

    assert model.get_input_embeddings().weight.data_ptr() != model.get_output_embeddings().weight.data_ptr()


def test_conv1d_becomes_a_linear_layer(load_shared: LoadShared) -> None:
    model = load_shared("gpt2", "nf4").model

    assert type(model.transformer.h[0].mlp.c_fc).__name__ == "Linear4bit"
    assert not any(isinstance(module, Conv1D) for module in model.modules())


def test_a_sliding_window_slides(load_shared: LoadShared) -> None:
    """The same weights without a window give the same text until the window is full."""
    windowed, whole = (
        continuation(load_shared(family, "fp32"), "the", max_new_tokens=24) for family in ("mistral", "llama")
    )

    assert windowed[:6] == whole[:6]
    assert windowed != whole


@pytest.mark.parametrize("precision", QUANTIZED)
@pytest.mark.parametrize("family", ["llama-tied", "llama"])
def test_skipped_modules_are_added_to_the_defaults(family: str, precision: str, model_folder: ModelFolder) -> None:
    recipe = skipping(precision, "model.layers.1", "up_proj")
    loaded = load_quietly(model_folder(family), recipe)
    converted = {name for name, module in loaded.model.named_modules() if tiny.is_quantized(module)}

    assert loaded.quantized_modules == len(converted) == 6
    assert all(".layers.0." in name and "up_proj" not in name for name in converted)
    assert type(loaded.model.get_output_embeddings()) is nn.Linear
    assert len(continuation(loaded)) == 12


def skipping(precision: str, *modules: str) -> Precision:
    ready = tiny.precision(precision)
    return Precision(
        name="skipping",
        label="skipping",
        dtype=ready.dtype,
        quantization=ready.quantization,
        skip_modules=modules,
    )


def test_an_outlier_threshold_reaches_the_layers(model_folder: ModelFolder) -> None:
    recipe = Precision(name="t", label="t", dtype=Dtype.BFLOAT16, quantization=Int8(threshold=2.5))
    model = load_quietly(model_folder("llama"), recipe).model

    assert {module.state.threshold for module in eight_bit(model)} == {2.5}


def eight_bit(model: PreTrainedModel) -> Iterator[Any]:
    return (module for module in model.modules() if type(module).__name__ == "Linear8bitLt")


@pytest.mark.parametrize("dtype", list(Dtype))
def test_a_compute_dtype_reaches_the_layers(dtype: Dtype, model_folder: ModelFolder) -> None:
    recipe = Precision(name="c", label="c", dtype=dtype, quantization=FourBit("fp4", dtype, True))
    model = load_quietly(model_folder("llama-tied"), recipe).model
    layers = [module for module in model.modules() if type(module).__name__ == "Linear4bit"]

    assert {module.weight.quant_type for module in layers} == {"fp4"}
    assert {module.compute_dtype for module in layers} == {getattr(torch, dtype)}
    assert model.get_input_embeddings().weight.dtype == getattr(torch, dtype)


# ---- what loading does to the process -------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize("precision", NAMES)
def test_no_file_stays_mapped(precision: str, model_folder: ModelFolder, tmp_path: Path) -> None:
    folder = shutil.copytree(model_folder("llama-tied"), tmp_path / "model")
    loaded = load_quietly(folder, precision)

    assert str(folder) not in Path("/proc/self/maps").read_text()
    assert continuation(loaded)


@pytest.mark.skipif(sys.platform != "linux", reason="transformers maps files on Linux")
def test_a_plain_load_does_keep_its_file_mapped(model_folder: ModelFolder, tmp_path: Path) -> None:
    """Otherwise the test above could not fail."""
    folder = shutil.copytree(model_folder("llama-tied"), tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    assert str(folder) in Path("/proc/self/maps").read_text()
    assert model is not None


@pytest.mark.skipif(sys.platform != "linux", reason="transformers maps files on Linux")
def test_weights_behind_a_link_become_resident_too(model_folder: ModelFolder, tmp_path: Path) -> None:
    """git-annex, DVC and other stores keep the bytes under a name without an extension."""
    folder = shutil.copytree(model_folder("llama-tied"), tmp_path / "model")
    hidden = (folder / "model.safetensors").rename(tmp_path / "d41d8cd98f00b204")
    (folder / "model.safetensors").symlink_to(hidden)

    loaded = load_quietly(folder, "fp32")

    assert str(hidden) not in Path("/proc/self/maps").read_text()
    assert continuation(loaded)


@pytest.mark.skipif(sys.platform != "linux", reason="only there pages can be dropped")
def test_letting_go_touches_no_other_file(tmp_path: Path) -> None:
    """Dropping a library's pages would bring back the content on disk, without what was written to them."""
    (tmp_path / "blobs").mkdir()
    library, weights = tmp_path / "blobs" / "libx.so", tmp_path / "model.safetensors"
    for file in (library, weights):
        file.write_bytes(b"A" * 8192)
    link = tmp_path / "link.safetensors"
    link.symlink_to(weights)
    with library.open("rb") as opened, weights.open("rb") as other:
        written = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
        source = mmap.mmap(other.fileno(), 0, access=mmap.ACCESS_COPY)
        written[:4] = source[:4] = b"RELO"
        release_pages([link])
        assert written[:4] == b"RELO"
        assert source[:4] == b"AAAA"


@pytest.mark.skipif(sys.platform != "linux", reason="only there it is known what is mapped")
def test_two_parameters_over_one_mapped_tensor_become_one_copy(tmp_path: Path) -> None:
    save_file({"w": torch.arange(4096.0)}, tmp_path / "w.safetensors")
    with safe_open(tmp_path / "w.safetensors", framework="pt") as opened:
        mapped = opened.get_tensor("w")
    module = nn.Module()
    module.first, module.second = nn.Parameter(mapped), nn.Parameter(mapped)
    module.square, module.other = nn.Parameter(mapped.view(64, 64)), nn.Parameter(torch.ones(8))
    before = mapped.data_ptr()

    assert make_resident(module, lambda label, done, total: None) == 2 * 4096 * 4

    assert module.first.data_ptr() == module.second.data_ptr() != before
    assert module.square.data_ptr() != before
    assert torch.equal(module.first.data, torch.arange(4096.0))
    assert torch.equal(module.square.data, torch.arange(4096.0).view(64, 64))


@pytest.mark.parametrize(
    ("family", "precision"),
    [case for case in CASES if case[0] in ("llama", "gpt2", "mixtral") and case[1] in (*DAILY, "int8-ao")],
)
def test_progress_counts_bytes_up_to_the_total(family: str, precision: str, model_folder: ModelFolder) -> None:
    steps: list[tuple[str, int, int]] = []
    load_model(
        tiny.load_command(model_folder(family), precision),
        lambda phase: None,
        lambda label, done, total: steps.append((label, done, total)),
    )

    total = Checkpoint.read(model_folder(family)).total_bytes
    reading = [(done, of) for label, done, of in steps if label == "Reading weights"]
    assert {of for _, of in reading} == {total}
    assert len({done for done, _ in reading}) > 10
    assert reading[-2][0] > total // 2  # really counted, not just set to complete at the end
    for label in {label for label, _, _ in steps}:
        done = [done for of_label, done, _ in steps if of_label == label]
        assert done == sorted(done)
        assert done[-1] == next(of for of_label, _, of in reversed(steps) if of_label == label)


def test_phases_come_in_order(model_folder: ModelFolder) -> None:
    phases: list[Phase] = []
    load_model(tiny.load_command(model_folder("llama"), "int8"), phases.append, lambda label, done, total: None)

    assert phases == [Phase.START, Phase.QUANTIZE, Phase.COPY, Phase.WARM_UP, Phase.CHECK]


def test_shards_load_like_one_file(model_folder: ModelFolder, tmp_path: Path, load_shared: LoadShared) -> None:
    folder = shutil.copytree(model_folder("llama"), tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="100KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 2

    sharded = load_quietly(folder, "int8")

    assert sharded.weight_bytes == load_shared("llama", "int8").weight_bytes
    assert continuation(sharded) == continuation(load_shared("llama", "int8"))


# ---- generating -----------------------------------------------------------------------------------------------------


def test_sampling_with_a_seed_repeats(load_shared: LoadShared) -> None:
    loaded = load_shared("llama", "fp32")
    sampled: dict[str, Any] = {"do_sample": True, "temperature": 5.0, "top_p": 1.0, "top_k": 0}
    first, again, other = (continuation(loaded, **sampled, seed=seed) for seed in (7, 7, 8))

    assert first == again
    assert first != other
    assert first != continuation(loaded)


def test_top_k_of_one_is_greedy(load_shared: LoadShared) -> None:
    loaded = load_shared("llama", "fp32")

    assert continuation(loaded, do_sample=True, temperature=5.0, top_p=1.0, top_k=1) == continuation(loaded)


def test_a_repetition_penalty_keeps_tokens_from_coming_again(load_shared: LoadShared) -> None:
    loaded = load_shared("gpt2", "fp32")
    free, penalized = (continuation(loaded, max_new_tokens=24, repetition_penalty=value) for value in (1.0, 50.0))

    assert len(set(penalized)) > len(set(free))


def test_an_end_token_stops_the_text(model_folder: ModelFolder, load_shared: LoadShared, tmp_path: Path) -> None:
    ids = continuation(load_shared("llama", "fp32"))
    folder = shutil.copytree(model_folder("llama"), tmp_path / "model")
    tiny.edit_json(folder / "generation_config.json", eos_token_id=[1, ids[3]])
    asked = tiny.request()

    events = carry_out(tiny.load_command(folder), Generate(id=2, request=asked))

    assert [token.id for token in tokens_of(events)] == ids[:4]
    assert isinstance(events[-1], Generated) and events[-1].finish_reason == "stop"


def test_the_last_token_allowed_may_be_the_end(
    model_folder: ModelFolder, load_shared: LoadShared, tmp_path: Path
) -> None:
    ids = continuation(load_shared("llama", "fp32"))
    folder = shutil.copytree(model_folder("llama"), tmp_path / "model")
    tiny.edit_json(folder / "generation_config.json", eos_token_id=ids[3])

    events = carry_out(tiny.load_command(folder), Generate(id=2, request=tiny.request(max_new_tokens=4)))

    assert isinstance(events[-1], Generated) and events[-1].finish_reason == "stop"


def test_a_cancel_ends_after_the_token_in_work(model_folder: ModelFolder) -> None:
    """generate checks for a stop before it yields a token, so the sixth is computed when five are out."""
    command = tiny.load_command(model_folder("llama"))
    events = carry_out(command, Generate(id=2, request=tiny.request(max_new_tokens=100)), cancel_after=5)

    assert len(tokens_of(events)) == 6
    assert isinstance(events[-1], Generated) and events[-1].finish_reason == "cancelled"


@pytest.mark.parametrize(
    "own",
    [
        {"do_sample": True, "temperature": 9.0, "top_k": 3},
        {"num_beams": 3},
        {"no_repeat_ngram_size": 1},
        {"repetition_penalty": 50.0},
        {"min_new_tokens": 30},
        {"suppress_tokens": list(range(200, 300))},
        {"max_length": 3, "max_new_tokens": 2},
    ],
    ids=lambda own: next(iter(own)),
)
def test_the_models_own_generation_settings_are_not_used(
    own: dict[str, Any], model_folder: ModelFolder, load_shared: LoadShared, tmp_path: Path
) -> None:
    folder = shutil.copytree(model_folder("gpt2"), tmp_path / "model")
    tiny.edit_json(folder / "generation_config.json", **own)

    ids = continuation(load_quietly(folder), max_new_tokens=24)

    assert ids == continuation(load_shared("gpt2", "fp32"), max_new_tokens=24)


def test_the_chat_template_is_used_when_asked_for(model_folder: ModelFolder) -> None:
    asked = tiny.request("hi", chat_template=True, max_new_tokens=2)
    events = carry_out(tiny.load_command(model_folder("llama"), asked=asked), Generate(id=2, request=asked))
    tokenizer = tiny.byte_level_tokenizer()

    (prompt,) = (event for event in events if type(event).__name__ == "PromptRead")
    assert tokenizer.decode(list(prompt.token_ids)) == "user: hi\nassistant:"  # type: ignore[union-attr]


def test_every_held_tensor_is_on_the_device_and_named(load_shared: LoadShared) -> None:
    loaded = load_shared("llama-tied", "nf4-dq")
    held = list(held_tensors(loaded.model))

    assert {str(tensor.tensor.device) for tensor in held} == {"cpu"}
    assert {"weight", "absmax", "code"} <= {tensor.kind for tensor in held}
    assert sum(tensor.num_bytes for tensor in held) == loaded.weight_bytes
    assert loaded.device_map == {"": "cpu"}
    assert all(tensor.is_contiguous() for tensor in chain(loaded.model.parameters()))
