"""Model folders damaged in every way there is: each is listed at once, and refused in a sentence or run as it is."""

import json
import os
import shutil
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qplayground.catalog.config import read_config
from qplayground.catalog.headers import read_header
from qplayground.catalog.inspect import inspect_folder
from qplayground.catalog.outline import OUTLINE
from qplayground.catalog.weights import INDEX, SINGLE, shards_of
from qplayground.core.errors import ErrorCode, ErrorInfo, PlaygroundError
from qplayground.core.floats import Floats
from qplayground.core.generation import GenerationRequest
from qplayground.core.messages import (
    EstimateMemory,
    Event,
    Failed,
    Generate,
    Generated,
    Load,
    Loaded,
    MemoryEstimated,
    PromptRead,
)
from qplayground.core.model import ModelSource
from qplayground.core.placement import Placement, parse_max_memory, read_map
from qplayground.core.precision import READY_PRECISIONS
from qplayground.core.quality import Quality, ScoredTokens
from qplayground.core.results import from_json, to_json
from qplayground.engine import chat_template, host
from qplayground.engine.baselines import SCORES, BaselineKey, Baselines, KeptScores
from qplayground.engine.fingerprint import weights_sha256
from qplayground.engine.limits import TookTooLongError, time_limit
from qplayground.engine.preflight import read_tokenizer
from qplayground.engine.prompt import encode_prompt
from qplayground.engine.scored_text import read_text
from qplayground.engine.shapes import causal_architectures
from qplayground.runtime.evaluation_text import read_text_file
from qplayground.runtime.history import History
from qplayground.runtime.launcher import ENGINE_TARGET, Launcher
from qplayground.runtime.preferences import Preferences
from tests.comparisons import comparison, done
from tests.engine import tiny
from tests.engine.conftest import RecordingChannel, carry_out

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="alarms, pipes and links as POSIX has them")

CAUSAL = frozenset(causal_architectures())
LISTED_S = 1.0
"""The picker reads every folder anew."""
PATIENCE_S = 20
FUZZ = settings(derandomize=True, deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))

Damage = Callable[[Path], object]


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    """What waits for a pipe, or goes on for ever, fails its test."""

    def interrupt(signum: int, frame: object) -> None:
        raise TimeoutError("this takes too long")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(3 * PATIENCE_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole model, not to be changed."""
    return tiny.make(tmp_path_factory.mktemp("corrupted") / "good")


@pytest.fixture(scope="module")
def good_in_shards(good: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in five files and an index."""
    from transformers import AutoModelForCausalLM

    folder = Path(shutil.copytree(good, tmp_path_factory.mktemp("corrupted") / "shards"))
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / SINGLE).unlink()
    model.save_pretrained(folder, max_shard_size="100KB")
    return folder


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    """A model to be spoilt."""
    return Path(shutil.copytree(good, tmp_path / "model"))


@pytest.fixture
def shards(good_in_shards: Path, tmp_path: Path) -> Path:
    """A model in several files, to be spoilt."""
    return Path(shutil.copytree(good_in_shards, tmp_path / "model"))


@pytest.fixture(scope="module")
def engine() -> host.Engine:
    """One engine for all that is damaged: what it met before must not matter."""
    return host.Engine(RecordingChannel())


class Answers(NamedTuple):
    """What the program makes of a folder."""

    listed: ErrorInfo | None
    estimate: Event
    load: Event

    @property
    def code(self) -> ErrorCode | None:
        return self.load.error.code if isinstance(self.load, Failed) else None


def ask(engine: host.Engine, folder: Path, asked: GenerationRequest | None = None) -> Answers:
    """List, estimate and load; every refusal is a sentence with a hint, and the folder is as it was."""
    before = _state(folder)
    began = time.monotonic()
    entry = inspect_folder(folder, source=ModelSource.FOLDER, causal_architectures=CAUSAL)
    assert time.monotonic() - began < LISTED_S
    msgspec.json.encode(entry)
    answers = Answers(
        entry.problem, _carry_out(engine, _estimate(folder, asked)), _carry_out(engine, _load(folder, asked))
    )
    assert _state(folder) == before
    for event in answers[1:]:
        if isinstance(event, Failed):
            check_sentence(event.error)
    if entry.problem is not None:
        check_sentence(entry.problem)
        assert isinstance(answers.load, Failed)
    return answers


def check_sentence(error: ErrorInfo) -> None:
    assert error.code is not ErrorCode.INTERNAL, error.detail
    assert error.message.endswith(".") and error.hint and "Traceback" not in str(error)
    assert len(str(error)) < 1000


def _state(folder: Path) -> dict[str, tuple[int, int, int]]:
    found = {path: path.lstat() for path in folder.rglob("*")}
    return {str(path): (stat.st_mode, stat.st_size, stat.st_mtime_ns) for path, stat in found.items()}


def _carry_out(engine: host.Engine, command: EstimateMemory | Load) -> Event:
    channel = engine._channel
    assert isinstance(channel, RecordingChannel)
    channel.sent.clear()
    engine.carry_out(command)
    return channel.sent[-1]


def _load(folder: Path, asked: GenerationRequest | None) -> Load:
    return tiny.load_command(folder, asked=asked)


def _estimate(folder: Path, asked: GenerationRequest | None) -> EstimateMemory:
    return EstimateMemory(
        id=1,
        path=str(folder),
        precisions=READY_PRECISIONS[:1] + READY_PRECISIONS[-1:],
        placement=Placement(device="cpu"),
        request=asked or tiny.request(),
    )


