"""Whether what was estimated fits into the memory of its devices as that is now."""

from collections.abc import Sequence

from qplayground.core.estimate import Estimate
from qplayground.core.fit import Fit, fit
from qplayground.core.placement import CPU
from qplayground.runtime.devices import free_memory


def fit_now(estimates: Sequence[Estimate | None], credit_bytes: int = 0) -> Fit:
    """Of so many engines at once, when `credit_bytes` are given back before, of the GPU where they use one."""
    available = free_memory()
    gpus = [gpu for estimate in estimates if estimate is not None for gpu in estimate.gpus]
    device = gpus[0] if gpus else CPU
    if device in available:
        available[device] += credit_bytes
    return fit(estimates, available)
