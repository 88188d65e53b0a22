"""The memory of each device of this machine as it is now, and what of it weights may take."""

from pathlib import Path

import psutil

from qplayground.core.memory.fit import CONTEXT_BYTES
from qplayground.core.placement import CPU, Placement
from qplayground.runtime.machine.available import available_memory
from qplayground.runtime.machine.gpus import list_gpus

_WEIGHTS_SHARE = 0.9
"""Of a GPU's free memory; the rest is for the KV cache and for what a forward needs. transformers takes as much."""


def free_memory() -> dict[str, int]:
    """Bytes that can be taken, by device."""
    return {**{f"cuda:{gpu.index}": gpu.free_bytes for gpu in list_gpus()}, CPU: available_memory().available_bytes}


def free_on_disk(folder: Path) -> int | None:
    """Bytes that can be written there, None where that cannot be known. It need not be there yet."""
    try:
        return int(psutil.disk_usage(str(existing_above(folder))).free)
    except OSError:
        return None


def existing_above(place: Path) -> Path:
    """The place itself, or the nearest folder above it that is there. Raises OSError for one that is closed."""
    while not place.exists() and place != place.parent:
        place = place.parent
    return place


def weight_limits(placement: Placement, gpu_count: int) -> dict[str, int]:
    """Bytes of weights that each device can take, where a placement is worked out by itself: what was set for it, else
    what is free. Of one that is given there are none. `gpu_count`: how many torch can use; the driver may know more.
    """
    if placement.is_single or placement.modules:
        return {}
    free = {
        device: free_bytes if device == CPU else int(_WEIGHTS_SHARE * max(0, free_bytes - CONTEXT_BYTES))
        for device, free_bytes in free_memory().items()
        if device == CPU or int(device.partition(":")[2]) < gpu_count
    }
    return {**free, **placement.max_memory}