def put(name: str, data: bytes) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_bytes(data)

    return damage


# ---- safetensors ----------------------------------------------------------------------------------------------------


def parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and weights."""
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def whole(header: dict[str, Any] | bytes, weights: bytes, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + weights


def test_weights_cut_off_at_every_interesting_place(folder: Path, engine: host.Engine) -> None:
    data = (folder / SINGLE).read_bytes()
    header, weights = parts(data)
    begin = len(data) - len(weights)
    starts = {begin + tensor["data_offsets"][0] for name, tensor in header.items() if name != "__metadata__"}
    places = {0, 1, 7, 8, 9, begin // 2, begin - 1, begin, len(data) - 1}
    places |= {start + step for start in starts for step in (-1, 0, 1)}
    for size in sorted(places):
        (folder / SINGLE).write_bytes(data[:size])
        assert ask(engine, folder).code is ErrorCode.BROKEN_WEIGHTS, size
    (folder / SINGLE).write_bytes(data)
    assert isinstance(ask(engine, folder).load, Loaded)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 100_000_001, 2**31, 2**32 + 8, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_header_of_a_forged_length(length: int, folder: Path, engine: host.Engine) -> None:
    header, weights = parts((folder / SINGLE).read_bytes())
    (folder / SINGLE).write_bytes(whole(header, weights, length))
    assert ask(engine, folder).code is ErrorCode.BROKEN_WEIGHTS


def test_a_header_of_the_largest_length_in_a_file_with_holes(folder: Path, engine: host.Engine) -> None:
    """100 MB of zeros, which take no room on the disk."""
    with (folder / SINGLE).open("wb") as file:
        file.write(struct.pack("<Q", 100_000_000))
        file.truncate(100_000_100)
    assert ask(engine, folder).code is ErrorCode.BROKEN_WEIGHTS


FIRST = "model.embed_tokens.weight"


def forge(**changes: Any) -> Callable[[dict[str, Any], bytes], bytes]:
    """Changes what the header says of one tensor."""

    def make(header: dict[str, Any], weights: bytes) -> bytes:
        header[FIRST] = {**header[FIRST], **changes}
        return whole(header, weights)

    return make


def other_order(header: dict[str, Any], weights: bytes) -> bytes:
    other = header["model.norm.weight"]
    header[FIRST]["data_offsets"], other["data_offsets"] = other["data_offsets"], header[FIRST]["data_offsets"]
    return whole(header, weights)


def with_a_hole(header: dict[str, Any], weights: bytes) -> bytes:
    for name, tensor in header.items():
        if name not in ("__metadata__", FIRST):
            tensor["data_offsets"] = [place + 64 * (place > 0) for place in tensor["data_offsets"]]
    return whole(header, weights + bytes(64))


FORGED: dict[str, Callable[[dict[str, Any], bytes], bytes]] = {
    "overlap": forge(data_offsets=[0, 8]),
    "reversed": forge(data_offsets=[8, 0]),
    "beyond": forge(data_offsets=[2**40, 2**40 + 8]),
    "negative": forge(data_offsets=[-8, 0]),
    "overflow": forge(data_offsets=[0, 2**64]),
    "a third": forge(data_offsets=[0, 8, 16]),
    "swapped": other_order,
    "hole": with_a_hole,
    "unknown type": forge(dtype="F33"),
    "long type": forge(dtype="F" * 100_000),
    "no type": forge(dtype=None),
    "smaller type": forge(dtype="F16"),
    "larger type": forge(dtype="F64"),
    "bits": forge(dtype="F4"),
    "negative shape": forge(shape=[-320, -64]),
    "overflowing shape": forge(shape=[2**32, 2**32, 2**32]),
    "large shape": forge(shape=[2**63, 1]),
    "many axes": forge(shape=[1] * 100_000),
    "wrong rank": forge(shape=[320 * 64]),
    "turned": forge(shape=[64, 320]),
    "scalar": forge(shape=[]),
    "other product": forge(shape=[320, 65]),
    "fraction": forge(shape=[320.0, 64.5]),
    "text": forge(shape="320x64"),
    "twice": lambda header, weights: whole(
        json.dumps(header).encode()[:-1] + f',"{FIRST}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}}}'.encode(),
        weights,
    ),
    "no utf-8": lambda header, weights: whole(
        json.dumps(header).encode().replace(b"embed", b"\xff\xfe\xfd__"), weights
    ),
    "surrogate": lambda header, weights: whole(json.dumps(header).encode().replace(b"embed", b"\\ud800"), weights),
    "renamed": lambda header, weights: whole({f"../{name}": each for name, each in header.items()}, weights),
    "nested": lambda header, weights: whole(b'{"a":' + b"[" * 1_000_000, weights),
    "metadata": lambda header, weights: whole({**header, "__metadata__": {"a": {"b": 1}}}, weights),
    "list": lambda header, weights: whole(b"[]", weights),
    "more than json": lambda header, weights: whole(json.dumps(header).encode() + b"{}", weights),
    "longer file": lambda header, weights: whole(header, weights + b"x"),
    "no tensors": lambda header, weights: whole({}, b""),
    "a million": lambda header, weights: whole(
        {str(number): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for number in range(20_000)}, b""
    ),
}


@pytest.mark.parametrize("forged", FORGED)
def test_a_forged_header(forged: str, folder: Path, engine: host.Engine) -> None:
    header, weights = parts((folder / SINGLE).read_bytes())
    (folder / SINGLE).write_bytes(FORGED[forged](header, weights))
    answers = ask(engine, folder)
    assert answers.code in (ErrorCode.BROKEN_WEIGHTS, ErrorCode.NO_WEIGHTS, ErrorCode.MISSING_TENSORS), answers


def test_weights_of_another_type_of_the_same_width(folder: Path, engine: host.Engine) -> None:
    """Nothing tells integers from floats but the name of the type: what comes of them is a model, or a sentence."""
    header, weights = parts((folder / SINGLE).read_bytes())
    for dtype in ("I32", "U32"):
        header[FIRST]["dtype"] = dtype
        (folder / SINGLE).write_bytes(whole(header, weights))
        ask(engine, folder)


# ---- shards ---------------------------------------------------------------------------------------------------------


def index(change: Callable[[dict[str, Any]], object]) -> Damage:
    def damage(folder: Path) -> None:
        fields = json.loads((folder / INDEX).read_bytes())
        change(fields["weight_map"])
        (folder / INDEX).write_text(json.dumps(fields))

    return damage


def point_to(place: str) -> Damage:
    return index(lambda names: names.update({FIRST: place}))


def test_shards_that_are_whole_load(shards: Path, engine: host.Engine) -> None:
    assert isinstance(ask(engine, shards).load, Loaded)


@pytest.mark.parametrize(
    "damage",
    [
        *map(point_to, ["../x.safetensors", "/etc/passwd", "/etc/x.safetensors", ".", "..", "", "a/b.safetensors"]),
        *map(point_to, ["config.json", "x.bin", "\0.safetensors", "-x.safetensors", "x\n.safetensors"]),
        point_to("C:\\x.safetensors"),
        *map(point_to, ["x" * 300 + ".safetensors", "..\\x.safetensors", "~.safetensors", "ä.safetensors"]),
        point_to("none.safetensors"),
        index(lambda names: names.update({FIRST: 5})),
        index(lambda names: names.update({FIRST: ["a"]})),
        index(lambda names: names.clear()),
        put(INDEX, b""),
        put(INDEX, b"{"),
        put(INDEX, b"[]"),
        put(INDEX, b'"weight_map"'),
        put(INDEX, b'{"weight_map": ["model.safetensors"]}'),
        put(INDEX, b'{"weight_map": {"a": {"b": "c"}}}'),
        put(INDEX, b"\xff\xfe"),
        put(INDEX, b"[" * 100_000),
        put(INDEX, b'{"weight_map":' * 100_000),
        put(INDEX, b"x" * 10_000_000),
        put(INDEX, b'{"a":"' + b"x" * 65_000_000 + b'"}'),
    ],
)  # fmt: skip
def test_an_index_that_is_no_use(damage: Damage, shards: Path, engine: host.Engine) -> None:
    damage(shards)
    assert ask(engine, shards).code in (ErrorCode.BROKEN_WEIGHTS, ErrorCode.INCOMPLETE_DOWNLOAD)


def test_a_shard_that_is_missing_or_a_folder_or_no_weights(shards: Path, engine: host.Engine) -> None:
    for path in sorted(shards.glob("model-*.safetensors")):
        data = path.read_bytes()
        path.unlink()
        assert ask(engine, shards).code is ErrorCode.INCOMPLETE_DOWNLOAD
        path.mkdir()
        assert ask(engine, shards).code is ErrorCode.BROKEN_WEIGHTS
        path.rmdir()
        path.write_bytes(data[:-1])
        assert ask(engine, shards).code is ErrorCode.BROKEN_WEIGHTS
        path.write_bytes(data)


def test_an_index_that_leaves_a_shard_out(shards: Path, engine: host.Engine) -> None:
    last = max(shards.glob("model-*.safetensors")).name
    index(lambda names: [names.pop(name) for name in [*names] if names[name] == last])(shards)
    assert ask(engine, shards).code is ErrorCode.MISSING_TENSORS


def test_an_index_that_names_the_wrong_shard(shards: Path, engine: host.Engine) -> None:
    first = min(shards.glob("model-*.safetensors")).name
    index(lambda names: names.update(dict.fromkeys(names, first)))(shards)
    assert ask(engine, shards).code in (ErrorCode.MISSING_TENSORS, ErrorCode.BROKEN_WEIGHTS)


# ---- config ---------------------------------------------------------------------------------------------------------

SIZES = ["hidden_size", "intermediate_size", "vocab_size", "num_attention_heads", "num_key_value_heads", "head_dim"]


@pytest.mark.filterwarnings("ignore:Initializing zero-element")  # an engine prints warnings
@pytest.mark.parametrize("field", [*SIZES, "num_hidden_layers", "max_position_embeddings", "num_labels"])
def test_a_size_that_no_model_has(field: str, folder: Path, engine: host.Engine) -> None:
    """Refused or run, but never built: 10⁶ layers would take minutes and a width of 10⁶ all memory."""
    values: list[Any] = [
        -1,
        0,
        10**6,
        10**9,
        2**63,
        10**400,
        1.5,
        "64",
        [64],
        {"a": 1},
        True,
        float("nan"),
        float("inf"),
    ]
    for value in values:
        tiny.edit_json(folder / "config.json", **{field: value})
        began = time.monotonic()
        answers = ask(engine, folder)
        assert time.monotonic() - began < 5, value
        if type(value) is int and value >= 10**6 and field not in ("max_position_embeddings", "num_labels"):
            assert isinstance(answers.load, Failed), value
        elif not isinstance(value, int) and field != "num_labels":
            assert answers.code is ErrorCode.BROKEN_CONFIG, value
        tiny.edit_json(folder / "config.json", **{field: None})


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"\x00" * 100,
        b"\xff\xfe{\x00}\x00",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"model_type": "llama", "a": ' + b"9" * 5000 + b"}",
        b'{"model_type": "llama", "architectures": ["LlamaForCausalLM"]',
        b'{"model_type": 5}',
        b'{"model_type": ["llama"]}',
        b'{"model_type": ""}',
        b'{"model_type": "../llama"}',
        b'{"model_type": "llama\\u0000"}',
        b'{"model_type": "\\ud800"}',
        b'{"model_type": "llama", "text_config": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"model_type": "llama", "a": "' + b"x" * 65_000_000 + b'"}',
        b'{"model_type": "llama", "num_hidden_layers": 1e400}',
    ],
    ids=range(17),
)
def test_a_config_that_cannot_be_read(text: bytes, folder: Path, engine: host.Engine) -> None:
    (folder / "config.json").write_bytes(text)
    assert ask(engine, folder).code is ErrorCode.BROKEN_CONFIG


ODD: list[tuple[str, Any]] = [
    ("eos_token_id", "x"), ("eos_token_id", -1), ("eos_token_id", [[1]]), ("eos_token_id", 10**30),
    ("pad_token_id", 10**9), ("dtype", "os"), ("dtype", [1]), ("torch_dtype", "int8"), ("dtype", {"a": 1}),
    ("quantization_config", [1]), ("quantization_config", "x"), ("quantization_config", {"quant_method": ["<b>"]}),
    ("architectures", "x"), ("architectures", [[1]]), ("auto_map", [1]), ("auto_map", "x"), ("text_config", 5),
    ("rope_parameters", "x"), ("rope_parameters", {"rope_type": "none"}), ("rope_parameters", {"rope_theta": 0}),
    ("hidden_act", "__import__"), ("hidden_act", ["gelu", {"a": 1}]), ("layer_types", ["x"]), ("rms_norm_eps", -1),
    ("rms_norm_eps", float("nan")), ("use_cache", "x"), ("pruned_heads", {"0": [1]}), ("id2label", {"x": 1}),
    ("is_encoder_decoder", True), ("__class__", "x"), ("to_dict", 5), ("sub_configs", {"a": 1}),
    ("attribute_map", {"hidden_size": "os"}), ("per_layer_config", {"0": {"hidden_size": 7}}), ("kernel_config", 5),
    ("pretraining_tp", 10**9), ("initializer_range", "wide"), ("attention_dropout", -5), ("num_attention_heads", 3),
]  # fmt: skip


def test_a_config_with_an_odd_value(folder: Path, engine: host.Engine) -> None:
    config = (folder / "config.json").read_bytes()
    for field, value in ODD:
        tiny.edit_json(folder / "config.json", **{field: value})
        ask(engine, folder)
        (folder / "config.json").write_bytes(config)


@pytest.mark.parametrize(
    "fields",
    [
        {"return_dict": False},
        {"output_attentions": True, "output_hidden_states": True},
        {"attn_implementation": "flash_attention_2"},
        {"transformers_weights": "../other.safetensors"},
        {"transformers_weights": "other.bin"},
        {"experts_implementation": "nobody/kernel"},
    ],
    ids=str,
)
def test_what_a_config_asks_of_the_library_is_not_done(fields: dict[str, Any], folder: Path, good: Path) -> None:
    tiny.edit_json(folder / "config.json", **fields)
    assert written(folder) == written(good)


@lru_cache  # every folder is spoilt in one way only
def written(folder: Path) -> tuple[tuple[int, ...], str]:
    """Prompt and text of a model that must be fine."""
    events = carry_out(tiny.load_command(folder), Generate(id=2, request=tiny.request()))
    assert isinstance(events[-1], Generated), events[-1]
    (prompt,) = (event for event in events if isinstance(event, PromptRead))
    return prompt.token_ids, events[-1].text


# ---- generation settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "{", "[]", "null", '"x"', "[" * 100_000, "\xff", '{"eos_token_id": 1, "temperature": -1, "top_p": 7}',
        '{"eos_token_id": 1, "max_length": 1000000000000, "min_new_tokens": 99999}',
        '{"eos_token_id": 1, "num_beams": -3}',
        '{"eos_token_id": 1, "unknown": {"a": [1]}}', '{"eos_token_id": 1, "cache_implementation": "none"}',
        '{"eos_token_id": 1, "watermarking_config": {"a": 1}, "compile_config": 5}',
        '{"eos_token_id": 1, "to_dict": 3}',
        '{"eos_token_id": 1, "temperature": "hot", "top_k": [], "do_sample": "y"}',
        '{"eos_token_id": 1, "__class__": 3}',
        '{"eos_token_id": 1, "suppress_tokens": [1, 2, 3], "forced_bos_token_id": "x", "stop_strings": 5}',
        '{"eos_token_id": 1, "custom_generate": "x", "assistant_model": 3}',
        '{"eos_token_id": [1, "a", -5, 1e9, null, [1]]}',
    ],
)  # fmt: skip
def test_generation_settings_change_nothing(text: str, folder: Path, good: Path) -> None:
    (folder / "generation_config.json").write_bytes(text.encode("latin-1"))
    assert written(folder) == written(good)


@pytest.mark.parametrize("token", ["x", -5, 10**12, 10**30, 1.5, [], [[1]], {"a": 1}, True, ["a"], float("nan")])
def test_special_tokens_that_are_none(token: Any, folder: Path) -> None:
    fields = dict.fromkeys(("eos_token_id", "pad_token_id", "bos_token_id"), token)
    (folder / "generation_config.json").write_text(json.dumps(fields))
    written(folder)


# ---- tokenizer ------------------------------------------------------------------------------------------------------


def edit_tokenizer(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    fields = json.loads((folder / "tokenizer.json").read_bytes())
    change(fields)
    (folder / "tokenizer.json").write_text(json.dumps(fields))


def shift(fields: dict[str, Any]) -> None:
    vocabulary = fields["model"]["vocab"]
    vocabulary.update({token: number + 100_000 for token, number in vocabulary.items()})


@pytest.mark.parametrize(
    "change",
    [
        shift,
        lambda fields: fields["added_tokens"].append(
            {"id": 99_999, "content": "the", "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": False}
        ),
        lambda fields: fields["model"].update(vocab=5),
        lambda fields: fields["model"].update(type="Never"),
        lambda fields: fields["model"].update(merges=[["never", "heard"]]),
        lambda fields: fields.update(
            truncation={"max_length": 0, "strategy": "LongestFirst", "stride": 5, "direction": "Right"}
        ),
        lambda fields: fields.update(
            pre_tokenizer={"type": "Split", "pattern": {"Regex": "("}, "behavior": "Removed", "invert": False}
        ),
    ],
    ids=["other ids", "added beyond", "no vocabulary", "unknown kind", "unknown merge", "cut", "pattern"],
)  # fmt: skip
def test_a_tokenizer_that_does_not_fit(change: Any, folder: Path, engine: host.Engine) -> None:
    edit_tokenizer(folder, change)
    assert ask(engine, folder).code is ErrorCode.BROKEN_TOKENIZER


def test_a_tokenizer_that_fills_up_and_one_that_multiplies(folder: Path, engine: host.Engine) -> None:
    padding = {"strategy": {"Fixed": 10**12}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0}
    edit_tokenizer(folder, lambda fields: fields.update(padding={**padding, "pad_type_id": 0, "pad_token": "x"}))
    assert isinstance(ask(engine, folder).load, Loaded)
    twice = {"type": "Replace", "pattern": {"String": "t"}, "content": "t" * 10_000}
    edit_tokenizer(folder, lambda fields: fields.update(padding=None, normalizer=twice))
    assert ask(engine, folder).code is ErrorCode.PROMPT_TOO_LONG


@pytest.mark.parametrize(
    "fields",
    [
        {"tokenizer_class": 5}, {"model_max_length": "x"}, {"model_max_length": -5}, {"bos_token": {"a": 1}},
        {"eos_token": 5}, {"padding_side": "up"}, {"auto_map": 5}, {"auto_map": {"AutoTokenizer": "x"}},
        {"__class__": "x"}, {"split_special_tokens": "x"}, {"added_tokens_decoder": {"x": 5}},
        {"added_tokens_decoder": {"99999": {"content": "the"}}}, {"chat_template": 5}, {"chat_template": [1]},
        {"vocab_file": "/etc/passwd", "tokenizer_file": "/etc/passwd", "name_or_path": 5}, {"a": [[[[]]]]},
    ],
    ids=str,
)  # fmt: skip
def test_tokenizer_settings_that_are_odd(fields: dict[str, Any], folder: Path, engine: host.Engine) -> None:
    tiny.edit_json(folder / "tokenizer_config.json", **fields)
    assert ask(engine, folder).code in (None, ErrorCode.BROKEN_TOKENIZER)
    assert ask(engine, folder, tiny.request(chat_template=True)).code in (None, ErrorCode.BROKEN_TOKENIZER)


# ---- chat template --------------------------------------------------------------------------------------------------

LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}" + 3 * "{% endfor %}"
DOUBLING = "{% set n = namespace(s='aaaaaaaa') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}"
TEMPLATES = {
    "range": ("{% for i in range(10**12) %}x{% endfor %}", "damaged"),
    "endless": (LOOP, "did not come to an end"),
    "endless text": (LOOP.replace("{% endfor %}", "x{% endfor %}"), "more memory|did not come to an end"),
    "doubling": (DOUBLING, "memory"),
    "times": ("{{ 'a' * 10**11 }}", "memory"),
    "squares": ("{% set n = namespace(x=9) %}{% for i in range(60) %}{% set n.x = n.x * n.x %}{% endfor %}", "damaged"),
    "power": ("{{ (10 ** (10 ** 9)) % 7 }}", "damaged"),
    "width": ("{{ '%99999999999d' | format(1) }}", "damaged|memory"),
    "long": ("{{ 'a' | center(10**8) }}", "100,000,000 characters"),
    "recursion": ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "damaged"),
    "brackets": ("{{" + "(" * 5000 + "1" + ")" * 5000 + "}}", "damaged"),
    "50 MB": ("x" * 50_000_000, "50,000,000 characters"),
    "raises": ("{{ raise_exception('out of memory') }}", "damaged"),
    "surrogate": ("{{ '\\ud800' }}", "damaged"),
    "no end": ("{% for m in messages %}", "damaged"),
    "class": ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "damaged"),
    "import": ("{% import 'os' as os %}", "damaged"),
    "include": ("{% include '/etc/passwd' %}", "damaged"),
    "globals": ("{{ cycler.__init__.__globals__.os.system('true') }}", "damaged"),
    "self": ("{{ self.__init__.__globals__ }}", "damaged"),
    "attr": ("{{ (messages | attr('__class__')).x }}", "damaged"),
    "change": ("{{ messages.append(1) }}", "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_chat_template_that_does_harm(
    name: str, folder: Path, engine: host.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_template, "LIMIT_S", 0.5)
    template, told = TEMPLATES[name]
    (folder / "chat_template.jinja").write_text(template)
    answers = ask(engine, folder, tiny.request(chat_template=True))
    assert isinstance(answers.load, Failed) and answers.code is ErrorCode.NO_CHAT_TEMPLATE
    assert any(words in answers.load.error.message for words in told.split("|")), answers.load.error
    assert isinstance(answers.estimate, MemoryEstimated)


def test_a_chat_template_formats_nothing_of_python(good: Path) -> None:
    tokenizer = read_tokenizer(good)
    tokenizer.chat_template = "{{ '{0.__class__} {0.__init__.__globals__}'.format(messages) }}"
    with pytest.raises(PlaygroundError, match="damaged"):
        chat_template.render(tokenizer, "a")


def test_a_chat_template_gives_what_the_library_gives(good: Path) -> None:
    tokenizer = read_tokenizer(good)
    turn = [{"role": "user", "content": "the <s> cat ☃"}]
    theirs = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert encode_prompt(tokenizer, tiny.request("the <s> cat ☃", chat_template=True)) == theirs


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux alone")
def test_an_engine_survives_templates_without_an_end(folder: Path, good: Path) -> None:
    """A real one, with the program's own limits: it says so, and goes on with another model."""
    asked = tiny.request(chat_template=True)
    launcher = Launcher(ENGINE_TARGET)
    try:
        with launcher.engine() as engine:
            events = engine.events()
            for name in ("endless", "doubling"):
                (folder / "chat_template.jinja").write_text(TEMPLATES[name][0])
                engine.send(tiny.load_command(folder, asked=asked))
                failed = next(event for event in events if isinstance(event, Failed | Loaded))
                assert isinstance(failed, Failed) and failed.error.code is ErrorCode.NO_CHAT_TEMPLATE
            engine.send(tiny.load_command(good, asked=asked))
            assert isinstance(next(event for event in events if isinstance(event, Failed | Loaded)), Loaded)
    finally:
        launcher.close()


