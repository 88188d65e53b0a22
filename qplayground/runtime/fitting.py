"""Whether what was estimated fits into the memory of its device as that is now."""

from collections.abc import Sequence

from qplayground.core.estimate import Estimate
from qplayground.core.fit import Fit, fit_in_ram, fit_in_vram
from qplayground.runtime.available import available_memory
from qplayground.runtime.gpus import list_gpus


def fit_now(estimates: Sequence[Estimate | None], device: str, credit_bytes: int = 0) -> Fit:
    """Of so many engines at once, when `credit_bytes` are given back before. `device` as in a request."""
    gpus = [] if device == "cpu" else list_gpus()
    if gpus:
        index = int(device.partition(":")[2] or 0)
        return fit_in_vram(estimates, gpus[index].free_bytes + credit_bytes if index < len(gpus) else None)
    return fit_in_ram(estimates, available_memory().available_bytes + credit_bytes)
