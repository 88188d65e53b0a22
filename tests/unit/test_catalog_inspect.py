"""What is known of a folder without loading it, and one clear problem for each fault."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qplayground.catalog.headers import BITS
from qplayground.catalog.inspect import inspect_folder
from qplayground.catalog.quantized import UNNAMED
from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.model import ModelEntry, ModelSource, ModelTypes
from tests.unit.catalog_files import LLAMA, TYPES, safetensors_bytes, tensor_file, write_model, write_shards


def look(folder: Path, types: ModelTypes | None = TYPES) -> ModelEntry:
    return inspect_folder(folder, source=ModelSource.FOLDER, model_types=types)


def problem_of(folder: Path, code: ErrorCode) -> ErrorInfo:
    entry = look(folder)
    assert entry.problem is not None
    assert entry.problem.code is code, entry.problem
    assert entry.problem.message
    assert entry.problem.hint
    assert not entry.usable
    return entry.problem


def test_a_whole_model_is_described(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny", chat_template__jinja=b"{{ messages }}")
    header = {
        "big": {"dtype": "BF16", "shape": [100], "data_offsets": [0, 200]},
        "small": {"dtype": "F32", "shape": [10], "data_offsets": [200, 240]},
    }
    content = safetensors_bytes(header, bytes(240))
    (folder / "model.safetensors").write_bytes(content)
    assert look(folder) == ModelEntry(
        id=str(folder),
        source=ModelSource.FOLDER,
        path=str(folder),
        architecture="LlamaForCausalLM",
        parameters=110,
        size_bytes=len(content),
        complete=True,
        context_tokens=2048,
        has_chat_template=True,
        stored_dtype="bfloat16",
    )
    assert look(folder).usable


def test_shards_are_added_up(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    write_shards(folder, present=3, total=3)
    entry = look(folder)
    assert (entry.parameters, entry.size_bytes, entry.usable) == (18, 3 * len(tensor_file()), True)


def test_a_given_id_is_kept(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    entry = inspect_folder(folder, source=ModelSource.CACHE, model_types=TYPES, id="owner/tiny")
    assert (entry.id, entry.source) == ("owner/tiny", ModelSource.CACHE)


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({"max_position_embeddings": 512}, 512),
        ({"n_positions": 1024}, 1024),
        ({"text_config": {"max_position_embeddings": 131072}}, 131072),
        ({"max_position_embeddings": -1, "n_ctx": 64}, 64),
        ({"max_position_embeddings": True}, None),
        ({"max_position_embeddings": "512"}, None),
        ({}, None),
    ],
)
def test_the_context_is_found_wherever_configs_keep_it(
    tmp_path: Path, fields: dict[str, Any], tokens: int | None
) -> None:
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **fields}
    assert look(write_model(tmp_path / "tiny", config)).context_tokens == tokens


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("tokenizer_config.json", {"chat_template": "{{ x }}"}, True),
        ("tokenizer_config.json", {"chat_template": [{"name": "default", "template": "x"}]}, True),
        ("chat_template.json", {"chat_template": "{{ x }}"}, False),
        ("tokenizer_config.json", {"chat_template": [{"name": "rag", "template": "x"}]}, False),
        ("tokenizer_config.json", {"chat_template": {"default": "x"}}, True),
        ("tokenizer_config.json", {"chat_template": [{"name": "default", "template": ""}]}, False),
        ("tokenizer_config.json", {"chat_template": ["default"]}, False),
        ("tokenizer_config.json", {"chat_template": None}, False),
        ("tokenizer_config.json", ["chat_template"], False),
    ],
)
def test_chat_templates_are_found(tmp_path: Path, name: str, content: Any, expected: bool) -> None:
    folder = write_model(tmp_path / "tiny")
    (folder / name).write_text(json.dumps(content))
    assert look(folder).has_chat_template is expected


def test_a_missing_folder(tmp_path: Path) -> None:
    assert str(tmp_path / "gone") in problem_of(tmp_path / "gone", ErrorCode.MODEL_NOT_FOUND).message
    assert look(tmp_path / "gone").path is None


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(tensor_file())
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    problem_of(tmp_path / "model.safetensors", ErrorCode.MODEL_NOT_FOUND)
    problem_of(tmp_path / "model.gguf", ErrorCode.GGUF_ONLY)


@pytest.mark.parametrize(
    "config", [b"", b"{", b"[]", b"{}", b'{"model_type": 7}', b'{"model_type": ""}', b"\xff\xfe", b"[" * 200_000]
)
def test_a_broken_config(tmp_path: Path, config: bytes) -> None:
    folder = write_model(tmp_path / "tiny")
    (folder / "config.json").write_bytes(config)
    problem_of(folder, ErrorCode.BROKEN_CONFIG)
    assert not look(folder).complete


def test_a_missing_config(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    (folder / "config.json").unlink()
    assert "no config.json" in problem_of(folder, ErrorCode.BROKEN_CONFIG).message


def test_a_cache_repository_opened_as_a_folder(tmp_path: Path) -> None:
    for name in ("blobs", "snapshots", "refs"):
        (tmp_path / name).mkdir()
    assert "snapshots" in problem_of(tmp_path, ErrorCode.BROKEN_CONFIG).hint


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]},
        {"model_type": "clip", "architectures": ["CLIPModel"]},
        {"model_type": "bert", "architectures": ["BertForMaskedLM"]},
        {"model_type": "bert", "architectures": ["BertLMHeadModel"]},
        {"model_type": "bert", "architectures": ["BertLMHeadModel"], "is_decoder": False},
    ],
)
def test_models_that_do_not_continue_text(tmp_path: Path, config: dict[str, Any]) -> None:
    problem_of(write_model(tmp_path / "tiny", config), ErrorCode.NOT_CAUSAL)


def test_a_bert_set_up_as_a_decoder_is_a_text_generator(tmp_path: Path) -> None:
    config = {"model_type": "bert", "architectures": ["BertLMHeadModel"], "is_decoder": True}
    assert look(write_model(tmp_path / "tiny", config)).usable


@pytest.mark.parametrize(
    "fields",
    [
        {"architectures": ["PeftModelForCausalLM"]},
        {"architectures": ["LLaMAForCausalLM"]},
        {"architectures": ["LlamaForConditionalGeneration"]},
        {"architectures": None},
        {"architectures": []},
        {"architectures": "LlamaForCausalLM"},
    ],
    ids=str,
)
def test_the_model_type_says_what_it_is(tmp_path: Path, fields: dict[str, Any]) -> None:
    assert look(write_model(tmp_path / "tiny", {**LLAMA, **fields})).usable


def test_an_encoder_decoder_continues_nothing_unless_it_was_saved_without_its_encoder(tmp_path: Path) -> None:
    bart = {"model_type": "bart", "architectures": ["BartForConditionalGeneration"]}
    problem = problem_of(write_model(tmp_path / "a", bart), ErrorCode.NOT_CAUSAL)
    assert "encoder-decoder" in problem.message
    problem_of(write_model(tmp_path / "b", {**LLAMA, "is_encoder_decoder": True}), ErrorCode.NOT_CAUSAL)
    assert look(write_model(tmp_path / "c", {**bart, "is_encoder_decoder": False})).usable


def test_what_transformers_cannot_load_is_told_apart_from_what_is_no_language_model(tmp_path: Path) -> None:
    ministral = {"model_type": "mistral3", "architectures": ["Mistral3ForConditionalGeneration"]}
    message = problem_of(write_model(tmp_path / "a", ministral), ErrorCode.UNSUPPORTED).message
    assert "mistral3" in message and "images or sound" in message
    newer = {"model_type": "llama9", "architectures": ["Llama9ForCausalLM"]}
    assert "'llama9'" in problem_of(write_model(tmp_path / "b", newer), ErrorCode.UNSUPPORTED).message
    clip = {"model_type": "clip", "architectures": ["CLIPModel"]}
    assert "does not continue text" in problem_of(write_model(tmp_path / "c", clip), ErrorCode.NOT_CAUSAL).message


YARN = {"factor": 4.0, "original_max_position_embeddings": 32}


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({"max_position_embeddings": 64, "rope_scaling": {"type": "linear", "factor": 4.0}}, 256),
        ({"max_position_embeddings": 64, "rope_parameters": {"rope_type": "dynamic", "factor": 2}}, 128),
        ({"max_position_embeddings": 64, "max_sequence_length": 512}, 512),
        # yarn: the original length has its own field. max_position_embeddings is the original or the extended length
        (
            {"max_position_embeddings": 128, "rope_scaling": {"factor": 4.0, "original_max_position_embeddings": 32}},
            128,
        ),
        ({"max_position_embeddings": 32, "rope_scaling": YARN}, 128),
        ({"max_position_embeddings": 64, "rope_scaling": {"rope_type": "default"}}, 64),
        ({"max_position_embeddings": 64, "rope_scaling": {"factor": "4"}}, 64),
        ({"max_position_embeddings": 64, "rope_scaling": {"factor": 1e300}}, 64),
        ({"text_config": {"max_position_embeddings": 64, "rope_scaling": {"factor": 2.0}}}, 128),
        ({"model_type": "bloom", "seq_length": 64}, None),
        ({"model_type": "mpt", "max_seq_len": 64}, None),
        ({"model_type": "mpt", "max_seq_len": 64, "attn_config": {"alibi": False}}, 64),
        ({"model_type": "falcon", "max_position_embeddings": 64, "alibi": True}, None),
    ],
    ids=str,
)
def test_scaled_positions_reach_further_and_alibi_ends_nowhere(
    tmp_path: Path, fields: dict[str, Any], tokens: int | None
) -> None:
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **fields}
    assert look(write_model(tmp_path / "tiny", config)).context_tokens == tokens


def test_nothing_is_judged_before_an_engine_said_what_it_can_load(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny", {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]})
    assert look(folder, None).usable


def test_code_that_a_model_brings_is_refused_unless_it_is_not_needed(tmp_path: Path) -> None:
    auto_map = {"AutoModelForCausalLM": "modeling_x.XForCausalLM"}
    foreign = write_model(tmp_path / "a", {"model_type": "x", "architectures": ["XForCausalLM"], "auto_map": auto_map})
    native = write_model(tmp_path / "b", {**LLAMA, "auto_map": auto_map})
    problem_of(foreign, ErrorCode.REMOTE_CODE)
    assert look(native).usable


def stored(*tensors: tuple[str, str, list[int]]) -> bytes:
    """A weight file with tensors of these names, dtypes and shapes."""
    header, end = {}, 0
    for name, dtype, shape in tensors:
        begin, end = end, end + math.prod(shape) * BITS[dtype] // 8
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    return safetensors_bytes(header, bytes(end))


NORM = ("model.norm.weight", "BF16", [64])


@pytest.mark.parametrize(
    ("method", "tensors"),
    [
        ("gptq", [("a.qweight", "I32", [8, 32]), ("a.scales", "F16", [2, 32])]),
        ("awq", [("a.qweight", "I32", [64, 4]), ("a.scales", "F16", [2, 32])]),
        (UNNAMED, [("a.qweight", "I32", [64, 4])]),
        ("compressed-tensors", [("a.weight_packed", "I32", [32, 8]), ("a.weight_scale", "BF16", [32, 2])]),
        ("fp8", [("a.weight", "F8_E4M3", [32, 64])]),
        ("mlx", [("a.weight", "U32", [32, 8]), ("a.scales", "F16", [32, 2]), ("a.biases", "F16", [32, 2])]),
        ("int8 codes with scales", [("a.weight", "I8", [32, 64]), ("a.weight_scale", "BF16", [32, 1])]),
        (UNNAMED, [("a.weight", "U8", [32, 32]), ("a.weight_scale", "F8_E4M3", [32, 4])]),
        (UNNAMED, [("a.a_scale", "F8_E4M3", [32, 4]), ("a.weight", "I32", [32, 32])]),
        ("mxfp4", [("a.down_proj_blocks", "U8", [4, 32, 2, 16]), ("a.down_proj_scales", "U8", [4, 32, 2])]),
        (
            "nvfp4",
            [("a.weight", "U8", [32, 32]), ("a.weight_scale", "F8_E4M3", [32, 4]), ("a.weight_scale_2", "F32", [])],
        ),
        ("nvfp4", [("a.weight_packed", "U8", [32, 32]), ("a.weight_global_scale", "F32", [1])]),
        ("fp4", [("a.weight", "F4", [32, 64])]),
        ("fp8", [("a.gate_up_proj", "F8_E5M2", [4, 32, 64]), ("a.gate_up_proj_scale", "BF16", [4, 1])]),
        ("torchao", [("a._weight_qdata", "I8", [32, 64]), ("a._weight_scale", "BF16", [32, 1])]),
        ("quanto", [("a.weight._data", "I8", [32, 64]), ("a.weight._scale", "BF16", [32, 1])]),
        ("hqq", [("a.W_q", "U8", [32, 32]), ("a.scale", "F16", [32, 1])]),
        ("aqlm", [("a.codebooks", "F16", [1, 256, 1, 8]), ("a.scales", "F16", [32, 1])]),
        ("metal", [("a.weight", "U32", [32, 8]), ("a.scales", "F16", [32, 2]), ("a.qbiases", "F16", [32, 2])]),
        ("bitsandbytes", [("a.weight", "I8", [32, 64]), ("a.SCB", "F32", [32])]),
        ("bitsandbytes", [("a.weight", "U8", [1024, 1]), ("a.weight.quant_state.bitsandbytes__nf4", "U8", [9])]),
    ],
)
def test_tensors_tell_what_quantized_them_where_the_config_does_not(
    tmp_path: Path, method: str, tensors: list[tuple[str, str, list[int]]]
) -> None:
    folder = write_model(tmp_path / "tiny", model__safetensors=stored(NORM, *tensors))
    message = problem_of(folder, ErrorCode.ALREADY_QUANTIZED).message
    assert f"({method})" in message and "config.json does not say" in message
    assert look(folder).parameters is None  # several codes share an element


def test_integers_beside_weights_are_no_quantization(tmp_path: Path) -> None:
    """Masks, positions and counts, as in older checkpoints. A norm's own scale too."""
    tensors = [("h.0.attn.bias", "U8", [4, 4]), ("position_ids", "I64", [1, 8]), ("a.weight", "F32", [4, 4])]
    folder = write_model(tmp_path / "tiny", model__safetensors=stored(NORM, *tensors, ("a.scale", "F32", [4])))
    assert look(folder).usable


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("compressed-tensors", {"compression_config": {"quant_method": "compressed-tensors"}}),
        ("mlx", {"quantization": {"group_size": 64, "bits": 4}}),
        ("mlx", {"quantization": {"group_size": 64, "bits": 4}, "quantization_config": {"group_size": 64, "bits": 4}}),
        ("bitsandbytes", {"quantization_config": {"load_in_8bit": True}}),
        (UNNAMED, {"quantization_config": {"bits": 4}}),
        ("awq", {"text_config": {"quantization_config": {"quant_method": "awq"}}}),
    ],
)
def test_configs_tell_what_quantized_the_weights(tmp_path: Path, method: str, fields: dict[str, Any]) -> None:
    codes = stored(NORM, ("a.weight", "I8", [32, 64]), ("a.weight_scale", "BF16", [32, 1]))
    folder = write_model(tmp_path / "tiny", {**LLAMA, **fields}, model__safetensors=codes)
    named = "int8 codes with scales" if method == UNNAMED else method
    assert f"already quantized ({named})" in problem_of(folder, ErrorCode.ALREADY_QUANTIZED).message


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("quantization_config", {"quantization_config": {"quant_method": "fp8"}}),
        ("compression_config", {"compression_config": {"quant_method": "compressed-tensors"}}),
        ("quantization", {"quantization": {"group_size": 64, "bits": 4}}),
        ("quantization_config", {"text_config": {"quantization_config": {"quant_method": "awq"}}}),
    ],
)
def test_a_config_that_says_quantized_of_plain_tensors(tmp_path: Path, field: str, fields: dict[str, Any]) -> None:
    """A copy converted back to 16 bits, with the old config. Neither is trusted."""
    plain = stored(NORM, ("a.weight", "BF16", [32, 64]))
    folder = write_model(tmp_path / "tiny", {**LLAMA, **fields}, model__safetensors=plain)
    problem = problem_of(folder, ErrorCode.BROKEN_CONFIG)
    assert f"config.json says in {field}" in problem.message and "the tensors are plain bfloat16" in problem.message
    assert f"take {field} out of config.json" in problem.hint