def test_a_time_limit_ends_loops_and_leaves_what_is_quick_alone() -> None:
    with pytest.raises(TookTooLongError), time_limit(0.05):
        while True:
            pass
    with time_limit(PATIENCE_S):
        pass


# ---- links, pipes and names -----------------------------------------------------------------------------------------

FILES = ["config.json", SINGLE, "tokenizer.json", "tokenizer_config.json", "generation_config.json"]
FILES += ["chat_template.jinja", "special_tokens_map.json", "adapter_config.json", OUTLINE]


def linked(target: str) -> Callable[[Path], object]:
    return lambda path: path.symlink_to(target)


PLACES: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "zeros": linked("/dev/zero"),
    "passwords": linked("/etc/passwd"),
    "nowhere": linked("/no/such/file"),
    "outside": linked("../../../../../../no"),
    "itself": lambda path: path.symlink_to(path.name),
    "terminal": linked("/dev/tty"),
}


@pytest.mark.parametrize("place", PLACES)
def test_no_file_where_one_is_expected(place: str, good: Path, tmp_path: Path, engine: host.Engine) -> None:
    for number, name in enumerate(FILES if place in ("pipe", "zeros", "itself") else FILES[:4]):
        folder = Path(shutil.copytree(good, tmp_path / str(number)))
        if name == "tokenizer_config.json":
            (folder / "chat_template.jinja").unlink()  # else it is not looked into
        (folder / name).unlink(missing_ok=True)
        PLACES[place](folder / name)
        answers = ask(engine, folder)
        if name in FILES[:3]:
            assert isinstance(answers.load, Failed)
            assert "passwd" not in str(answers.load.error) and "root:" not in answers.load.error.detail


