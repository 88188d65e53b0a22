"""Weights held outside the model's own tensors: in RAM beside a GPU, and on disk."""

from collections.abc import Iterator
from typing import Any

import torch
from accelerate.utils import OffloadedWeightsLoader
from torch import nn


def offloaded(module: nn.Module, kind: str) -> torch.Tensor | str | None:
    """What a module's tensor on the meta device stands for: a tensor in RAM, or the name of its place on disk.

    None where it stands for neither. Tied weights have the same place.
    """
    for in_ram, on_disk, prefix in _weights_of(module):
        name = f"{prefix}{kind}"
        if name in in_ram:
            return in_ram[name]
        if name in on_disk:
            entry = on_disk[name]
            return f"{entry.get('safetensors_file', '')}:{entry.get('weight_name', name)}"
    return None


def offloaded_in_ram(model: nn.Module) -> Iterator[torch.Tensor]:
    """Every tensor held in RAM for a model that computes elsewhere, each once."""
    seen: set[int] = set()
    for module in model.modules():
        for in_ram, _, _ in _weights_of(module):
            if id(in_ram) not in seen:
                seen.add(id(in_ram))
                yield from in_ram.values()


def _weights_of(module: nn.Module) -> Iterator[tuple[dict[str, torch.Tensor], dict[str, Any], str]]:
    """The weights in RAM and those on disk, by full name, and the prefix of the module's own names."""
    hook: Any = getattr(module, "_hf_hook", None)
    for each in getattr(hook, "hooks", [hook]):
        weights = getattr(each, "weights_map", None)
        dataset = getattr(weights, "dataset", None)
        if weights is None:
            continue
        if isinstance(dataset, OffloadedWeightsLoader):
            yield dataset.state_dict, dataset.index, weights.prefix
        elif isinstance(dataset, dict):
            yield dataset, {}, weights.prefix