def test_a_config_that_says_quantized_is_believed_while_the_weights_are_not_there(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny", {**LLAMA, "quantization_config": {"quant_method": "gptq", "bits": 4}})
    (folder / "model.safetensors").write_bytes(b"")
    assert "(gptq)" in problem_of(folder, ErrorCode.ALREADY_QUANTIZED).message


@pytest.mark.parametrize("with_config", [True, False])
def test_gguf_only(tmp_path: Path, with_config: bool) -> None:
    folder = write_model(tmp_path / "tiny", tiny__gguf=b"GGUF")
    (folder / "model.safetensors").unlink()
    if not with_config:
        (folder / "config.json").unlink()
    assert "tiny.gguf" in problem_of(folder, ErrorCode.GGUF_ONLY).message


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt", "weights.pth"])
def test_pickles_are_refused_and_never_opened(tmp_path: Path, name: str) -> None:
    folder = write_model(tmp_path / "tiny")
    (folder / "model.safetensors").unlink()
    marker = tmp_path / "ran"
    (folder / name).write_bytes(b"cposix\nsystem\n(S'touch " + os.fsencode(marker) + b"'\ntR.")
    problem = problem_of(folder, ErrorCode.PICKLED_WEIGHTS)
    assert name in problem.message
    assert "save_pretrained" in problem.hint
    assert not marker.exists()


def test_a_pickle_beside_safetensors_is_ignored(tmp_path: Path) -> None:
    assert look(write_model(tmp_path / "tiny", pytorch_model__bin=b"x" * 100)).usable


def test_no_weights(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny", training_args__bin=b"x")
    (folder / "model.safetensors").unlink()
    problem_of(folder, ErrorCode.NO_WEIGHTS)


def test_an_adapter_is_named_as_such(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny", adapter_model__safetensors=tensor_file())
    (folder / "model.safetensors").unlink()
    assert "LoRA" in problem_of(folder, ErrorCode.NO_WEIGHTS).message


def test_a_file_without_tensors_holds_no_weights(tmp_path: Path) -> None:
    problem_of(write_model(tmp_path / "tiny", model__safetensors=safetensors_bytes({})), ErrorCode.NO_WEIGHTS)


def test_missing_shards_are_counted(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    write_shards(folder, present=1, total=5)
    problem = problem_of(folder, ErrorCode.INCOMPLETE_DOWNLOAD)
    assert problem.message.startswith("4 of 5 ")
    assert "model-00005-of-00005.safetensors" in problem.detail
    entry = look(folder)
    assert (entry.complete, entry.size_bytes) == (False, len(tensor_file()))


def test_shards_without_their_index(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    write_shards(folder, present=2, total=2)
    (folder / "model.safetensors.index.json").unlink()
    problem_of(folder, ErrorCode.INCOMPLETE_DOWNLOAD)


def test_a_weight_file_whose_link_leads_nowhere_is_missing(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(tmp_path / "blob-that-was-deleted")
    problem_of(folder, ErrorCode.INCOMPLETE_DOWNLOAD)


@pytest.mark.parametrize(
    "name",
    ["../outside.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", "a\\b.safetensors", "model.bin", 7, None],
)
def test_an_index_that_leads_elsewhere_is_refused(tmp_path: Path, name: Any) -> None:
    folder = write_model(tmp_path / "tiny")
    write_shards(folder, present=1, total=1)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    (tmp_path / "outside.safetensors").write_bytes(tensor_file())
    problem_of(folder, ErrorCode.BROKEN_WEIGHTS)


@pytest.mark.parametrize("index", [b"", b"[]", b"{}", b'{"weight_map": {}}', b'{"weight_map": ["a"]}'])
def test_a_broken_index(tmp_path: Path, index: bytes) -> None:
    folder = write_model(tmp_path / "tiny")
    write_shards(folder, present=1, total=1)
    (folder / "model.safetensors.index.json").write_bytes(index)
    problem_of(folder, ErrorCode.BROKEN_WEIGHTS)


def test_one_broken_shard_is_named(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    write_shards(folder, present=3, total=3)
    (folder / "model-00002-of-00003.safetensors").write_bytes(tensor_file()[:-1])
    assert "model-00002-of-00003.safetensors" in problem_of(folder, ErrorCode.BROKEN_WEIGHTS).message


def test_a_missing_tokenizer(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny", tokenizer_config__json=b"{}", vocab__json=b"{}")
    (folder / "tokenizer.json").unlink()
    problem_of(folder, ErrorCode.BROKEN_TOKENIZER)
    assert look(folder).complete


def test_a_tokenizer_that_is_a_pointer(tmp_path: Path) -> None:
    problem_of(write_model(tmp_path / "tiny", tokenizer__json=b"version https://git-lfs"), ErrorCode.BROKEN_TOKENIZER)


@pytest.mark.parametrize("names", [["tekken.json"], ["vocab.json", "merges.txt"], ["vocab.txt"], ["qwen.tiktoken"]])
def test_other_tokenizers_are_known(tmp_path: Path, names: list[str]) -> None:
    folder = write_model(tmp_path / "tiny")
    (folder / "tokenizer.json").unlink()
    for name in names:
        (folder / name).write_bytes(b"{}")
    assert look(folder).usable


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_an_unreadable_folder(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    folder.chmod(0)
    try:
        problem_of(folder, ErrorCode.BROKEN_CONFIG)
    finally:
        folder.chmod(0o700)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=5,
)
config_keys = st.sampled_from(
    ["architectures", "auto_map", "quantization_config", "text_config", "is_decoder", "n_positions"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(config=st.dictionaries(config_keys, json_values), index=json_values)
def test_no_config_or_index_makes_it_raise(tmp_path: Path, config: dict[str, Any], index: Any) -> None:
    folder = write_model(tmp_path / "tiny", {"model_type": "llama", **config})
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert look(folder).problem is not None


def test_the_catalogue_costs_the_window_nothing_heavy() -> None:
    code = (
        "import sys, qplayground.catalog.cache, qplayground.catalog.demo, qplayground.catalog.download;"
        "print(sorted({'torch', 'transformers', 'huggingface_hub', 'numpy', 'PySide6'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "code"),
    [("config.json", ErrorCode.BROKEN_CONFIG), ("model.safetensors.index.json", ErrorCode.BROKEN_WEIGHTS)],
)
def test_a_byte_order_mark_is_seen_in_the_list(name: str, code: ErrorCode, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    write_shards(folder, present=2, total=2)
    (folder / name).write_bytes(b"\xef\xbb\xbf" + (folder / name).read_bytes())
    assert problem_of(folder, code).message.startswith(f"{name} begins with a byte order mark")


def test_what_is_wrong_with_the_json_is_said(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny", config__json=b'{"model_type": "llama" "x": 1}')
    assert "Expecting ',' delimiter: line 1 column 24" in problem_of(folder, ErrorCode.BROKEN_CONFIG).message


# ---- weights in a place where transformers does not look ------------------------------------------------------------


def renamed(folder: Path, name: str) -> Path:
    """A model whose only weight file has that name."""
    write_model(folder)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / "model.safetensors").rename(folder / name)
    return folder


def test_one_numbered_file_without_an_index_is_the_whole_model(tmp_path: Path) -> None:
    problem = problem_of(renamed(tmp_path / "tiny", "model-00001-of-00001.safetensors"), ErrorCode.MISPLACED_WEIGHTS)
    assert "model-00001-of-00001.safetensors" in problem.message and "looks for model.safetensors" in problem.message
    assert "rename it to model.safetensors" in problem.hint


@pytest.mark.parametrize(("present", "told", "hint"), [(2, "all 2 weight", "Copy model"), (1, "1 of 2", "Download")])
def test_shards_without_an_index(present: int, told: str, hint: str, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    write_shards(folder, present=present, total=2)
    (folder / "model.safetensors.index.json").unlink()
    problem = problem_of(folder, ErrorCode.INCOMPLETE_DOWNLOAD)
    assert told in problem.message and "model.safetensors.index.json" in problem.message
    assert problem.hint.startswith(hint)


def test_weights_in_a_subfolder(tmp_path: Path) -> None:
    problem = problem_of(renamed(tmp_path / "tiny", "checkpoint-500/model.safetensors"), ErrorCode.MISPLACED_WEIGHTS)
    assert "in the subfolder checkpoint-500" in problem.message and "Open the folder checkpoint-500" in problem.hint


def test_an_index_of_weights_in_a_subfolder(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    write_shards(folder, present=2, total=2)
    index = folder / "model.safetensors.index.json"
    index.write_text(index.read_text().replace(': "model-', ': "weights/model-'))
    problem = problem_of(folder, ErrorCode.BROKEN_WEIGHTS)
    assert "in a subfolder (weights/model-00001-of-00002.safetensors)" in problem.message


@pytest.mark.parametrize("name", ["consolidated.safetensors", "model.fp16.safetensors"])
def test_weights_of_another_name(name: str, tmp_path: Path) -> None:
    problem = problem_of(renamed(tmp_path / "tiny", name), ErrorCode.MISPLACED_WEIGHTS)
    assert name in problem.message and "looks for model.safetensors" in problem.message


@pytest.mark.parametrize("metadata", [None, [], "x"])
def test_an_index_without_metadata(metadata: Any, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    write_shards(folder, present=2, total=2)
    path = folder / "model.safetensors.index.json"
    fields = json.loads(path.read_text()) | ({} if metadata is None else {"metadata": metadata})
    if metadata is None:
        del fields["metadata"]
    path.write_text(json.dumps(fields))
    problem = problem_of(folder, ErrorCode.BROKEN_WEIGHTS)
    assert "model.safetensors.index.json has no object named metadata" in problem.message
    assert '"metadata": {}' in problem.hint


def named_tensors(*names: str) -> bytes:
    """A weight file with one number under each name."""
    header = {
        name: {"dtype": "F32", "shape": [1], "data_offsets": [4 * place, 4 * place + 4]}
        for place, name in enumerate(names)
    }
    return safetensors_bytes(header, bytes(4 * len(names)))


@pytest.mark.parametrize(
    ("held", "is_stray"),
    [((), True), (("a",), True), (("a", "b"), False), (("a", "b", "c", "d"), False)],
    ids=["another's", "a part", "all but tied ones", "all"],
)
def test_a_single_file_beside_shards(held: tuple[str, ...], is_stray: bool, tmp_path: Path) -> None:
    """transformers reads the single file, which may be the complete model."""
    folder = write_model(tmp_path / "tiny")
    write_shards(folder, present=2, total=2)
    path = folder / "model.safetensors.index.json"
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    path.write_text(json.dumps({"metadata": {}, "weight_map": {"a": first, "b": first, "c": second, "d": second}}))
    (folder / "model.safetensors").write_bytes(named_tensors("other", *held))
    if not is_stray:
        assert look(folder).usable
        return
    problem = problem_of(folder, ErrorCode.MISPLACED_WEIGHTS)
    assert "both model.safetensors and model.safetensors.index.json" in problem.message
    assert f"lacks {4 - len(held)} of the 4 tensors" in problem.message
    assert "Take model.safetensors away" in problem.hint


def test_a_single_file_beside_an_index_whose_shards_are_gone(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    write_shards(folder, present=1, total=4)
    (folder / "model.safetensors").write_bytes(tensor_file())
    assert look(folder).usable


@pytest.mark.parametrize("content", ['{"model_type": "llama",}', '{"architectures": ["LlamaForCausalLM"]}'])
def test_a_config_that_is_there_and_of_no_use_has_a_hint_about_itself(tmp_path: Path, content: str) -> None:
    folder = write_model(tmp_path / "tiny")
    (folder / "config.json").write_text(content)
    assert problem_of(folder, ErrorCode.BROKEN_CONFIG).hint.startswith("Mend that file")


def test_an_adapter_is_told_as_one(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(tensor_file())
    assert "adapter (LoRA)" in problem_of(tmp_path, ErrorCode.NO_WEIGHTS).message


def test_shards_in_a_subfolder_of_their_index_are_not_missing(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    write_shards(folder, present=2, total=2)
    (folder / "weights").mkdir()
    for shard in folder.glob("model-*.safetensors"):
        shard.rename(folder / "weights" / shard.name)
    assert "in the subfolder weights" in problem_of(folder, ErrorCode.MISPLACED_WEIGHTS).message