@pytest.mark.parametrize("name", ["config.json", SINGLE])
def test_a_pipe_is_called_one(name: str, folder: Path) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    problem = inspect_folder(folder, source=ModelSource.FOLDER, causal_architectures=CAUSAL).problem
    assert problem is not None
    assert problem.message == f"{name} is a pipe, a device or a folder and not a file."


def test_a_snapshot_of_links_into_the_cache_is_fine(good: Path, tmp_path: Path, engine: host.Engine) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    blobs = tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(sorted(good.iterdir())):
        shutil.copy(path, blobs / str(number))
        (snapshot / path.name).symlink_to(Path("..", "..", "blobs", str(number)))
    assert isinstance(ask(engine, snapshot).load, Loaded)


@pytest.mark.parametrize(
    "names",
    [
        ["a model", "'quoted' \"twice\"", "new\nline", "tab\t", "🎈 ü"],
        ["-rf", "--model", "100%s%n{0}", "<b>&amp;<img src=x>", "a:b?*", "#?%20"],
        ["x" * 255, "a;b|c&d$(e)`f`", "back\\slash", "trailing ", ".hidden", "con", "\u202egpj"],
    ],
    ids=["spaces", "dashes", "others"],
)
def test_a_folder_with_any_name(names: list[str], good: Path, tmp_path: Path, engine: host.Engine) -> None:
    """One inside the other, and files of these names beside the model's."""
    folder = Path(shutil.copytree(good, tmp_path.joinpath(*names)))
    for name in names:
        (folder / name).touch()
    answers = ask(engine, folder)
    assert isinstance(answers.load, Loaded) and isinstance(answers.estimate, MemoryEstimated)


