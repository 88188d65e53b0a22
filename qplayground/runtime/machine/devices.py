"""Free memory of each device, and how much of it weights may take."""

from pathlib import Path

import psutil

from qplayground.core.memory.fit import CONTEXT_BYTES
from qplayground.core.placement import CPU, Placement
from qplayground.runtime.machine.available import available_memory
from qplayground.runtime.machine.gpus import list_gpus

_WEIGHTS_SHARE = 0.9
"""Share of a GPU's free memory for weights, as in transformers. The rest is for the KV cache and activations."""


def free_memory() -> dict[str, int]:
    """Free bytes by device."""
    return {**{f"cuda:{gpu.index}": gpu.free_bytes for gpu in list_gpus()}, CPU: available_memory().available_bytes}


def free_on_disk(folder: Path) -> int | None:
    """Free bytes on the folder's disk, or None if unknown. The folder need not exist yet."""
    try:
        return int(psutil.disk_usage(str(existing_above(folder))).free)
    except OSError:
        return None


def existing_above(place: Path) -> Path:
    """The path itself, or its nearest existing parent. Raises OSError if a folder cannot be accessed."""
    while not place.exists() and place != place.parent:
        place = place.parent
    return place


def weight_limits(placement: Placement, gpu_count: int) -> dict[str, int]:
    """Bytes of weights that each device can take, for automatic placement: the configured limit, else what is free.

    Empty for a single device or a given device map. `gpu_count`: GPUs that torch can use; the driver may see more.
    """
    if placement.is_single or placement.modules:
        return {}
    free = {
        device: free_bytes if device == CPU else int(_WEIGHTS_SHARE * max(0, free_bytes - CONTEXT_BYTES))
        for device, free_bytes in free_memory().items()
        if device == CPU or int(device.partition(":")[2]) < gpu_count
    }
    return {**free, **placement.max_memory}
