"""How a load says what it is at and how far it has come."""

from collections.abc import Callable

from qplayground.core.memory.estimate import Estimate
from qplayground.core.messages.events import Phase

OnPhase = Callable[[Phase], None]
OnProgress = Callable[[str, int, int], None]
"""What is being done, how many bytes of it are, and of how many."""
OnEstimate = Callable[[Estimate], None]
"""What the model will take, just before its first weight is read."""
OnCounted = Callable[..., None]
"""The same of what is not always bytes: a fourth argument, `unit`, says of what."""
