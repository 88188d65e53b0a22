"""The folder of a model to look inside: its modules, its headers, and one weight read from it."""

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn
from transformers.pytorch_utils import Conv1D

from qplayground.catalog.config import read_config
from qplayground.catalog.headers import TORCH_NAMES, TensorInfo, read_header
from qplayground.catalog.outline import read_outline
from qplayground.catalog.quantized import method_of_tensors
from qplayground.catalog.weights import wanted_files
from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorCode, PlaygroundError, fail
from qplayground.engines.transformers.model.shapes import Shapes
from qplayground.engines.transformers.model.tensor_names import loaded_as

FLOATING = ("float64", "float32", "bfloat16", "float16")
_ANOTHER = "Choose another layer."


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor is, and what its header says."""

    name: str
    file: Path
    info: TensorInfo

    @property
    def dtype(self) -> str:
        """torch's name of its dtype, or the format's own where torch has none."""
        return TORCH_NAMES.get(self.info.dtype, self.info.dtype.lower())

    @property
    def num_bytes(self) -> int:
        """Bytes in the file."""
        begin, end = self.info.data_offsets
        return end - begin

    def read(self) -> torch.Tensor:
        """Its values, still in the file's pages. Copy what must stay."""
        with safe_open(self.file, framework="pt") as file:
            return torch.as_tensor(file.get_tensor(self.name))


class Source:
    """A folder's contents. Headers and config are read once. `is_current`: whether the files are unchanged."""

    def __init__(self, path: Path) -> None:
        """Raises PlaygroundError for a folder without readable weights, OSError for one that is not there."""
        self.path = path
        self._key = _file_times(path)
        if read_outline(path) is not None:
            raise fail(
                ErrorCode.NO_WEIGHTS,
                "Only the sizes of this model are here, not its weights.",
                "Download the model to look inside it.",
            )
        names = wanted_files(path, {entry.name for entry in path.iterdir()})
        self.tensors = {
            tensor: StoredTensor(tensor, path / name, info)
            for name in names
            for tensor, info in read_header(path / name).items()
        }
        said = read_config(path / "config.json").quantized_by
        self.quantized_by = said or method_of_tensors({name: each.info for name, each in self.tensors.items()}) or ""
        """How a checkpoint was quantized before it was saved, by its config's or its tensors' names; else empty."""

    @property
    def is_current(self) -> bool:
        """Whether every file is as it was when the headers were read."""
        try:
            return _file_times(self.path) == self._key
        except OSError:
            return False

    @cached_property
    def shapes(self) -> Shapes:
        """The model without its weights. Raises PlaygroundError as `Shapes.read` does."""
        return Shapes.read(self.path)

    @property
    def skeleton(self) -> nn.Module:
        """The model's modules, on the meta device."""
        skeleton: nn.Module = self.shapes.skeleton(Dtype.BFLOAT16)
        return skeleton

    @cached_property
    def loaded_as(self) -> dict[str, str]:
        """The model's parameter that each tensor is loaded as."""
        return loaded_as(self.shapes.skeleton(Dtype.BFLOAT16), self.tensors)

    @cached_property
    def _alone(self) -> dict[str, str]:
        """The tensor of each parameter that is loaded from a single one."""
        count = Counter(self.loaded_as.values())
        return {name: tensor for tensor, name in self.loaded_as.items() if count[name] == 1}

    def find(self, tensor: str) -> StoredTensor | None:
        """Find a tensor by the model's name for it. A checkpoint may omit the base model's prefix."""
        for name in (tensor, tensor.partition(".")[2]):
            if name in self.tensors:
                return self.tensors[name]
        for name in (tensor, tensor.partition(".")[2]):
            if name in self._alone:
                return self.tensors[self._alone[name]]
        return None

    def below(self, module: str) -> dict[str, StoredTensor]:
        """All tensors under a module's name, by the rest of their names."""
        return self._below.get(module) or self._below.get(module.partition(".")[2]) or {}

    @cached_property
    def _below(self) -> dict[str, dict[str, StoredTensor]]:
        """`below` for each part of a tensor's name that ends at a dot."""
        found: dict[str, dict[str, StoredTensor]] = {}
        for name, held in self.tensors.items():
            parts = name.split(".")
            for place in range(1, len(parts)):
                found.setdefault(".".join(parts[:place]), {})[".".join(parts[place:])] = held
        return found

    def module(self, name: str) -> nn.Module:
        """A module by its name. Raises PlaygroundError(BAD_SETTINGS) that lists names of similar spelling."""
        modules: dict[str, nn.Module] = dict(self.skeleton.named_modules())
        if name in modules and name:
            return modules[name]
        close = difflib.get_close_matches(name, [each for each in modules if each], n=3)
        hint = f"Perhaps {' or '.join(close)} is meant." if close else _ANOTHER
        raise fail(ErrorCode.BAD_SETTINGS, f"This model has no module named {name!r}.", hint)

    def weight(self, module: str) -> StoredTensor:
        """The tensor of a module's own weight, a matrix.

        Raises PlaygroundError(UNSUPPORTED) with the reason where none can be shown.
        """
        found = self.module(module)
        stored = self.find(f"{module}.weight")
        if stored is None:
            raise self._without_tensor(module, found)
        shape = stored.info.shape
        if len(shape) != 2:
            size = size_text(shape) or "a single number"
            raise fail(
                ErrorCode.UNSUPPORTED,
                f"The weight of {module} is not a matrix: it has {len(shape)} dimension{'s' * (len(shape) != 1)} "
                f"({size}), and only matrices of linear layers are quantized.",
                _ANOTHER,
            )
        if not stored.info.elements:
            raise fail(ErrorCode.UNSUPPORTED, f"The weight of {module} is empty.", _ANOTHER)
        return stored

    def _without_tensor(self, name: str, module: nn.Module) -> PlaygroundError:
        weight = getattr(module, "weight", None)
        if not isinstance(weight, torch.Tensor):
            own = {part: tuple(each.shape) for part, each in module.named_parameters(recurse=False)}
            if own:
                parts = ", ".join(f"{part} ({size_text(shape)})" for part, shape in own.items())
                message = f"{name} holds {parts}. Only matrices of linear layers are quantized."
                return fail(ErrorCode.UNSUPPORTED, message, _ANOTHER)
            hint = "Choose one of its parts." if any(module.children()) else _ANOTHER
            return fail(ErrorCode.UNSUPPORTED, f"{name} has no weight of its own.", hint)
        for other, sharer in self.skeleton.named_modules():
            if sharer is not module and getattr(sharer, "weight", None) is weight and self.find(f"{other}.weight"):
                return fail(
                    ErrorCode.UNSUPPORTED, f"The weight of {name} is tied to that of {other}.", f"Choose {other}."
                )
        return fail(
            ErrorCode.UNSUPPORTED,
            f"The checkpoint holds no tensor under the name {name}.weight: it is merged with others or made on load.",
            _ANOTHER,
        )