def test_a_folder_whose_name_is_no_text(good: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \xff")
    folder = Path(shutil.copytree(good, tmp_path / name))
    (folder / name).touch()
    entry = inspect_folder(folder, source=ModelSource.FOLDER, causal_architectures=CAUSAL)
    assert entry.problem is not None and not entry.usable
    check_sentence(entry.problem)
    msgspec.json.encode(entry)


def test_files_that_may_not_be_read(folder: Path, engine: host.Engine) -> None:
    if os.geteuid() == 0:
        pytest.skip("permissions do not bind this user")
    for name in FILES[:3]:
        (folder / name).chmod(0)
        assert isinstance(ask(engine, folder).load, Failed)
        (folder / name).chmod(0o600)


# ---- an outline that is not the program's own -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[" * 100_000, b'{"files": {"../x": {}}}', b'{"files": {"a": {"b": ["F32", -1]}}}', b"\xff"]
)
def test_an_outline_that_is_damaged(text: bytes, folder: Path, engine: host.Engine) -> None:
    (folder / OUTLINE).write_bytes(text)
    assert isinstance(ask(engine, folder).load, Loaded)  # the weights speak for themselves
    (folder / SINGLE).unlink()
    answers = ask(engine, folder)
    assert isinstance(answers.estimate, Failed) and answers.estimate.error.code is ErrorCode.BROKEN_WEIGHTS


