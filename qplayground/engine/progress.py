"""How a load says what it is at and how far it has come."""

from collections.abc import Callable

from qplayground.core.messages.events import Phase

OnPhase = Callable[[Phase], None]
OnProgress = Callable[[str, int, int], None]
"""What is being done, how much of it is, and the whole."""
