"""Weights damaged in many ways: each is refused with a sentence, or loaded as it is."""

import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qplayground.catalog.weights import SINGLE
from qplayground.core.errors import ErrorCode
from qplayground.core.messages.events import Loaded
from tests.faults.corrupted.folders import FIRST, RecordedEngine, ask, parts, whole

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="alarms, pipes and links as POSIX has them")


def test_weights_cut_off_at_every_interesting_place(folder: Path, engine: RecordedEngine) -> None:
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
def test_a_header_of_a_forged_length(length: int, folder: Path, engine: RecordedEngine) -> None:
    header, weights = parts((folder / SINGLE).read_bytes())
    (folder / SINGLE).write_bytes(whole(header, weights, length))
    assert ask(engine, folder).code is ErrorCode.BROKEN_WEIGHTS


def test_a_header_of_the_largest_length_in_a_file_with_holes(folder: Path, engine: RecordedEngine) -> None:
    """100 MB of zeros, which take no space on the disk."""
    with (folder / SINGLE).open("wb") as file:
        file.write(struct.pack("<Q", 100_000_000))
        file.truncate(100_000_100)
    assert ask(engine, folder).code is ErrorCode.BROKEN_WEIGHTS


def forge(**changes: Any) -> Callable[[dict[str, Any], bytes], bytes]:
    """Changes the header's entry for one tensor."""

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
def test_a_forged_header(forged: str, folder: Path, engine: RecordedEngine) -> None:
    header, weights = parts((folder / SINGLE).read_bytes())
    (folder / SINGLE).write_bytes(FORGED[forged](header, weights))
    answers = ask(engine, folder)
    assert answers.code in (ErrorCode.BROKEN_WEIGHTS, ErrorCode.NO_WEIGHTS, ErrorCode.MISSING_TENSORS), answers


def test_weights_of_another_type_of_the_same_width(folder: Path, engine: RecordedEngine) -> None:
    """Only the dtype's name tells integers from floats. The load gives a model or a sentence."""
    header, weights = parts((folder / SINGLE).read_bytes())
    for dtype in ("I32", "U32"):
        header[FIRST]["dtype"] = dtype
        (folder / SINGLE).write_bytes(whole(header, weights))
        ask(engine, folder)