class SourceWeight:
    """A matrix in its own memory, in the checkpoint's dtype and the layer's orientation."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.rows, self.columns = tensor.shape
        self._tensor = tensor

    @property
    def dtype(self) -> torch.dtype:
        return self._tensor.dtype

    def flat(self, first: int, last: int) -> torch.Tensor:
        return self._tensor.view(-1)[first:last]

    def part(self, rows: slice, columns: slice) -> torch.Tensor:
        return self._tensor[rows, columns]


def read_weight(source: Source, module: str, stored: StoredTensor) -> SourceWeight:
    """A module's weight. A Conv1D's is transposed, as transformers does before it quantizes it.

    Raises PlaygroundError(UNSUPPORTED) for a dtype that is not quantized.
    """
    if stored.dtype not in FLOATING:
        raise fail(
            ErrorCode.UNSUPPORTED,
            f"The weight of {module} is stored as {stored.dtype}; only weights of 16, 32 or 64 bits with a "
            "floating point are quantized.",
            "Choose another layer, or the original model.",
        )
    tensor = stored.read()
    turned = tensor.T if is_transposed(source.module(module)) else tensor
    return SourceWeight(turned.clone(memory_format=torch.contiguous_format))


def is_transposed(module: nn.Module) -> bool:
    """Whether the module stores its weight as (in, out) features."""
    return isinstance(module, Conv1D)


def size_text(shape: Sequence[int]) -> str:
    """A shape as text, such as `4 × 192 × 64`."""
    return " × ".join(f"{each:,}" for each in shape)


def _file_times(path: Path) -> tuple[tuple[str, int, int], ...]:
    files = ((entry.name, entry.stat()) for entry in path.iterdir() if entry.is_file())
    return tuple(sorted((name, found.st_mtime_ns, found.st_size) for name, found in files))
