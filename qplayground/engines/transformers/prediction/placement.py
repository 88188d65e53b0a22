"""Turns a requested placement into a device per module, by accelerate's own rules, before a weight is read."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from msgspec.structs import replace
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.initialization import no_init_weights
from transformers.integrations.accelerate import _get_device_map
from transformers.quantizers import AutoHfQuantizer

from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorCode, PlaygroundError, fail
from qplayground.core.memory.estimate import WeightKinds
from qplayground.core.placement import (
    AUTO,
    BALANCED,
    CPU,
    CUSTOM,
    DISK,
    Block,
    Placement,
    PlacementPlan,
    computes_on_gpu,
    device_of,
    devices_in_order,
    is_cuda,
    is_gpu,
    main_device,
    names_above,
    stays_unquantized,
)
from qplayground.core.placement import named_device as device_name
from qplayground.core.precision import Precision
from qplayground.engines.transformers.machine.devices import named_device
from qplayground.engines.transformers.model.conversion import Conversion, conversion
from qplayground.engines.transformers.model.shapes import Shapes
from qplayground.engines.transformers.model.tensor_names import targets
from qplayground.engines.transformers.prediction.weights import predicted_weights
from qplayground.engines.transformers.quantizers.registry import backend, configuration

_WORDS = {CPU: "RAM"}
_QUANTIZERS_SHARE = 0.9
"""Share of a limit that transformers lets a quantized model take."""


def device_map(shapes: Shapes, precision: Precision, placement: Placement, limits: Mapping[str, int]) -> dict[str, str]:
    """A device for each module, `""` for all of them. `limits`: bytes of weights that each device can take.

    Raises PlaygroundError(BAD_DEVICE) for what the quantizer or accelerate would refuse, or silently do wrong.
    """
    if placement.is_single:
        return {"": placement.device}
    if placement.device == CUSTOM:
        _check_names(shapes, placement.modules)
        found = _disjoint(shapes.skeleton(Dtype.BFLOAT16), _with_buffers(shapes, placement.modules))
    elif not limits or (set(limits) == {CPU} and CPU not in placement.max_memory):
        found = {"": str(named_device(AUTO))}
    elif placement.device == AUTO and (gpu := _roomy_gpu(shapes, precision, limits)) is not None:
        found = {"": gpu}
    else:
        found = _inferred(shapes, precision, placement.device, limits)
    if len(set(found.values())) == 1 and DISK not in found.values():
        found = {"": next(iter(found.values()))}
    if precision.quantization is not None and not backend(precision.quantization).splits and len(found) > 1:
        raise _cannot_split(precision, found)
    if precision.is_quantized and any(stays_unquantized(device, found.values()) for device in found.values()):
        _check_quantizable(shapes, precision, found)
    return found


def conversion_at(shapes: Shapes, precision: Precision, placed: Mapping[str, str]) -> Conversion:
    """The precision's conversion for that placement."""
    return conversion(shapes, precision, on_cpu=set(placed.values()) == {CPU})


def converted_layers(shapes: Shapes, precision: Precision, placed: Mapping[str, str]) -> tuple[str, ...]:
    """The layers that the precision converts, and that are on a device where they get quantized."""
    devices = set(placed.values())
    plain = {device for device in devices if stays_unquantized(device, devices)}
    converted = conversion_at(shapes, precision, placed).converted
    return tuple(name for name in converted if (device_of(name, placed) or CPU) not in plain) if plain else converted


def by_device(by_module: Mapping[str, WeightKinds], placed: Mapping[str, str]) -> dict[str, WeightKinds]:
    """Bytes on each device. Buffers are where the model computes."""
    computes = main_device(placed.values())
    found = {device: WeightKinds() for device in devices_in_order([*placed.values(), computes])}
    for name, kinds in by_module.items():
        device = device_of(name, placed)
        assert device is not None
        found[device] += replace(kinds, buffers=0) if stays_unquantized(device, placed.values()) else kinds
        if stays_unquantized(device, placed.values()):
            found[computes] += WeightKinds(buffers=kinds.buffers)
    return {device: kinds for device, kinds in found.items() if kinds.total}


def caution(shapes: Shapes, precision: Precision, placed: Mapping[str, str], limits: Mapping[str, int]) -> str:
    """Warnings about a placement that works, and about layers that stay as they are."""
    said = [_caution(precision, placed, limits), *conversion_at(shapes, precision, placed).cautions]
    return " ".join(sentence for sentence in said if sentence)


def _caution(precision: Precision, placed: Mapping[str, str], limits: Mapping[str, int]) -> str:
    devices = set(placed.values())
    if computes_on_gpu(limits) and devices <= {CPU, DISK}:
        return (
            f"No GPU has room for it, so all of it is placed on {' and '.join(devices_in_order(devices))}: "
            "its figures are the processor's."
        )
    if precision.is_quantized and any(stays_unquantized(device, devices) for device in devices):
        away = " and ".join(device for device in devices_in_order(devices) if stays_unquantized(device, devices))
        return f"Its modules on {away} stay unquantized, in {precision.dtype}: only those on a GPU are quantized."
    return ""


