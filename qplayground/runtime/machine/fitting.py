"""Whether what was estimated fits into the memory of its devices as that is now."""

from collections.abc import Mapping, Sequence

from qplayground.core.memory.estimate import Estimate
from qplayground.core.memory.fit import Fit, fit
from qplayground.runtime.machine.devices import free_memory


def fit_now(
    estimates: Sequence[Estimate | None], credit: Mapping[str, int] | None = None, *, scores: bool = False
) -> Fit:
    """Of so many engines at once, when so many bytes of each device are given back before, and a text is scored."""
    back = credit or {}
    return fit(estimates, {device: free + back.get(device, 0) for device, free in free_memory().items()}, scores=scores)
