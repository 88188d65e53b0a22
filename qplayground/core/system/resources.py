"""The files that come with the program: `resources/` of a checkout, which a package has inside."""

import importlib.resources
from importlib.resources.abc import Traversable
from pathlib import Path

_CHECKOUT = Path(__file__).parents[3] / "resources"


def resource(name: str) -> Traversable:
    """A file or folder of it, by a path with slashes."""
    packaged = importlib.resources.files("qplayground") / "resources"
    return (packaged if packaged.is_dir() else _CHECKOUT) / name
