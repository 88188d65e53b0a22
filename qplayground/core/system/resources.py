"""The files that come with the program: a checkout's `resources/` and guide, which a package has inside."""

import importlib.resources
from importlib.resources.abc import Traversable
from pathlib import Path

_CHECKOUT = Path(__file__).parents[3]


def resource(name: str) -> Traversable:
    """A file or folder of `resources/`, by a path with slashes."""
    return _folder("resources") / name


def document(name: str) -> Traversable:
    """A file of `docs/` that is packaged: the guide, or a picture of it."""
    return _folder("docs") / name


def _folder(name: str) -> Traversable:
    packaged = importlib.resources.files("qplayground") / name
    return packaged if packaged.is_dir() else _CHECKOUT / name
