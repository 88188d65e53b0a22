"""Shards and an index that do not match, or are damaged."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qplayground.catalog.weights import INDEX
from qplayground.core.errors import ErrorCode
from qplayground.core.messages.events import Loaded
from tests.faults.corrupted.folders import FIRST, Damage, RecordedEngine, ask, put

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="alarms, pipes and links as POSIX has them")


def index(change: Callable[[dict[str, Any]], object]) -> Damage:
    def damage(folder: Path) -> None:
        fields = json.loads((folder / INDEX).read_bytes())
        change(fields["weight_map"])
        (folder / INDEX).write_text(json.dumps(fields))

    return damage


def point_to(place: str) -> Damage:
    return index(lambda names: names.update({FIRST: place}))


def test_shards_that_are_whole_load(shards: Path, engine: RecordedEngine) -> None:
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
def test_an_index_that_is_no_use(damage: Damage, shards: Path, engine: RecordedEngine) -> None:
    damage(shards)
    assert ask(engine, shards).code in (ErrorCode.BROKEN_WEIGHTS, ErrorCode.INCOMPLETE_DOWNLOAD)


def test_a_shard_that_is_missing_or_a_folder_or_no_weights(shards: Path, engine: RecordedEngine) -> None:
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


def test_an_index_that_leaves_a_shard_out(shards: Path, engine: RecordedEngine) -> None:
    last = max(shards.glob("model-*.safetensors")).name
    index(lambda names: [names.pop(name) for name in [*names] if names[name] == last])(shards)
    assert ask(engine, shards).code is ErrorCode.MISSING_TENSORS


def test_an_index_that_names_the_wrong_shard(shards: Path, engine: RecordedEngine) -> None:
    first = min(shards.glob("model-*.safetensors")).name
    index(lambda names: names.update(dict.fromkeys(names, first)))(shards)
    assert ask(engine, shards).code in (ErrorCode.MISSING_TENSORS, ErrorCode.BROKEN_WEIGHTS)