def blocks(shapes: Shapes, by_module: Mapping[str, WeightKinds], plain: Mapping[str, WeightKinds]) -> tuple[Block, ...]:
    """The parts that accelerate moves as a whole, in the model's order, each with its bytes."""
    names = tuple(block_names(shapes))
    tied = _tied_blocks(shapes, names)
    return tuple(Block(name, _below(name, by_module), _below(name, plain), tied.get(name, "")) for name in names)


def block_names(shapes: Shapes) -> Iterator[str]:
    """The layers that must not be split, and every other module that holds tensors of its own."""
    skeleton = shapes.skeleton(Dtype.BFLOAT16)
    whole = set(skeleton._no_split_modules or ())

    def below(name: str, module: nn.Module) -> Iterator[str]:
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        if name and (type(module).__name__ in whole or own):
            yield name
            return
        for child, inner in module.named_children():
            yield from below(f"{name}.{child}" if name else child, inner)

    yield from below("", skeleton)


def plan(
    shapes: Shapes,
    precision: Precision,
    placement: Placement,
    limits: Mapping[str, int],
    weights: Callable[[Mapping[str, str]], Mapping[str, WeightKinds]],
    tensors: Iterable[str],
) -> PlacementPlan:
    """The placement that is shown before a load, and changed by hand.

    `weights` gives the bytes by module for a map. `tensors`: the names of the checkpoint's tensors.
    """
    alone = {"": main_device([*limits, *placement.modules.values(), CPU])}  # the CPU repacks some weights
    try:
        shown = blocks(shapes, weights(alone), _plain(shapes, precision))
    except PlaygroundError as error:  # nothing can be quantized, wherever it is
        return PlacementPlan(precision=precision.name, quantized=precision.is_quantized, problem=error.info)
    problem, said, rewritten = None, "", 0
    try:
        placed = device_map(shapes, precision, placement, limits)
        said = caution(shapes, precision, placed, limits)
        rewritten = _rewritten_bytes(shapes.skeleton(precision.dtype), tensors, placed)
    except PlaygroundError as error:
        problem, placed = error.info, placement.modules
    found = [device_of(block.name, placed) or CPU for block in shown]
    return PlacementPlan(
        precision=precision.name,
        quantized=precision.is_quantized,
        blocks=shown,
        devices=tuple(found),
        problem=problem,
        caution=said,
        rewritten_bytes=rewritten,
    )


def _rewritten_bytes(skeleton: PreTrainedModel, tensors: Iterable[str], placed: Mapping[str, str]) -> int:
    """Bytes of the weights on disk that a load writes into the offload folder.

    These are weights that are not one tensor of the checkpoint as it is, such as a mixture's experts. transformers
    decides it in `offload_and_maybe_resave_param`.
    """
    if DISK not in placed.values():
        return 0
    rewritten = {name for target in targets(skeleton, tensors).values() if target.converted for name in target.names}
    return sum(
        parameter.numel() * parameter.element_size()
        for name, parameter in skeleton.named_parameters()
        if name in rewritten and device_of(name, placed) == DISK
    )


def _plain(shapes: Shapes, precision: Precision) -> Mapping[str, WeightKinds]:
    unquantized = replace(precision, quantization=None, skip_modules=())
    return predicted_weights(shapes, (), unquantized, repacks=False)


def _below(name: str, by_module: Mapping[str, WeightKinds]) -> int:
    return sum(kinds.total for module, kinds in by_module.items() if module == name or module.startswith(f"{name}."))


def _tied_blocks(shapes: Shapes, names: tuple[str, ...]) -> dict[str, str]:
    """Blocks that share a weight with an earlier block, and that block."""
    owners: dict[int, str] = {}
    tied: dict[str, str] = {}
    skeleton = shapes.skeleton(Dtype.BFLOAT16)
    for name in names:
        for parameter in skeleton.get_submodule(name).parameters():
            owner = owners.setdefault(id(parameter), name)
            if owner != name:
                tied[name] = owner
    return tied


def _roomy_gpu(shapes: Shapes, precision: Precision, limits: Mapping[str, int]) -> str | None:
    """The only GPU, if the whole model fits twice. accelerate's answer, which takes a while, is then known."""
    gpus = [device for device in limits if is_gpu(device)]
    skeleton = shapes.skeleton(precision.dtype)
    tensors = [*skeleton.parameters(), *skeleton.buffers()]
    unquantized = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return gpus[0] if len(gpus) == 1 and 2 * unquantized <= _QUANTIZERS_SHARE * limits[gpus[0]] else None


