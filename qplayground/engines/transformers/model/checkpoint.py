"""Reads the headers of a folder's safetensors files."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from huggingface_hub import get_local_safetensors_metadata

from qplayground.catalog.headers import BITS, TORCH_NAMES
from qplayground.catalog.outline import read_outline


@dataclass(frozen=True)
class Checkpoint:
    """What the headers say. `tensor_bytes`, `elements` and `shapes` go by tensor name, `files` lists each file's
    tensors.

    `dtypes`: the stored types by torch's names. `shapes` is empty for an outline, which does not know them.
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
