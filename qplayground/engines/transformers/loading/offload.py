"""What is held outside the model's own tensors: weights in RAM beside a GPU, and weights on disk."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from accelerate.utils import OffloadedWeightsLoader
from torch import nn
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

from qplayground.core.placement import DISK, device_of


def offloaded(module: nn.Module, kind: str) -> torch.Tensor | str | None:
    """What stands for a tensor of a module that is on the meta device: one in RAM, or the name of its place on disk.

    None where nothing does. Tied weights have the same place.
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
    """Every tensor that is held in RAM for a model that computes elsewhere, each once."""
    seen: set[int] = set()
    for module in model.modules():
        for in_ram, _, _ in _weights_of(module):
            if id(in_ram) not in seen:
                seen.add(id(in_ram))
                yield from in_ram.values()


def rewritten_bytes(skeleton: PreTrainedModel, tensors: Iterable[str], placed: Mapping[str, str]) -> int:
    """Bytes of the weights on disk that a load writes into the offload folder: those that are not one tensor of the
    checkpoint as it is, such as a mixture's experts, as `offload_and_maybe_resave_param` of transformers decides it.
    """
    if DISK not in placed.values():
        return 0
    state, prefix = skeleton.state_dict(), skeleton.base_model_prefix
    rules = get_model_conversion_mapping(skeleton)
    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
    by_pattern = {pattern: rule for rule in converters for pattern in rule.source_patterns}
    rewritten: set[str] = set()
    for tensor in tensors:
        name, pattern = rename_source_key(tensor, renamings, converters, prefix, state)
        if pattern is not None and name in state:
            targets = by_pattern[pattern].target_patterns
            rewritten |= {name.replace(targets[0], target) for target in targets}
    return sum(
        parameter.numel() * parameter.element_size()
        for name, parameter in skeleton.named_parameters()
        if name in rewritten and device_of(name, placed) == DISK
    )


def _weights_of(module: nn.Module) -> Iterator[tuple[dict[str, torch.Tensor], dict[str, Any], str]]:
    """By full name those in RAM and those on disk, and what stands before the module's own names."""
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