def _inferred(shapes: Shapes, precision: Precision, device: str, limits: Mapping[str, int]) -> dict[str, str]:
    """transformers' own answer, with the sizes that its quantizer counts."""
    dtype = getattr(torch, precision.dtype)
    with torch.device("meta"), no_init_weights():
        model = AutoModelForCausalLM.from_config(shapes.config, dtype=dtype).eval()
    quantizer = None
    config = configuration(precision, conversion(shapes, precision, on_cpu=False).skips, offloads=True)
    if config is not None:
        quantizer = AutoHfQuantizer.from_config(config, pre_quantized=False)
        quantizer.preprocess_model(model=model, dtype=dtype, device_map=None)
    most = {accelerates_name(name): limit for name, limit in limits.items()}
    found = _get_device_map(model, BALANCED if device == BALANCED else "auto", most, quantizer)
    return {name: device_name(place, disk=True) for name, place in found.items()}


def accelerates_name(device: str) -> int | str:
    """accelerate numbers NVIDIA's GPUs, and picks its main device from a set in the order of the numbers."""
    return int(device.partition(":")[2]) if is_cuda(device) else device


def _with_buffers(shapes: Shapes, modules: Mapping[str, str]) -> dict[str, str]:
    """Modules that hold only buffers go where the model computes, unless the map says otherwise."""
    computes = main_device(modules.values())
    names = (name.rpartition(".")[0] for name, _ in shapes.skeleton(Dtype.BFLOAT16).named_buffers())
    return {**modules, **{name: computes for name in names if device_of(name, modules) is None}}


def _disjoint(skeleton: nn.Module, modules: Mapping[str, str]) -> dict[str, str]:
    """The same map without names above other names, which accelerate would count twice."""
    split = {name for each in modules for name in names_above(each)}

    def below(name: str, module: nn.Module) -> Iterator[tuple[str, str]]:
        device = device_of(name, modules)
        if name not in split and device is not None:
            yield name, device
            return
        for inner, child in [*module.named_children(), *module.named_parameters(recurse=False)]:
            full = f"{name}.{inner}" if name else inner
            if isinstance(child, nn.Module):
                yield from below(full, child)
            elif device is not None:
                yield full, device

    return dict(below("", skeleton))


def _check_names(shapes: Shapes, placed: Mapping[str, str]) -> None:
    skeleton = shapes.skeleton(Dtype.BFLOAT16)
    modules = {name for name, _ in skeleton.named_modules()}
    unknown = sorted(set(placed) - modules)
    if unknown:
        raise fail(
            ErrorCode.BAD_DEVICE,
            f"The device map names {unknown[0]}, which is no module of this model.",
            f"A module of this model is {next(block_names(shapes))}.",
            ", ".join(unknown[:50]),
        )
    homes: dict[int, tuple[str, str]] = {}
    for name, parameter in skeleton.named_parameters(remove_duplicate=False):
        device = device_of(name, placed)
        if device is None:
            raise fail(
                ErrorCode.BAD_DEVICE,
                f"The device map has no device for {name.rpartition('.')[0]}.",
                'Name one for every module, or for all the others as "".',
            )
        other, home = homes.setdefault(id(parameter), (name, device))
        if home != device:
            raise fail(
                ErrorCode.BAD_DEVICE,
                f"{name} and {other} are one weight, and the device map has them on {device} and {home}.",
                "Put both on one device.",
            )


def _cannot_split(precision: Precision, placed: Mapping[str, str]) -> PlaygroundError:
    assert precision.quantization is not None
    places = " and ".join(_WORDS.get(device, device) for device in devices_in_order(placed.values()))
    return fail(
        ErrorCode.BAD_DEVICE,
        f"{precision.label} cannot be split between {places}: {precision.quantization.library} quantizes a model that "
        "is in one place.",
        "Put all of it on one device, or choose another precision.",
    )


def _check_quantizable(shapes: Shapes, precision: Precision, placed: Mapping[str, str]) -> None:
    devices = devices_in_order(placed.values())
    assert precision.quantization is not None
    if all(device in (CPU, DISK) for device in devices):
        places = " and ".join(_WORDS.get(device, device) for device in devices)
        where = f"split between {places}" if len(devices) > 1 else f"put on {places}"
        raise fail(
            ErrorCode.BAD_DEVICE,
            f"{precision.label} cannot be {where}: {precision.quantization.library} leaves a module unquantized on "
            "disk, and in RAM beside other places, so nothing would be quantized.",
            "Put all of it in RAM (raise or remove the limit, or move it back), or compare fp32, bf16 and fp16.",
        )
    if not converted_layers(shapes, precision, placed):
        raise fail(
            ErrorCode.BAD_DEVICE,
            f"{precision.label} would convert nothing: every layer that it converts is placed on "
            f"{' or '.join(device for device in devices if device in (CPU, DISK))}, where it stays as it is.",
            "Put layers on a GPU.",
        )
