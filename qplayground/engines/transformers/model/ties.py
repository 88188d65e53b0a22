"""Weights that a config ties, but that a checkpoint stores twice.

transformers ties them only where both are equal, so what is loaded depends on the values.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import PreTrainedModel

from qplayground.catalog.weights import wanted_files
from qplayground.engines.transformers.model.tensor_names import loaded_as

_ROWS = 64
_PLACES = 16
"""Pieces to compare, of _ROWS rows each, spread over both tensors. A trained head differs everywhere."""


def differing_ties(folder: Path, skeleton: PreTrainedModel) -> frozenset[str]:
    """Parameters that the model ties to another, although the checkpoint has both and they differ.

    Empty for an outline, which has no values. Raises whatever a damaged file raises.
    """
    ties = skeleton.all_tied_weights_keys
    names = [entry.name for entry in folder.iterdir()] if ties else []
    if not any(name.endswith(".safetensors") for name in names):
        return frozenset()
    with ExitStack() as stack:
        files = [stack.enter_context(safe_open(folder / file, framework="pt")) for file in wanted_files(folder, names)]
        where = {name: file for file in files for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        stored = {parameter: name for name, parameter in loaded_as(skeleton, where).items()}
        both = {target: source for target, source in ties.items() if target in stored and source in stored}
        return frozenset(
            target
            for target, source in both.items()
            if not _equal(*((where[name], name) for name in (stored[target], stored[source])))
        )


def _equal(one: tuple[Any, str], other: tuple[Any, str]) -> bool:
    first, second = (file.get_slice(name) for file, name in (one, other))
    if first.get_shape() != second.get_shape():
        return False
    starts = torch.linspace(0, max(0, first.get_shape()[0] - _ROWS), _PLACES).long().tolist()
    return all(torch.equal(first[at : at + _ROWS], second[at : at + _ROWS]) for at in set(starts))
