"""The bytes of the tensors that a model really holds, by module and kind.

`get_memory_footprint()` counts parameters and buffers only; quantizers keep row scales, block scales and code
tables elsewhere, and those are counted here too. Tied weights are in one place and count once. Parts of a storage count
each: transformers splits some fused weights on loading without copying them.
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
    """One tensor of a model. `kind` is `weight`, `bias`, `absmax`, `SCB`, …; `num_bytes` what its elements take.

    `device` is `disk` for what is read again in each forward; its tensor is on the meta device then. `is_code` and
    `is_scale` say what of a quantized weight it is.
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
    """Every distinct tensor that the model holds, what quantizers keep and what accelerate holds for it included.

    Some quantizers repack weights on the first forward on some CPUs, so account after it, not before.
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
    """Bytes of everything that `held_tensors` gives."""
    return sum(held.num_bytes for held in held_tensors(model))


def kinds_by_module(model: nn.Module) -> dict[str, WeightKinds]:
    """The same by module and kind. A tied weight is booked on the first module that has it."""
    return _summed(model, lambda held: held.module)


def kinds_by_device(model: nn.Module) -> dict[str, WeightKinds]:
    """The same by device and kind."""
    return _summed(model, lambda held: held.device)


def held_map(model: nn.Module) -> dict[str, str]:
    """Where the model is: accelerate's map where it made one, otherwise one entry a device, `""` for all of it."""
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
