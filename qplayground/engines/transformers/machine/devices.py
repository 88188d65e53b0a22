"""Describes this machine as far as torch knows it, and picks devices."""

import os
import platform
import sys
from collections.abc import Iterable
from pathlib import Path

import accelerate
import psutil
import safetensors
import tokenizers
import torch
import transformers
from bitsandbytes.functional import has_avx512bf16

from qplayground import __version__
from qplayground.core.errors import ErrorCode, fail
from qplayground.core.placement import CPU, DISK, MPS, is_gpu
from qplayground.core.quantizers.installed import installed_version
from qplayground.core.quantizers.registry import libraries
from qplayground.core.system.machine import Machine

_LIBRARIES = (torch, transformers, accelerate, tokenizers, safetensors)


def describe_machine() -> Machine:
    """Versions, CPU and accelerators. On a CUDA machine this asks the driver, so never call it before a fork."""
    gpus: tuple[str, ...] = ()
    bfloat16 = True
    if torch.cuda.is_available():
        gpus = tuple(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return Machine(
        python=platform.python_version(),
        platform=platform.platform(),
        cpu=_cpu_name(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        cpu_threads=torch.get_num_threads(),
        cpus=len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        avx512_bf16=bool(has_avx512bf16()),
        ram_total_bytes=psutil.virtual_memory().total,
        versions={
            "qplayground": __version__,
            **{library.__name__: str(library.__version__) for library in _LIBRARIES},
            **{name: found for name in sorted(libraries()) if (found := installed_version(name))},
        },
        gpus=gpus,
        mps=torch.backends.mps.is_available(),
        bfloat16=bfloat16,
    )


def processor_name(device: torch.device) -> str:
    """What computes, as far as it changes results: the GPU's name, or the CPU's with its instruction set."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    if device.type != CPU:  # Apple's GPU has the name of the chip that it is part of
        return f"{device.type}, {_cpu_name()}"
    repacks = ", AVX512-BF16" if has_avx512bf16() else ""
    return f"{_cpu_name()}, {torch.backends.cpu.get_cpu_capability()}{repacks}"


def named_device(asked: str) -> torch.device:
    """The device of that name. `auto` is the first GPU if there is one, else the CPU. The device is not touched."""
    return torch.device(("cuda:0" if torch.cuda.is_available() else "cpu") if asked == "auto" else asked)


def pick_device(asked: str) -> str:
    """Try the device of that name. Returns its name with its number where there may be several. The disk always works.

    Raises PlaygroundError(BAD_DEVICE) for a device that this machine does not have.
    """
    if asked == DISK:
        return asked
    try:
        device = torch.empty(1, device=named_device(asked)).device
        return device.type if device.type in (CPU, MPS) else str(device)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, AssertionError) as error:  # torch words it differently for each kind of device
        raise fail(
            ErrorCode.BAD_DEVICE,
            f"This machine has no device {asked!r}.",
            "Choose Auto or CPU.",
            f"{type(error).__name__}: {error}",
        ) from error


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its work. A clock read before that is wrong."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == MPS:
        torch.mps.synchronize()


def synchronize_all(devices: Iterable[str]) -> None:
    """Synchronize each GPU among the devices."""
    for device in dict.fromkeys(devices):
        if is_gpu(device):
            synchronize(torch.device(device))


def _cpu_name() -> str:
    try:
        with Path("/proc/cpuinfo").open() as lines:
            names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
