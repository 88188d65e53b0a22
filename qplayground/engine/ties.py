"""Weights that a config says are one, and that a checkpoint holds as two.

transformers ties them only where both are equal, so what is loaded depends on the values.
"""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from qplayground.catalog.weights import wanted_files

_ROWS = 1024
"""So many rows are compared at a time."""


def differing_ties(folder: Path, ties: Mapping[str, str]) -> frozenset[str]:
    """Those of `ties` (name → the name that it is tied to) whose tensors are both in the checkpoint and not equal.

    Of an outline, which has no values, none. Raises what a damaged file raises.
    """
    names = [entry.name for entry in folder.iterdir()] if ties else []
    if not any(name.endswith(".safetensors") for name in names):
        return frozenset()
    with ExitStack() as stack:
        files = [stack.enter_context(safe_open(folder / file, framework="pt")) for file in wanted_files(folder, names)]
        where = {name: file for file in files for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        pairs = {target: (stored_name(target, where), stored_name(source, where)) for target, source in ties.items()}
        return frozenset(
            target
            for target, (one, other) in pairs.items()
            if one is not None
            and other is not None
            and one != other
            and not _equal(where[one], one, where[other], other)
        )


def stored_name(name: str, stored: Iterable[str]) -> str | None:
    """What a checkpoint calls that parameter: it may leave out the base model's name, or have one more before it."""
    names = set(stored)
    shorter = name.partition(".")[2]
    if name in names:
        return name
    if shorter in names:
        return shorter
    return next((longer for longer in sorted(names) if longer.endswith(f".{name}")), None)


def _equal(file: Any, name: str, other_file: Any, other: str) -> bool:
    one, two = file.get_slice(name), other_file.get_slice(other)
    if one.get_shape() != two.get_shape():
        return False
    rows = one.get_shape()[0]
    return all(torch.equal(one[at : at + _ROWS], two[at : at + _ROWS]) for at in range(0, rows, _ROWS))
