"""Safetensors headers: valid ones are read, invalid ones are refused by name and size, hostile ones do no harm."""

from pathlib import Path
from typing import Any

import pytest
import safetensors
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from qplayground.catalog.headers import BITS, read_header
from qplayground.core.errors import ErrorCode, PlaygroundError
from tests.unit.catalog_files import safetensors_bytes, tensor_file

SHARED_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def refusal(path: Path) -> PlaygroundError:
    with pytest.raises(PlaygroundError) as caught:
        read_header(path)
    assert caught.value.info.code is ErrorCode.BROKEN_WEIGHTS
    assert path.name in caught.value.info.message
    return caught.value


def one(**changes: Any) -> dict[str, Any]:
    return {"weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24], **changes}}


def test_tensors_are_read_with_their_sizes(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    header = {
        "__metadata__": {"format": "pt"},
        "b": {"dtype": "F32", "shape": [2, 3], "data_offsets": [4, 28]},
        "a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]},
        "scalar": {"dtype": "I64", "shape": [], "data_offsets": [28, 36]},
        "empty": {"dtype": "F16", "shape": [0, 7], "data_offsets": [28, 28]},
    }
    path.write_bytes(safetensors_bytes(header, bytes(36)))
    tensors = read_header(path)
    assert {name: tensor.elements for name, tensor in tensors.items()} == {"a": 2, "b": 6, "scalar": 1, "empty": 0}
    assert tensors["a"].dtype == "BF16"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "only 0 bytes"),
        (b"1234", "only 4 bytes"),
        (b"<!DOCTYPE html><html>not found</html>", "not a safetensors file"),
        ((100_000_001).to_bytes(8, "little") + b"{}", "100,000,001"),
        ((50).to_bytes(8, "little") + b"{}", "cut off inside its header"),
        (safetensors_bytes(b"[1]"), "not valid"),
        (safetensors_bytes(b'{"a"'), "not valid"),
        (safetensors_bytes(b'{"\xff":1}'), "not valid"),
        (safetensors_bytes(b'{"a":' + b"[" * 100_000), "not valid"),
        (safetensors_bytes({"__metadata__": {"format": 1}}), "not valid"),
        (safetensors_bytes({"a": None}), "not valid"),
        (safetensors_bytes(one(shape=[-2, -3]), bytes(24)), "not valid"),
        (safetensors_bytes(one(data_offsets=[-24, 0]), bytes(24)), "not valid"),
        (safetensors_bytes(one(shape="23"), bytes(24)), "not valid"),
        (safetensors_bytes(one(shape=[2.5]), bytes(24)), "not valid"),
        (safetensors_bytes(one(data_offsets=[24, 0]), bytes(24)), "overlap or leave gaps"),
        (safetensors_bytes(one(data_offsets=[8, 32]), bytes(32)), "overlap or leave gaps"),
        (safetensors_bytes({**one(), "other": one()["weight"]}, bytes(24)), "overlap or leave gaps"),
        (safetensors_bytes(one(dtype="F33"), bytes(24)), "'F33'"),
        (safetensors_bytes(one(shape=[2, 4]), bytes(24)), "disagree"),
        (safetensors_bytes(one(shape=[2**40, 2**40]), bytes(24)), "disagree"),
        (safetensors_bytes(one(), bytes(25)), "1 bytes behind"),
    ],
)
def test_a_wrong_file_is_refused_with_the_reason(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "model-00002-of-00003.safetensors"
    path.write_bytes(content)
    assert words in refusal(path).info.message


def test_a_truncated_file_is_refused_with_both_sizes(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(tensor_file(elements=1000)[:-1234])
    message = refusal(path).info.message
    assert "4,000 bytes" in message
    assert "2,766 bytes" in message


def test_a_git_lfs_pointer_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 538090408\n")
    info = refusal(path).info
    assert "Git LFS pointer" in info.message
    assert "git lfs pull" in info.hint


tensor = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([*BITS, "F33", ""]),
        "shape": st.lists(st.integers(-1, 9), max_size=3),
        "data_offsets": st.lists(st.integers(-1, 64), min_size=1, max_size=3),
    }
)


@SHARED_FOLDER
@given(header=st.dictionaries(st.text(max_size=3), tensor, max_size=3), data=st.binary(max_size=64))
@example(header={}, data=b"")
@example(header=one(), data=bytes(24))
def test_what_is_accepted_is_what_the_library_accepts(tmp_path: Path, header: dict[str, Any], data: bytes) -> None:
    agrees_with_the_library(tmp_path / "fuzzed.safetensors", safetensors_bytes(header, data))


@SHARED_FOLDER
@given(
    shapes=st.lists(st.tuples(st.sampled_from(sorted(BITS)), st.integers(0, 16)), max_size=4), extra=st.integers(-2, 2)
)
def test_well_formed_headers_of_every_type_are_judged_alike(
    tmp_path: Path, shapes: list[tuple[str, int]], extra: int
) -> None:
    header, position = {}, 0
    for number, (dtype, count) in enumerate(shapes):
        end = position + count * BITS[dtype] // 8
        header[f"t{number}"] = {"dtype": dtype, "shape": [count], "data_offsets": [position, end]}
        position = end
    agrees_with_the_library(tmp_path / "made.safetensors", safetensors_bytes(header, bytes(max(0, position + extra))))


@SHARED_FOLDER
@given(content=st.binary(max_size=200))
def test_garbage_never_raises_anything_but_a_refusal(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "garbage.safetensors"
    path.write_bytes(content)
    try:
        read_header(path)
    except PlaygroundError as error:
        assert error.info.code is ErrorCode.BROKEN_WEIGHTS


@SHARED_FOLDER
@given(position=st.integers(0, 150), byte=st.integers(0, 255))
def test_one_damaged_byte_is_judged_as_the_library_judges_it(tmp_path: Path, position: int, byte: int) -> None:
    content = bytearray(tensor_file())
    content[position % len(content)] = byte
    agrees_with_the_library(tmp_path / "damaged.safetensors", bytes(content))


def agrees_with_the_library(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        parsed = safetensors.deserialize(content)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError:
        refusal(path)
    else:
        found = {name: (tensor.dtype, list(tensor.shape)) for name, tensor in read_header(path).items()}
        assert found == {name: (info["dtype"], info["shape"]) for name, info in parsed}
