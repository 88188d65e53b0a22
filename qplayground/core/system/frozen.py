"""Whether the program brings its own Python, as `make package` builds it: then nobody can install a library into it."""

import sys


def is_frozen() -> bool:
    """Whether this is the frozen program."""
    return bool(getattr(sys, "frozen", False))


def remedy(installed: str, frozen: str = "Reinstall the program: a part of it is missing or damaged.") -> str:
    """What to do: `installed` where libraries are packages that pip installs, `frozen` in the frozen program."""
    return frozen if is_frozen() else installed
