"""Predicted bytes equal the bytes that a loaded model holds, for every architecture and every ready precision."""

import gc
import shutil
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import torch
from bitsandbytes.nn import Linear4bit
from huggingface_hub import get_local_safetensors_metadata
from msgspec.structs import replace
from safetensors.torch import load_file, save_file
from torch.profiler import ProfilerActivity, profile
from transformers import (
    BloomConfig,
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    DynamicCache,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3nForCausalLM,
    Gemma3nTextConfig,
    GPT2Config,
    GPTJConfig,
    Lfm2Config,
    Lfm2MoeConfig,
    Lfm2MoeForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    OlmoeConfig,
    OpenAIGPTConfig,
    OPTConfig,
    PretrainedConfig,
    Qwen3NextConfig,
    RwkvConfig,
    RwkvForCausalLM,
    XGLMConfig,
    XLNetConfig,
)
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from qplayground.catalog.outline import OUTLINE, Outline
from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorCode, PlaygroundError
from qplayground.core.measures.windows import WINDOW
from qplayground.core.memory.estimate import ContextSize, TensorSize, WeightKinds
from qplayground.core.memory.process_memory import ProcessMemory
from qplayground.core.messages.commands import EstimateMemory, Generate
from qplayground.core.messages.events import Failed, Generated, Loaded, MemoryEstimated, PromptRead
from qplayground.core.placement import Placement
from qplayground.core.precision import READY_PRECISIONS, Precision
from qplayground.core.quantizers.bitsandbytes_4bit import FourBit
from qplayground.engines.transformers.generation import decoding
from qplayground.engines.transformers.loading.accounting import held_tensors, kinds_by_module
from qplayground.engines.transformers.model.shapes import Shapes
from qplayground.engines.transformers.model.tracing import FEW, CannotRunError, run
from qplayground.engines.transformers.prediction.context import ContextSizes, Kept
from qplayground.engines.transformers.prediction.estimating import known_context, weights_by_module
from qplayground.engines.transformers.prediction.weights import predicted_weights
from qplayground.engines.transformers.quantizers import bitsandbytes_4bit
from tests.daily import daily
from tests.engine import tiny
from tests.engine.conftest import ModelFolder, UseProcessor, carry_out, load_quietly, tokens_of

CPU = {"": "cpu"}
PROMPT_TOKENS, NEW_TOKENS = 20, 12
SMALL: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "eos_token_id": 1,
    "pad_token_id": 1,
}


CASES = [
    (family, precision.name)
    for family in tiny.ARCHITECTURES
    for precision in READY_PRECISIONS
    if tiny.takes(family, precision)
]


SAMPLE = [(family, name) for family in ("llama-tied", "gpt2", "mixtral") for name in ("fp32", "int8", "nf4-dq")]


@pytest.mark.parametrize(("family", "precision"), daily(CASES, *SAMPLE))
def test_predicted_weights_are_those_that_are_held(model_folder: ModelFolder, family: str, precision: str) -> None:
    folder = model_folder(family)
    predicted = weights_by_module(Shapes.read(folder), tiny.precision(precision), CPU)
    assert predicted == kinds_by_module(load_quietly(folder, precision).model)


@pytest.mark.parametrize("family", ["llama-biases", "gpt2"])
def test_a_recipe_of_ones_own_too(model_folder: ModelFolder, family: str) -> None:
    own = Precision(
        name="own",
        label="Own",
        dtype=Dtype.FLOAT32,
        quantization=FourBit(compute_dtype=Dtype.BFLOAT16, double_quantization=True),
        skip_modules=("mlp",),
    )
    folder = model_folder(family)
    predicted = weights_by_module(Shapes.read(folder), own, CPU)
    assert predicted == kinds_by_module(load_quietly(folder, own).model)


