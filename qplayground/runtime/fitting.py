"""Whether what was estimated fits into the memory of its device as that is now."""

from qplayground.core.estimate import Estimate
from qplayground.core.fit import Fit, fit_in_ram, fit_in_vram
from qplayground.runtime.available import available_memory
from qplayground.runtime.gpus import list_gpus


def fit_now(estimate: Estimate | None, device: str, credit_bytes: int = 0) -> Fit:
    """Of one engine, when `credit_bytes` are given back before it is started. `device` as in a request."""
    gpus = [] if device == "cpu" else list_gpus()
    if gpus:
        index = int(device.partition(":")[2] or 0)
        return fit_in_vram(estimate, gpus[index].free_bytes + credit_bytes if index < len(gpus) else None)
    return fit_in_ram(estimate, available_memory().available_bytes + credit_bytes)
