"""Whether estimates fit into the memory that is free now."""

from collections.abc import Mapping, Sequence

from qplayground.core.memory.estimate import Estimate
from qplayground.core.memory.fit import Fit, fit
from qplayground.runtime.machine.devices import free_memory


def fit_now(
    estimates: Sequence[Estimate | None], credit: Mapping[str, int] | None = None, *, scores: bool = False
) -> Fit:
    """Whether engines with these estimates fit at once. `credit`: bytes by device that are freed first.

    `scores`: a text is scored too.
    """
    back = credit or {}
    return fit(estimates, {device: free + back.get(device, 0) for device, free in free_memory().items()}, scores=scores)