@torch.inference_mode()
@pytest.mark.parametrize(
    ("family", "precision"),
    daily([case for case in CASES if case[1] in ("fp32", "bf16", "nf4")], ("llama", "bf16"), ("mistral", "nf4")),
)
def test_the_predicted_cache_is_the_one_that_a_text_leaves(
    model_folder: ModelFolder, family: str, precision: str
) -> None:
    loaded = load_quietly(model_folder(family), precision)
    cache = DynamicCache(config=loaded.model.config)
    loaded.model.generate(
        torch.arange(2, 2 + PROMPT_TOKENS).unsqueeze(0),
        past_key_values=cache,
        max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS,
        do_sample=False,
    )
    held = sum(
        tensor.numel() * tensor.element_size() for layer in cache.layers for tensor in (layer.keys, layer.values)
    )
    tokens = PROMPT_TOKENS + NEW_TOKENS - 1
    predicted = ContextSizes(Shapes.read(model_folder(family))).of(PROMPT_TOKENS, tokens)
    assert predicted is not None and predicted.cache.num_bytes(tiny.precision(precision).dtype) == held


@torch.inference_mode()
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "mixtral"])
def test_the_predicted_activations_are_about_what_torch_allocates(
    model_folder: ModelFolder, family: str, precision: str
) -> None:
    tokens = 120
    loaded = load_quietly(model_folder(family), precision)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        loaded.model(input_ids=torch.full((1, tokens), 3), use_cache=True, logits_to_keep=1)
    results = profiler.profiler.kineto_results
    changes = [event.nbytes() for event in results.events() if event.name() == "[memory]"]
    size = ContextSizes(Shapes.read(model_folder(family))).of(tokens, tokens)
    assert size is not None
    predicted = (size.cache + size.activations).num_bytes(tiny.precision(precision).dtype)
    # The prediction counts copies to float32 even in float32 models. It omits attention's scratch memory and unused
    # experts.
    assert 0.75 < predicted / max(accumulate(changes)) < 1.75


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_a_scored_window_takes_is_about_what_torch_allocates(model_folder: ModelFolder, precision: str) -> None:
    loaded = load_quietly(model_folder("llama"), precision)
    ids = torch.full((1, WINDOW - 1), 3)
    with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        loaded.model(input_ids=ids, use_cache=False, logits_to_keep=WINDOW // 2)
    results = profiler.profiler.kineto_results
    changes = [event.nbytes() for event in results.events() if event.name() == "[memory]"]
    shapes = Shapes.read(model_folder("llama"))
    size = ContextSizes(shapes).of(5, 9)
    assert size is not None
    assert 0.75 < size.scored.num_bytes(tiny.precision(precision).dtype) / max(accumulate(changes)) < 1.75
    assert size.scored.elements > size.activations.elements  # those of five tokens
    first = ContextSizes(shapes).of(None, 9)
    assert first is not None and first.scored == TensorSize(0)  # the first answer does not run it


def test_a_scored_windows_logits_count() -> None:
    vocabulary = 50_000
    config = GPT2Config(vocab_size=vocabulary, n_embd=8, n_layer=1, n_head=2)
    size = ContextSizes(Shapes(config)).of(5, 9)
    assert size is not None and size.scored.elements >= WINDOW // 2 * vocabulary


@pytest.mark.parametrize("precision", ["int8", "nf4"])
@pytest.mark.parametrize("family", tiny.UNQUANTIZABLE)
def test_what_cannot_be_quantized_is_refused_before_the_load_and_by_it(
    model_folder: ModelFolder, family: str, precision: str
) -> None:
    with pytest.raises(PlaygroundError, match="would convert nothing"):
        Shapes.read(model_folder(family)).converted_layers(tiny.precision(precision))
    with pytest.raises(PlaygroundError, match="would convert nothing"):
        load_quietly(model_folder(family), precision)


def test_kinds_add_up_to_all_that_is_held(model_folder: ModelFolder) -> None:
    model = load_quietly(model_folder("gpt2"), "nf4-dq").model
    total = sum(kinds_by_module(model).values(), WeightKinds())
    assert total.total == sum(held.num_bytes for held in held_tensors(model))
    assert total.quantized and total.scales and total.plain


def test_a_model_whose_code_runs_in_float32_only_has_a_known_cache(
    model_folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reformer always makes float32 states, and multiplies them with the weights."""
    folder = model_folder("llama")
    forward = LlamaForCausalLM.forward

    def mixes(model: LlamaForCausalLM, *given: Any, **settings: Any) -> Any:
        model.lm_head(torch.ones(1, model.config.hidden_size, device="meta"))
        return forward(model, *given, **settings)

    expected = ContextSizes(Shapes.read(folder)).of(8, 20).cache.num_bytes(Dtype.FLOAT32)
    monkeypatch.setattr(LlamaForCausalLM, "forward", mixes)

    assert ContextSizes(Shapes.read(folder)).of(8, 20).cache.num_bytes(Dtype.FLOAT32) == expected


def test_an_architecture_that_cannot_be_run_without_weights_has_an_unknown_cache(
    model_folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = Shapes.read(model_folder("llama"))

    def refuse(*_args: object, **_settings: object) -> None:
        raise NotImplementedError("aten::nonzero")

    monkeypatch.setattr(type(shapes.skeleton(Dtype.BFLOAT16)), "forward", refuse)
    with pytest.raises(CannotRunError, match="LlamaForCausalLM cannot be run without its weights"):
        ContextSizes(shapes).of(8, 8)
    context, unknown = known_context(ContextSizes(shapes), 8, 8)
    assert context is None and unknown == "LlamaForCausalLM cannot be run without its weights."
    assert len(shapes.converted_layers(tiny.precision("nf4"))) == len(shapes.layer_use.ran) - 1  # not the head


@pytest.mark.parametrize(
    ("precision", "published", "left_out_there"),
    [
        ("fp32", 497_759_232, 0),
        ("bf16", 248_879_616, 0),
        ("fp16", 248_879_616, 0),
        ("int8", 163_944_960, 4 * 12 * (3 * 768 + 768 + 4 * 768 + 768)),  # row scales
        ("nf4", 126_786_048, 48 * 64),  # a table of sixteen float32 for each layer
        ("nf4-dq", 122_825_472, 48 * (64 + 1024 + 4)),  # both tables and the offset
    ],
)
def test_gpt2_has_the_published_sizes(tmp_path: Path, precision: str, published: int, left_out_there: int) -> None:
    GPT2Config().save_pretrained(tmp_path)
    shapes, recipe = Shapes.read(tmp_path), tiny.precision(precision)
    layers = frozenset(shapes.converted_layers(recipe))
    predicted = predicted_weights(shapes, layers, recipe, repacks=False)
    assert sum(predicted.values(), WeightKinds()).total == published + left_out_there


def test_a_load_says_what_it_had_reckoned_and_what_came_of_it(model_folder: ModelFolder) -> None:
    folder = model_folder("llama-tied")
    load = tiny.load_command(folder, "nf4")
    events = carry_out(load, Generate(id=2, request=load.request))
    (loaded,) = (event for event in events if isinstance(event, Loaded))
    (generated,) = (event for event in events if isinstance(event, Generated))
    assert loaded.estimate is not None and loaded.unforeseen == ()
    assert loaded.estimate.by_kind == loaded.by_kind and loaded.by_kind.total == loaded.weight_bytes
    assert sum(loaded.by_module.values(), WeightKinds()) == loaded.by_kind
    assert loaded.by_module["model.layers.0.self_attn.q_proj"].quantized == 64 * 64 // 2
    assert loaded.runtime_memory is not None and generated.memory is not None
    assert loaded.estimate.runtime_bytes == loaded.runtime_memory.resident_bytes
    assert loaded.context is not None and loaded.estimate.kv_cache_bytes == loaded.context.cache.num_bytes(
        Dtype.BFLOAT16
    )
    assert [phase.name for phase in generated.phases] == [
        "start",
        "quantize",
        "copy",
        "warm-up",
        "check",
        "prefill",
        "decode",
    ]
    others = [phase.peak_resident_bytes for phase in generated.phases if phase.name != "check"]
    assert generated.peak_resident_bytes == max(*others, generated.memory.resident_bytes)


def test_the_memory_after_a_text_has_its_cache(model_folder: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []

    def reading(_process: psutil.Process) -> ProcessMemory:
        caches = [found for found in gc.get_objects() if isinstance(found, DynamicCache)]
        held.extend(cache.get_seq_length() for cache in caches)
        return ProcessMemory(1, 1)

    monkeypatch.setattr(decoding, "read_process_memory", reading)
    load = tiny.load_command(model_folder("llama"), "fp32")
    gc.collect()  # drop caches of other tests
    events = carry_out(load, Generate(id=2, request=load.request))
    (prompt,) = (event for event in events if isinstance(event, PromptRead))
    assert held == [len(prompt.token_ids) + len(tokens_of(events)) - 1]  # the last token is never read


def test_a_known_context_is_not_reckoned_again(model_folder: ModelFolder) -> None:
    command = replace(tiny.load_command(model_folder("llama"), "fp32"), context=ContextSize(TensorSize(1000)))
    (loaded,) = (event for event in carry_out(command) if isinstance(event, Loaded))
    assert loaded.estimate is not None and loaded.estimate.kv_cache_bytes == 4000


def test_what_is_held_against_the_prediction_is_named(
    model_folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bitsandbytes_4bit, "_CODE_BYTES", 0)  # a layout that bitsandbytes does not have
    loaded = load_quietly(model_folder("llama"), "nf4")
    assert len(loaded.unforeseen) == 2 * 7
    assert loaded.estimate.by_kind.total == loaded.weight_bytes - 64 * 14


# ---- asking without loading -----------------------------------------------------------------------------------------


def ask(folder: Path, *precisions: Precision, **asked: Any) -> list[MemoryEstimated | Failed]:
    command = EstimateMemory(id=7, path=str(folder), precisions=precisions, placement=Placement(device="cpu"), **asked)
    events = carry_out(command)
    assert all(isinstance(event, (MemoryEstimated, Failed)) and event.command_id == 7 for event in events)
    return [event for event in events if isinstance(event, (MemoryEstimated, Failed))]


def test_an_engine_answers_at_once_and_again_with_the_tokenizer(model_folder: ModelFolder) -> None:
    folder = model_folder("llama")
    first, final = ask(folder, *READY_PRECISIONS, request=tiny.request(max_new_tokens=30))
    assert isinstance(first, MemoryEstimated) and isinstance(final, MemoryEstimated)
    assert not first.final and first.context_tokens == 30
    assert final.final and final.context_tokens > 30
    assert [estimate.precision for estimate in final.estimates] == [precision.name for precision in READY_PRECISIONS]
    for estimate in final.estimates:
        held = load_quietly(folder, estimate.precision).by_kind
        assert estimate.by_kind == held
        assert estimate.resident_bytes is not None and estimate.load_peak_bytes is not None
        assert estimate.resident_bytes > (estimate.runtime_bytes or 0) > 10_000_000
        assert 0 <= estimate.shared_bytes <= (estimate.runtime_bytes or 0)


def test_a_context_that_is_given_needs_no_tokenizer(model_folder: ModelFolder, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder("llama"), folder)
    (folder / "tokenizer.json").write_text("{")
    first, final = ask(folder, READY_PRECISIONS[0], context_tokens=100)
    assert isinstance(first, MemoryEstimated) and isinstance(final, MemoryEstimated)
    assert final.final and first.context_tokens == final.context_tokens == 100
    assert final.tokenizer_problem is not None and final.tokenizer_problem.code is ErrorCode.BROKEN_TOKENIZER
    assert final.estimates == first.estimates
    (command,) = (EstimateMemory(id=7, path=str(folder), precisions=READY_PRECISIONS[:1], context_tokens=100),)
    first, final, again = (event for event in carry_out(command, command) if isinstance(event, MemoryEstimated))
    assert again.final and again.tokenizer_problem == final.tokenizer_problem  # the tokenizer is read once


@pytest.mark.parametrize("family", ["llama", "llama-tied", "gpt2", "mixtral", "gemma3"])
def test_a_checkpoint_that_lacks_a_tensor_has_no_estimate(
    model_folder: ModelFolder, tmp_path: Path, family: str
) -> None:
    """The load would refuse it too. A tied head is not missing."""
    folder = Path(shutil.copytree(model_folder(family), tmp_path / "model"))
    assert isinstance(ask(folder, READY_PRECISIONS[0], context_tokens=8)[-1], MemoryEstimated)
    tensors = load_file(folder / "model.safetensors")
    gone = next(name for name in sorted(tensors) if "norm" in name or "ln_" in name)
    save_file({name: value for name, value in tensors.items() if name != gone}, folder / "model.safetensors")
    (refused,) = ask(folder, READY_PRECISIONS[0], context_tokens=8)
    assert isinstance(refused, Failed) and refused.error.code is ErrorCode.MISSING_TENSORS
    assert gone in refused.error.message


def test_a_recurrent_model_is_reckoned_at_once_and_does_not_grow() -> None:
    shapes = Shapes(MambaConfig(vocab_size=320, hidden_size=64, num_hidden_layers=2))
    few, many = ContextSizes(shapes).of(1, 8), ContextSizes(shapes).of(1, 1_000_000)
    assert few is not None and few == many
    long = ContextSizes(shapes).of(1_000_000, 1_000_000)
    assert long is not None and long.cache == few.cache
    assert long.activations.num_bytes(Dtype.FLOAT32) > 1_000_000 * 64 * 4  # at least one state for each token


def test_weights_are_no_activations() -> None:
    """Experts are selected by indexing, which gives views of weights."""
    shapes = Shapes(OlmoeConfig(num_hidden_layers=2, hidden_size=256, intermediate_size=256, num_experts=64))
    context = ContextSizes(shapes).of(9, 9)
    assert context is not None and 0 < context.activations.num_bytes(Dtype.BFLOAT16) < 5_000_000


def test_a_hybrid_model_whose_operations_do_not_grow_is_run_at_its_length() -> None:
    shapes = Shapes(Lfm2Config(vocab_size=320, hidden_size=64, intermediate_size=128, num_hidden_layers=3))
    sizes = ContextSizes(shapes)
    context, run = sizes.of(300, 300), sizes.run_at(300)
    assert context.activations == run.activations and context.cache == run.cache


def test_an_empty_prompt_hides_no_cache(model_folder: ModelFolder) -> None:
    sizes = ContextSizes(Shapes.read(model_folder("llama")))
    without, one = sizes.of(0, 50), sizes.of(1, 50)
    assert without is not None and one is not None and without.cache == one.cache


def test_a_load_reckons_others_by_the_way(model_folder: ModelFolder) -> None:
    command = replace(tiny.load_command(model_folder("llama"), "fp32"), others=READY_PRECISIONS[1:])
    (loaded,) = (event for event in carry_out(command) if isinstance(event, Loaded))
    _, answer = ask(model_folder("llama"), *READY_PRECISIONS)
    assert isinstance(answer, MemoryEstimated)
    known = {estimate.precision: estimate.by_kind for estimate in answer.estimates}
    assert {estimate.precision: estimate.by_kind for estimate in loaded.others} == {
        name: kinds for name, kinds in known.items() if name != "fp32"
    }


def test_what_forbids_one_precision_is_in_its_estimate(model_folder: ModelFolder) -> None:
    own = Precision(name="own", label="Own", dtype=Dtype.BFLOAT16, quantization=FourBit(), skip_modules=("nowhere",))
    _, answer = ask(model_folder("llama"), READY_PRECISIONS[0], own, context_tokens=8)
    assert isinstance(answer, MemoryEstimated)
    fine, wrong = answer.estimates
    assert fine.problem is None and fine.resident_bytes
    assert wrong.problem is not None and "nowhere" in wrong.problem.message
    assert wrong.resident_bytes is None and wrong.load_peak_bytes is None


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    (refused,) = ask(tmp_path, READY_PRECISIONS[0])
    assert isinstance(refused, Failed)


def test_an_outline_gives_what_the_whole_model_gives(model_folder: ModelFolder, tmp_path: Path) -> None:
    folder = model_folder("qwen2")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / name, tmp_path)
    header = get_local_safetensors_metadata(folder).files_metadata["model.safetensors"].tensors
    tensors: dict[str, tuple[str, int]] = {
        name: (info.dtype, info.data_offsets[1] - info.data_offsets[0]) for name, info in header.items()
    }
    (tmp_path / OUTLINE).write_bytes(msgspec.json.encode(Outline({"model.safetensors": tensors})))
    _, outlined = ask(tmp_path, *READY_PRECISIONS, context_tokens=50)
    _, whole = ask(folder, *READY_PRECISIONS, context_tokens=50)
    assert isinstance(outlined, MemoryEstimated) and isinstance(whole, MemoryEstimated)
    for one, other in zip(outlined.estimates, whole.estimates, strict=True):
        assert (one.by_kind, one.kv_cache_bytes) == (other.by_kind, other.kv_cache_bytes)
        assert one.load_extra_bytes == other.load_extra_bytes


# ---- the model's own code -------------------------------------------------------------------------------------------


def test_gpt2_with_a_padding_token_and_dynamic_positions_have_a_known_cache() -> None:
    """Both read values: GPT-2 looks for padding ids, dynamic positions need the text's length."""
    gpt2 = GPT2Config(vocab_size=320, n_embd=64, n_layer=2, n_head=4, pad_token_id=1)
    rope = {"rope_type": "dynamic", "factor": 6.0, "rope_theta": 1e7}
    llama = LlamaConfig(**SMALL, rope_parameters=rope)
    for config, heads in ((gpt2, 4), (llama, 2)):
        context = ContextSizes(Shapes(config)).of(20, 31)
        assert context.cache == TensorSize(2 * 2 * heads * 16 * 31)  # keys and values of two layers


def test_a_model_without_a_cache_keeps_nothing() -> None:
    config = OpenAIGPTConfig(vocab_size=320, n_embd=64, n_layer=2, n_head=4)
    assert ContextSizes(Shapes(config)).of(20, 31).cache == TensorSize(0)


def test_a_recurrent_state_outside_of_a_cache_counts_and_takes_no_time() -> None:
    shapes = Shapes(RwkvConfig(vocab_size=320, hidden_size=64, attention_hidden_size=64, num_hidden_layers=12))
    context = ContextSizes(shapes).of(1_000_000, 1_000_031)
    assert context.cache == TensorSize(2 * 12 * 64, 3 * 12 * 64 * 4)  # five states, three of them in float32


def test_a_sliding_window_ends_in_a_recurrent_model_too() -> None:
    """Recurrent layers are not run at full length. A sliding window beside them must still stop growing."""
    layers = ["linear_attention", "full_attention"] * 2
    shapes = Shapes(Qwen3NextConfig(**{**SMALL, "num_hidden_layers": 4}, head_dim=16, layer_types=layers))
    sizes = ContextSizes(shapes)
    grows = sizes.of(None, 1000).cache - sizes.of(None, 100).cache
    assert grows == TensorSize(900 * 2 * 2 * 2 * 16)  # keys and values of two layers
    few, twice = (Kept.of(run(shapes.skeleton(Dtype.BFLOAT16), tokens)[0]) for tokens in (FEW, 2 * FEW))
    for kept in (few, twice):
        for layer in [layer for layer in kept.layers if type(layer) is DynamicLayer]:
            layer.__class__ = DynamicSlidingWindowLayer
            layer.sliding_window = 8
    assert few.continued(twice, 1000) - few.continued(twice, 7) == TensorSize(0)


def test_modules_that_no_text_passes_are_not_repacked(tmp_path: Path, use_processor: UseProcessor) -> None:
    use_processor("avx512_bf16")
    vision = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Gemma3Config(
        text_config={**SMALL, "head_dim": 32},
        vision_config={**vision, "image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
    )
    folder = tiny.make(tmp_path / "model", lambda: Gemma3ForConditionalGeneration(config))
    loaded = load_quietly(folder, "nf4")
    assert loaded.unforeseen == () and loaded.estimate.by_kind == loaded.by_kind
    tower = {name: kinds for name, kinds in loaded.by_module.items() if "vision_tower" in name and kinds.quantized}
    assert tower and all(kinds.scales == 4 * kinds.quantized * 2 // 64 + 64 for kinds in tower.values())


@pytest.mark.parametrize("precision", ["bf16", "int8", "nf4"])
def test_a_buffer_that_is_made_in_float32_stays_so(tmp_path: Path, precision: str) -> None:
    config = Lfm2MoeConfig(
        **{**SMALL, "num_hidden_layers": 3},
        layer_types=["conv", "full_attention", "conv"],
        num_dense_layers=1,
        num_experts=32,
        num_experts_per_tok=2,
        moe_intermediate_size=64,
    )
    loaded = load_quietly(tiny.make(tmp_path / "model", lambda: Lfm2MoeForCausalLM(config)), precision)
    assert loaded.unforeseen == ()
    assert loaded.by_module["model.layers.1.feed_forward"].buffers == 32 * 4


@pytest.mark.parametrize("precision", ["fp32", "bf16", "nf4"])
@pytest.mark.parametrize("differ", [True, False])
def test_what_the_config_ties_and_the_file_has_twice_is_one_only_where_both_are_equal(
    tmp_path: Path, differ: bool, precision: str
) -> None:
    folder = tiny.make(tmp_path / "model", tiny.llama)
    tiny.edit_json(folder / "config.json", tie_word_embeddings=True)
    if not differ:
        tensors = load_file(folder / "model.safetensors")
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    loaded = load_quietly(folder, precision)
    assert loaded.unforeseen == () and ("lm_head" in loaded.by_module) is differ


@pytest.mark.parametrize("precision", ["int8", "nf4"])
def test_skips_are_those_before_tying_and_what_is_kept_in_float32(tmp_path: Path, precision: str) -> None:
    """Gemma 3n's last parameter changes once its head is tied to its embedding."""
    config = Gemma3nTextConfig(
        **{**SMALL, "intermediate_size": [128] * 2},
        hidden_size_per_layer_input=64,
        vocab_size_per_layer_input=320,
        layer_types=["sliding_attention", "full_attention"],
        num_kv_shared_layers=0,
        laurel_rank=64,
        activation_sparsity_pattern=[0.0] * 2,
        sliding_window=8,
    )
    loaded = load_quietly(tiny.make(tmp_path / "model", lambda: Gemma3nForCausalLM(config)), precision)
    assert loaded.unforeseen == () and loaded.quantized_modules > 20


def test_layers_that_the_models_code_rescales_are_quantized_as_it_does_and_that_is_said(tmp_path: Path) -> None:
    config = RwkvConfig(vocab_size=320, hidden_size=64, attention_hidden_size=64, num_hidden_layers=12, eos_token_id=1)
    loaded = load_quietly(tiny.make(tmp_path / "model", lambda: RwkvForCausalLM(config)), "nf4")
    assert loaded.unforeseen == () and loaded.estimate.by_kind == loaded.by_kind
    assert "24 of 84 layers are FP4 with double quantization" in loaded.estimate.caution
    kinds = {module.weight.quant_state.quant_type for module in loaded.model.modules() if type(module) is Linear4bit}
    assert kinds == {"nf4", "fp4"}


@pytest.mark.parametrize(("precision", "left"), [("int8", 2), ("nf4", 0)])
def test_layers_of_deepseek_that_int8_cannot_take_stay_as_they_are(tmp_path: Path, precision: str, left: int) -> None:
    config = DeepseekV3Config(
        **{**SMALL, "num_key_value_heads": 4},
        moe_intermediate_size=64,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_group=1,
        topk_group=1,
        first_k_dense_replace=1,
        kv_lora_rank=64,
        q_lora_rank=64,
        qk_rope_head_dim=32,
        qk_nope_head_dim=32,
        v_head_dim=32,
    )
    loaded = load_quietly(tiny.make(tmp_path / "model", lambda: DeepseekV3ForCausalLM(config)), precision)
    assert loaded.unforeseen == ()
    assert (f"{left} of " in loaded.estimate.caution and "kv_b_proj" in loaded.estimate.caution) is bool(left)


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        (GPT2Config(n_layer=1), 1024),
        (
            OPTConfig(num_hidden_layers=1, hidden_size=64, word_embed_proj_dim=64, ffn_dim=64, num_attention_heads=4),
            2048,
        ),
        (GPTJConfig(n_layer=1), 2048),
        (XGLMConfig(num_layers=1), None),  # computes a longer table when needed
        (LlamaConfig(**{**SMALL, "max_position_embeddings": 8}), None),
        (BloomConfig(n_layer=1), None),
        (MambaConfig(num_hidden_layers=1), None),
        (XLNetConfig(d_model=64, n_layer=1, n_head=4, d_inner=64), None),  # its config says -1
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_a_table_of_positions_limits_a_text(config: PretrainedConfig, limit: int | None) -> None:
    assert Shapes(config).position_limit(None) == limit