def test_an_outline_cannot_speak_for_weights(folder: Path, engine: host.Engine) -> None:
    tensors = {FIRST: ("F32", 10**15)}
    (folder / OUTLINE).write_bytes(msgspec.json.encode({"files": {SINGLE: tensors}}))
    estimate = ask(engine, folder).estimate
    assert isinstance(estimate, MemoryEstimated)
    assert all(each.load_extra_bytes < 10**9 for each in estimate.estimates)


# ---- formats that the program reads itself --------------------------------------------------------------------------

numbers = st.integers() | st.floats() | st.sampled_from([10**400, -(10**30), 2**63, 1e308, float("nan")])
scalars = (
    st.none() | st.booleans() | numbers | st.text(max_size=12) | st.sampled_from(["1" * 5000, "\0", "../x", "\ud800"])
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def damaged(data: bytes) -> st.SearchStrategy[bytes]:
    """That file with a piece replaced, cut out or cut off, or something else altogether."""
    place = st.integers(0, len(data))
    replaced = st.tuples(place, place, st.binary(max_size=8)).map(
        lambda found: data[: min(found[:2])] + found[2] + data[max(found[:2]) :]
    )
    nested = st.sampled_from([b"[" * 100_000, b'{"a":' * 100_000, b"\x91" * 100_000])
    return replaced | st.binary(max_size=40) | nested | json_values.map(lambda value: json.dumps(value).encode())


def changed(fields: Any, draw: Callable[[st.SearchStrategy[Any]], Any]) -> Any:
    """A JSON value with one of its values, at any depth, replaced."""
    if isinstance(fields, dict) and fields and draw(st.integers(0, 5)):
        name = draw(st.sampled_from(sorted(fields)))
        return {**fields, name: changed(fields[name], draw)}
    if isinstance(fields, list) and fields and draw(st.integers(0, 5)):
        place = draw(st.integers(0, len(fields) - 1))
        return [*fields[:place], changed(fields[place], draw), *fields[place + 1 :]]
    return draw(json_values)


@FUZZ
@given(st.data())
def test_any_config(tmp_path: Path, data: st.DataObject) -> None:
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "text_config": {"n_ctx": 5, "n_layer": 2}}
    text = data.draw(damaged(json.dumps(config).encode()) | st.just(json.dumps(changed(config, data.draw)).encode()))
    (tmp_path / "config.json").write_bytes(text)
    try:
        read_config(tmp_path / "config.json")
    except PlaygroundError as error:
        check_sentence(error.info)


