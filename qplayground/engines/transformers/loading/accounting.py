"""The bytes of the tensors that a model really holds, by module and kind.

`get_memory_footprint()` counts only parameters and buffers. Quantizers keep row scales, block scales and codebooks
elsewhere, and those count here too. Tied weights share memory and count once. Parts of one storage count each, because
transformers splits some fused weights without copying them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from qplayground.core.memory.estimate import WeightKinds
from qplayground.core.placement import DISK
from qplayground.engines.transformers.loading.offload import offloaded
from qplayground.engines.transformers.quantizers.base import HeldPart
from qplayground.engines.transformers.quantizers.registry import family_of


@dataclass(frozen=True)
class HeldTensor:
    """One tensor of a model. `kind`: `weight`, `bias`, `absmax`, `SCB`, … `num_bytes`: the size of its elements.

    `device` is `disk` for a tensor that each forward reads again; `tensor` is then on the meta device.
    `is_code`, `is_scale`: it holds the codes or scales of a quantized weight.
    """

    module: str
    kind: str
    tensor: torch.Tensor
    device: str
    is_code: bool = False
    is_scale: bool = False

    @property
    def num_bytes(self) -> int:
        return self.tensor.numel() * self.tensor.element_size()


def held_tensors(model: nn.Module) -> Iterator[HeldTensor]:
    """Every distinct tensor that the model holds, including those kept by quantizers and accelerate.

    Some quantizers repack weights in the first forward on some CPUs, so count bytes after it.
    """
    seen: set[tuple[object, ...]] = set()
    for name, module in model.named_modules():
        for kind, tensor, is_code, is_scale in _parts_of(module):
            if tensor.is_meta:
                found = offloaded(module, kind)
                if found is None:
                    continue
                if isinstance(found, torch.Tensor):
                    tensor = found
                elif (DISK, found) not in seen:
                    seen.add((DISK, found))
                    yield HeldTensor(name, kind, tensor, DISK, is_code, is_scale)
            if tensor.is_meta or not tensor.untyped_storage().nbytes():
                continue
            held = HeldTensor(name, kind, tensor, str(tensor.device), is_code, is_scale)
            place = (held.device, tensor.data_ptr(), held.num_bytes)
            if place not in seen:
                seen.add(place)
                yield held


def weight_bytes(model: nn.Module) -> int:
    """Total bytes of `held_tensors`."""
    return sum(held.num_bytes for held in held_tensors(model))


def kinds_by_module(model: nn.Module) -> dict[str, WeightKinds]:
    """Bytes by module and kind. A tied weight counts for the first module that has it."""
    return _summed(model, lambda held: held.module)


def kinds_by_device(model: nn.Module) -> dict[str, WeightKinds]:
    """Bytes by device and kind."""
    return _summed(model, lambda held: held.device)


def held_map(model: nn.Module) -> dict[str, str]:
    """Where the model is: accelerate's map if it made one, else one entry per device, `""` for all of it."""
    mapped = getattr(model, "hf_device_map", None)
    if mapped:
        return {name: str(torch.device(device) if device != "disk" else device) for name, device in mapped.items()}
    devices = sorted({str(parameter.device) for parameter in model.parameters()})
    return {"": devices[0]} if len(devices) == 1 else {device: device for device in devices}


def _summed(model: nn.Module, key: Callable[[HeldTensor], str]) -> dict[str, WeightKinds]:
    found: dict[str, WeightKinds] = {}
    for held in held_tensors(model):
        kinds = _kinds(model.get_submodule(held.module), held)
        found[key(held)] = found.get(key(held), WeightKinds()) + kinds
    return found


def _kinds(module: nn.Module, held: HeldTensor) -> WeightKinds:
    if held.is_scale:
        return WeightKinds(scales=held.num_bytes)
    if held.kind in module._buffers:
        return WeightKinds(buffers=held.num_bytes)
    if held.is_code:
        return WeightKinds(quantized=held.num_bytes)
    return WeightKinds(plain=held.num_bytes)


def _parts_of(module: nn.Module) -> Iterator[HeldPart]:
    family = family_of(module)
    for kind, parameter in module._parameters.items():
        if family is not None and kind == "weight":
            yield from family.parts(module)
        elif parameter is not None:
            yield HeldPart(kind, parameter)
    for kind, buffer in module._buffers.items():
        if buffer is not None:
            yield HeldPart(kind, buffer)
