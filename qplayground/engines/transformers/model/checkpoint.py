"""The safetensors files of a folder: what they hold, and how far loading them has come."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
from huggingface_hub import get_local_safetensors_metadata
from transformers.utils import logging

from qplayground.catalog.headers import BITS, TORCH_NAMES
from qplayground.catalog.outline import read_outline
from qplayground.engines.transformers.machine.mapped_files import release_pages
from qplayground.engines.transformers.progress import OnProgress

HELD_SOURCE_BYTES = 64 << 20
"""After so many bytes of the file have been read, their pages are let go."""


@dataclass(frozen=True)
class Checkpoint:
    """Tensor name → bytes, tensor name → elements, file → tensor names, the stored types by torch's names, and tensor
    name → shape, which an outline does not know.
    """

    path: Path
    tensor_bytes: dict[str, int]
    elements: dict[str, int]
    files: dict[Path, tuple[str, ...]]
    dtypes: frozenset[str]
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def total_bytes(self) -> int:
        return sum(self.tensor_bytes.values())

    @classmethod
    def read(cls, path: Path) -> "Checkpoint":
        """Read the headers of `model.safetensors`, or of every shard. Raises what a damaged header raises."""
        outline = read_outline(path)
        if outline is not None:
            return cls._of(path, {path / name: tensors for name, tensors in outline.files.items()})
        found = get_local_safetensors_metadata(path).files_metadata
        headers: dict[Path, dict[str, tuple[str, int]]] = {
            path / name: {
                tensor: (info.dtype, info.data_offsets[1] - info.data_offsets[0])
                for tensor, info in header.tensors.items()
            }
            for name, header in found.items()
        }
        shapes = {tensor: tuple(info.shape) for header in found.values() for tensor, info in header.tensors.items()}
        return replace(cls._of(path, headers), shapes=shapes)

    @classmethod
    def _of(cls, path: Path, headers: dict[Path, dict[str, tuple[str, int]]]) -> "Checkpoint":
        tensor_bytes: dict[str, int] = {}
        elements: dict[str, int] = {}
        files: dict[Path, tuple[str, ...]] = {}
        dtypes: set[str] = set()
        for file, tensors in headers.items():
            sizes = {name: num_bytes for name, (_, num_bytes) in tensors.items()}
            tensor_bytes.update(sizes)
            elements |= {name: 8 * num_bytes // BITS[dtype] for name, (dtype, num_bytes) in tensors.items()}
            files[file] = tuple(sizes)
            dtypes |= {TORCH_NAMES.get(dtype, dtype) for dtype, _ in tensors.values()}
        return cls(path, tensor_bytes, elements, files, frozenset(dtypes))


def bytes_read_from_disk() -> int | None:
    """What this process has made the disk read so far, mapped files included; the page cache's share is not in it.

    None where the system does not count it so.
    """
    if sys.platform != "linux":
        return None
    try:
        return int(psutil.Process().io_counters().read_bytes)
    except (psutil.Error, OSError, NotImplementedError):  # a kernel without the accounting
        return None


@contextmanager
def loading_progress(checkpoint: Checkpoint, on_progress: OnProgress) -> Iterator[None]:
    """Report transformers' own per-tensor progress in bytes while inside.

    A tensor counts once the library asks for the one after it, that is, when it has been placed.
    """

    def hook(factory: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if kwargs.get("desc") != "Loading weights":
            return factory(*args, **kwargs)
        return _counted(list(args[0]), checkpoint, on_progress)

    previous = logging.set_tqdm_hook(hook)
    try:
        yield
    finally:
        logging.set_tqdm_hook(previous)


def _counted(items: list[Any], checkpoint: Checkpoint, on_progress: OnProgress) -> Iterator[Any]:
    total = checkpoint.total_bytes
    known = sum(checkpoint.tensor_bytes.get(name, 0) for name, _ in items)
    unnamed = sum(1 for name, _ in items if name not in checkpoint.tensor_bytes)
    share = (total - known) // unnamed if unnamed else 0  # merged or renamed tensors have no size of their own
    done = 0
    held = 0
    for item in items:
        on_progress("Reading weights", done, total)
        yield item
        size = checkpoint.tensor_bytes.get(item[0], share)
        done += size
        held += size
        if held >= HELD_SOURCE_BYTES:
            release_pages(checkpoint.files)
            held = 0
    on_progress("Reading weights", total, total)
