"""Callbacks through which a load reports its phase and progress."""

from collections.abc import Callable

from qplayground.core.memory.estimate import Estimate
from qplayground.core.messages.events import Phase

OnPhase = Callable[[Phase], None]
OnProgress = Callable[[str, int, int], None]
"""Called with a label, the bytes done and the total bytes."""
OnEstimate = Callable[[Estimate], None]
"""Called with the memory estimate just before the first weight is read."""
OnCounted = Callable[..., None]
"""Like OnProgress for units other than bytes, which the fourth argument, `unit`, names."""
