"""NVIDIA GPUs as NVML (the driver's management library) sees them: no CUDA context, no torch."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pynvml

_PCI_DEVICES = Path("/sys/bus/pci/devices")
_NVIDIA, _DISPLAY_CLASS = "0x10de", "0x03"


class Gpu(msgspec.Struct, frozen=True):
    """One GPU. `index` is CUDA's: among the visible GPUs, in PCI order. Memory in bytes.

    `compute_capability` is a pair such as (8, 6).
    """

    index: int
    name: str
    total_bytes: int
    free_bytes: int
    bfloat16: bool
    compute_capability: tuple[int, int] | None = None


@contextlib.contextmanager
def _nvml() -> Iterator[bool]:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield False
        return
    try:
        yield True
    finally:
        pynvml.nvmlShutdown()


def list_gpus() -> list[Gpu]:
    """The visible GPUs of this machine; empty without a driver."""
    with _nvml() as there:
        if not there:
            return []
        try:
            return [_describe(index, handle) for index, handle in enumerate(_visible())]
        except pynvml.NVMLError:  # a lost GPU, or one that reports nothing; Auto still finds it
            return []


def driver_version() -> str:
    """The NVIDIA driver's version, such as `580.65.06`; empty without a driver."""
    with _nvml() as there:
        try:
            return _text(pynvml.nvmlSystemGetDriverVersion()) if there else ""
        except pynvml.NVMLError:
            return ""


def has_nvidia_gpu() -> bool:
    """Whether there is an NVIDIA GPU."""
    with _nvml() as there:
        try:
            return there and pynvml.nvmlDeviceGetCount() > 0
        except pynvml.NVMLError:
            return there  # there is a driver, so better not fork


def undriven_gpus() -> tuple[str, ...]:
    """The Linux driver of each NVIDIA GPU on the PCI bus, empty for a GPU without one. Nothing if NVML works.

    `vfio-pci` means that a virtual machine has the GPU. A container sees the host's `nvidia`, but may lack NVML.
    """
    with _nvml() as there:
        if there:
            return ()
    found = []
    for device in sorted(_PCI_DEVICES.glob("*")):
        try:
            vendor = (device / "vendor").read_text("ascii").strip()
            kind = (device / "class").read_text("ascii").strip()
        except (OSError, UnicodeError):
            continue
        if vendor == _NVIDIA and kind.startswith(_DISPLAY_CLASS):
            driver = device / "driver"
            found.append(driver.resolve().name if driver.exists() else "")
    return tuple(found)


@contextlib.contextmanager
def vram_reader() -> Iterator[Callable[[int], dict[str, int]]]:
    """A function from a process id to its VRAM in bytes by GPU, as the driver counts it; empty if unknown."""
    with _nvml() as there:
        yield _vram_of if there else lambda pid: {}


def _vram_of(pid: int) -> dict[str, int]:
    used: dict[str, int] = {}
    try:
        for index, handle in enumerate(_visible()):
            for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle):
                if process.pid == pid and process.usedGpuMemory is not None:
                    device = f"cuda:{index}"
                    used[device] = used.get(device, 0) + process.usedGpuMemory
    except pynvml.NVMLError:  # a driver that was reset, or does not report this
        return {}
    return used


def _visible() -> list[Any]:
    """NVML handles of the GPUs that CUDA sees, in its order: all, or those in CUDA_VISIBLE_DEVICES."""
    handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return handles
    names = [_text(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles]
    found: list[Any] = []
    for name in (part.strip() for part in wanted.split(",")):
        place = (
            int(name) if name.isdecimal() else next((n for n, uuid in enumerate(names) if uuid.startswith(name)), -1)
        )
        if not name or not 0 <= place < len(handles):
            break  # CUDA stops at the first unknown entry
        found.append(handles[place])
    return found


def _text(name: str | bytes) -> str:
    return name if isinstance(name, str) else name.decode()


def _describe(index: int, handle: Any) -> Gpu:
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    name = pynvml.nvmlDeviceGetName(handle)
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    return Gpu(
        index=index,
        name=_text(name),
        total_bytes=memory.total,
        free_bytes=memory.free,
        bfloat16=major >= 8,
        compute_capability=(major, minor),
    )