@FUZZ
@given(json_values | json_values.map(lambda value: {"weight_map": value}))
def test_any_index(fields: Any) -> None:
    try:
        names = shards_of(fields)
    except PlaygroundError as error:
        check_sentence(error.info)
    else:
        assert all("/" not in name and "\\" not in name and name[0] != "." for name in names)


@FUZZ
@given(damaged(whole({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(8))))
def test_any_header(tmp_path: Path, data: bytes) -> None:
    (tmp_path / SINGLE).write_bytes(data)
    try:
        read_header(tmp_path / SINGLE)
    except PlaygroundError as error:
        check_sentence(error.info)


@FUZZ
@given(damaged(b'{"": "cpu", "model.layers.0": "disk", "a": 0}'))
def test_any_device_map(data: bytes) -> None:
    try:
        read_map(data)
    except PlaygroundError as error:
        check_sentence(error.info)


@pytest.mark.parametrize("digits", [4, 20, 5000])
def test_a_device_of_many_digits(digits: int) -> None:
    for refuse in (
        lambda: read_map(json.dumps({"": "1" * digits}).encode()),
        lambda: parse_max_memory("1" * digits + "=1GB"),
    ):
        with pytest.raises(PlaygroundError) as caught:
            refuse()
        check_sentence(caught.value.info)


SAVED = json.loads(to_json(comparison(done(), done("nf4"))))


@FUZZ
@given(st.data())
def test_any_saved_comparison(data: st.DataObject) -> None:
    """What is read can be written again, and every report made of it."""
    from qplayground.report.files import FORMATS

    text = data.draw(damaged(json.dumps(SAVED).encode()) | st.just(json.dumps(changed(SAVED, data.draw)).encode()))
    try:
        found = from_json(text)
    except PlaygroundError as error:
        assert error.info.code is ErrorCode.BAD_FILE and error.info.hint
    else:
        for _, make in FORMATS.values():
            make(found)


@FUZZ
@given(st.data())
def test_any_preferences(tmp_path: Path, data: st.DataObject) -> None:
    kept = {
        "custom": [], "edited": {}, "ticked": ["fp32"], "recent_prompts": ["a"], "recent_folders": ["/a"],
        "last_request": {"prompt": "a", "settings": {"top_k": 5}}, "last_placement": {"device": "cpu"},
        "placements": {"a": {"device": "custom", "modules": {"": "cpu"}}},
    }  # fmt: skip
    path = tmp_path / "preferences.json"
    text = data.draw(damaged(json.dumps(kept).encode()) | st.just(json.dumps(changed(kept, data.draw)).encode()))
    path.write_bytes(text)
    preferences = Preferences.load(path)
    assert preferences.all_precisions() and preferences.ticked is not None
    assert preferences.last_request is None or preferences.last_request.error() is None
    aside = [other for other in tmp_path.iterdir() if "damaged" in other.name]
    assert [other.read_bytes() for other in aside] == ([text] if preferences.notice else [])
    for other in aside:
        other.unlink()


@pytest.mark.parametrize("begin", [b'{"last_request":{"a":', b'{"of another version":', b'{"placements":{"a":'])
def test_preferences_that_are_nested_too_deep(begin: bytes, tmp_path: Path) -> None:
    path = tmp_path / "preferences.json"
    path.write_bytes(begin + b"[" * 200_000)
    assert "set aside" in Preferences.load(path).notice


@FUZZ
@given(st.data())
def test_any_history(tmp_path: Path, data: st.DataObject) -> None:
    """A damaged part of it costs that comparison alone."""
    import sqlite3

    path = tmp_path / "history.sqlite3"
    if not path.exists():
        history = History(path)
        kept = comparison(done(), done("nf4"))
        kept.id = "a"
        history.save(kept).result()
        history.close()
    part = data.draw(st.sampled_from(["", "fp32"]))
    with closing(sqlite3.connect(path)) as file, file:
        (before,) = file.execute("SELECT json FROM contents WHERE id = 'a' AND part = ?", (part,)).fetchone()
        put_in = "UPDATE contents SET json = ? WHERE id = 'a' AND part = ?"
        text = data.draw(damaged(bytes(before)))
        file.execute(put_in, (text, part))
    file.close()
    history = History(path)
    try:
        assert [entry.id for entry in history.entries()] == ["a"]
        history.load("a")
    except PlaygroundError as error:
        assert error.info.code is ErrorCode.BAD_FILE and error.info.hint
    finally:
        history.close()
    with closing(sqlite3.connect(path)) as file, file:
        file.execute(put_in, (before, part))
    file.close()


KEY = BaselineKey(
    weights_sha256="a", config_sha256="b", precision=READY_PRECISIONS[0], place="cpu", versions=(), ids_sha256="c",
    starts=(0,), window=4, vocabulary=4,
)  # fmt: skip
TWO = Floats(bytes(8))
TOKENS = ScoredTokens(nll=TWO, top=("a", "b"), top_ids=(1, 2), top_p=TWO)
KEPT = KeptScores(dtype="float32", quality=Quality(text="a"), tokens=TOKENS)


@FUZZ
@given(damaged(msgspec.msgpack.encode(KEPT)))
def test_any_kept_baseline(tmp_path: Path, data: bytes) -> None:
    folder = tmp_path / KEY.name
    folder.mkdir(exist_ok=True)
    (folder / SCORES).write_bytes(data)
    (folder / "log-probabilities").write_bytes(bytes(32))
    found = Baselines(tmp_path, 10**9).find(KEY)
    if found is not None:
        found.rows(0, 1)
        found.candidate(READY_PRECISIONS[1], "cpu")


@pytest.mark.parametrize("dtype", ["object", "O", "V16", "U4", "f4,f4", "(", "float64", "", "\0", "int8"])
def test_a_kept_baseline_of_another_type(dtype: str, tmp_path: Path) -> None:
    (tmp_path / KEY.name).mkdir()
    (tmp_path / KEY.name / SCORES).write_bytes(msgspec.msgpack.encode(msgspec.structs.replace(KEPT, dtype=dtype)))
    for size in (2, 8, 16, 32, 64, 128):
        (tmp_path / KEY.name / "log-probabilities").write_bytes(bytes(size * 4))
        assert Baselines(tmp_path, 10**9).find(KEY) is None


@FUZZ
@given(damaged(b'{"a": "b"}'))
def test_any_memory_of_hashes(tmp_path: Path, data: bytes) -> None:
    weights = tmp_path / "weights"
    weights.write_bytes(b"x")
    (tmp_path / "digests.json").write_bytes(data)
    once = weights_sha256([weights], tmp_path, lambda label, done, total: None)
    assert len(once) == 64


@FUZZ
@given(st.binary(max_size=600) | st.text(max_size=900).map(lambda text: text.encode("utf-8", "replace")))
def test_any_evaluation_text(tmp_path: Path, good: Path, data: bytes) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(data)
    try:
        text = read_text_file(path)
        read_text(_tokenizer(good), "text", text)
    except PlaygroundError as error:
        assert error.info.code is ErrorCode.BAD_FILE
        check_sentence(error.info)


_tokenizers: dict[Path, Any] = {}


def _tokenizer(folder: Path) -> Any:
    if folder not in _tokenizers:
        _tokenizers[folder] = read_tokenizer(folder)
    return _tokenizers[folder]
