"""Formats that the program parses itself, damaged by the hundred."""

import json
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qplayground.catalog.config import read_config
from qplayground.catalog.headers import read_header
from qplayground.catalog.weights import SINGLE, shards_of
from qplayground.core.comparison.results import from_json, to_json
from qplayground.core.errors import ErrorCode, PlaygroundError
from qplayground.core.measures.floats import Floats
from qplayground.core.measures.quality import Quality, ScoredTokens
from qplayground.core.placement import parse_max_memory, read_map
from qplayground.core.precision import READY_PRECISIONS
from qplayground.engines.transformers.scoring.baselines import SCORES, BaselineKey, Baselines, KeptScores
from qplayground.engines.transformers.scoring.fingerprint import weights_sha256
from qplayground.engines.transformers.scoring.scored_text import read_text
from qplayground.engines.transformers.text.tokenizer import read_tokenizer
from qplayground.runtime.storage.evaluation_text import read_text_file
from qplayground.runtime.storage.history import History
from qplayground.runtime.storage.preferences import Preferences
from tests.comparisons import comparison, done
from tests.faults.corrupted.folders import check_sentence, whole

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="alarms, pipes and links as POSIX has them")

FUZZ = settings(derandomize=True, deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))


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
    """The file with a piece replaced, cut out or cut off, or something else entirely."""
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
    """Whatever is read can be written again, in every report format."""
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
    assert "renamed to" in Preferences.load(path).notice


@FUZZ
@given(st.data())
def test_any_history(tmp_path: Path, data: st.DataObject) -> None:
    """Damage in one comparison affects only that comparison."""
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
