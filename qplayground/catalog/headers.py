"""Reads the header of a safetensors file, without reading its weights.

The format (https://huggingface.co/docs/safetensors): eight bytes with the header's length, little-endian; the header
in JSON, with each tensor's type, shape and offsets; the data. The checks are those of the safetensors library, so it
can open whatever passes. The messages here also name the file and its sizes.
"""

import math
from collections import Counter
from pathlib import Path
from typing import Annotated

import msgspec

from qplayground.core.errors import ErrorCode, PlaygroundError, fail
from qplayground.core.units import bytes_text

MAX_HEADER_BYTES = 100_000_000
LFS_POINTER = b"version https://git-lfs"
DOWNLOAD_AGAIN = "Download or copy that file again."

BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8"), 8),
    **dict.fromkeys(("F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}
"""Bits per element, by the format's name of the type."""

TORCH_NAMES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}

Count = Annotated[int, msgspec.Meta(ge=0)]


class TensorInfo(msgspec.Struct, frozen=True):
    """One tensor: type, shape, and where it begins and ends in the data, in bytes."""

    dtype: str
    shape: tuple[Count, ...]
    data_offsets: tuple[Count, Count]

    @property
    def elements(self) -> int:
        """The number of elements; 1 for a scalar."""
        return math.prod(self.shape)


Tensors = dict[str, TensorInfo]


def read_header(path: Path) -> Tensors:
    """Every tensor in the file's header.

    Raises PlaygroundError(BROKEN_WEIGHTS) unless it is a complete, well-formed safetensors file, and OSError if it
    cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(len(LFS_POINTER))
        if start == LFS_POINTER:
            raise fail(
                ErrorCode.BROKEN_WEIGHTS,
                f"{path.name} is a Git LFS pointer of {size:,} bytes, not the weights themselves.",
                "Run `git lfs pull` in that folder, or download the model again.",
            )
        length = int.from_bytes(start[:8], "little")
        if size < 8:
            raise _broken(path, f"has only {size} bytes, too few for a safetensors header")
        if not 2 <= length <= MAX_HEADER_BYTES:
            raise _broken(path, f"is not a safetensors file: its first bytes announce a header of {length:,} bytes")
        if 8 + length > size:
            raise _broken(
                path, f"is cut off inside its header: it has {size:,} bytes and needs more than {8 + length:,}"
            )
        if start[8:9] != b"{":
            raise _broken(path, "has a header that is not valid", "it does not begin with a brace")
        file.seek(8)
        header = file.read(length)
    tensors = _parse(path, header)
    _check_places(path, tensors, size - 8 - length)
    return tensors


def stored_dtype(elements: Counter[str]) -> str | None:
    """torch's name of the type that most elements are stored in; None without elements."""
    if not elements.total():
        return None
    name = elements.most_common(1)[0][0]
    return TORCH_NAMES.get(name, name.lower())


def _parse(path: Path, header: bytes) -> Tensors:
    try:
        raw = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
        metadata = raw.pop("__metadata__", None)
        if metadata is not None:
            msgspec.json.decode(metadata, type=dict[str, str] | None)
        return {name: msgspec.json.decode(value, type=TensorInfo) for name, value in raw.items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _broken(path, "has a header that is not valid", str(error)) from error


def _check_places(path: Path, tensors: Tensors, data_bytes: int) -> None:
    """Check that tensors fill the data without gaps, and that each one's length matches its shape."""
    position = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].data_offsets):
        begin, end = tensor.data_offsets
        if begin != position or end < begin:
            raise _broken(path, "has tensors that overlap or leave gaps", f"{name}: bytes {begin} to {end}")
        if tensor.dtype not in BITS:
            raise fail(
                ErrorCode.BROKEN_WEIGHTS,
                f"{path.name} stores a type that is not known, {tensor.dtype[:20]!r}.",
                "Choose a copy of the model in bfloat16, float16 or float32.",
                name,
            )
        if tensor.elements * BITS[tensor.dtype] != 8 * (end - begin):
            raise _broken(path, "has a tensor whose shape and size disagree", f"{name}: {tensor}")
        position = end
    if position > data_bytes:
        raise _broken(
            path,
            f"is cut off: its header announces {bytes_text(position)} of weights ({position:,} bytes) "
            f"and {data_bytes:,} bytes are there",
        )
    if position < data_bytes:
        raise _broken(path, f"has {data_bytes - position:,} bytes behind its last tensor")


def _broken(path: Path, what: str, detail: str = "") -> PlaygroundError:
    return fail(ErrorCode.BROKEN_WEIGHTS, f"{path.name} {what}.", DOWNLOAD_AGAIN, detail)
