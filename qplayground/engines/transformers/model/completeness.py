"""Checks in a checkpoint's headers that it has every tensor that the model needs, before anything is read.

transformers fills missing tensors with random numbers, and reports that only after the load.
"""

import re
from collections import Counter

import torch
from transformers import PreTrainedModel

from qplayground.core.errors import ErrorCode, fail
from qplayground.engines.transformers.failures.missing import COMPARE_HINT, missing_tensors
from qplayground.engines.transformers.model.checkpoint import Checkpoint
from qplayground.engines.transformers.model.tensor_names import targets


def check_complete(skeleton: PreTrainedModel, checkpoint: Checkpoint) -> str:
    """Compare the model's tensors with the checkpoint's by name and shape. Merged tensors go by number of elements.

    Returns a sentence on tensors that the model does not use, except those that transformers ignores silently; else an
    empty string. Raises PlaygroundError: MISSING_TENSORS, or BROKEN_WEIGHTS where the shapes disagree.
    """
    _check_total(skeleton, checkpoint)
    needed = skeleton.state_dict(keep_vars=True)
    there: set[str] = set()
    put_together: Counter[tuple[str, ...]] = Counter()  # elements by target names, such as of many experts
    unused = []
    for name, target in targets(skeleton, checkpoint.elements).items():
        if target.names[0] not in needed:
            unused.append(name)
            continue
        there.update(target.names)
        if target.converted:
            put_together[target.names] += checkpoint.elements[name]
        else:
            _check_shape(name, needed[target.names[0]].shape, checkpoint)
    missing = [name for name in needed.keys() - there if not _can_be_left_out(skeleton, name, there)]
    if missing:
        raise missing_tensors(skeleton, sorted(missing), sorted(unused))
    for names, elements in put_together.items():
        wanted = sum(needed[name].numel() for name in names if name in needed)
        if elements != wanted:
            raise fail(
                ErrorCode.BROKEN_WEIGHTS,
                f"The weight files hold {elements:,} numbers for {names[0]}, and config.json says {wanted:,}.",
                COMPARE_HINT,
            )
    return _unused_sentence(skeleton, unused)


def _unused_sentence(skeleton: PreTrainedModel, unused: list[str]) -> str:
    """Filters names as transformers' `_adjust_missing_and_unexpected_keys` does."""
    patterns = [*(skeleton._keys_to_ignore_on_load_unexpected or ()), r"rotary_emb\.inv_freq", r"(^|\.)position_ids$"]
    left = sorted(name for name in unused if not any(re.search(pattern, name) for pattern in patterns))
    if not left:
        return ""
    count = f"{len(left)} tensors of the files are" if len(left) > 1 else "1 tensor of the files is"
    return f"{count} not used: the model that config.json describes has no place for them ({left[0]}, for one)."


def _check_shape(name: str, wanted: torch.Size, checkpoint: Checkpoint) -> None:
    """An outline gives only the number of elements."""
    held = checkpoint.shapes.get(name)
    if held == tuple(wanted) or (held is None and checkpoint.elements[name] == wanted.numel()):
        return
    shown = f"as {held}" if held is not None else f"with {checkpoint.elements[name]:,} numbers"
    raise fail(
        ErrorCode.BROKEN_WEIGHTS,
        f"The weight files have {name} {shown}, and config.json says {tuple(wanted)}.",
        COMPARE_HINT,
    )


def _check_total(skeleton: PreTrainedModel, checkpoint: Checkpoint) -> None:
    """Reports the config of another, much larger model as such."""
    wanted = sum(parameter.numel() for parameter in skeleton.parameters())
    held = sum(checkpoint.elements.values())
    if wanted > 2 * held:
        raise fail(
            ErrorCode.BROKEN_WEIGHTS,
            f"config.json describes a model of {wanted:,} parameters, and the weight files hold {held:,}.",
            COMPARE_HINT,
        )


def _can_be_left_out(skeleton: PreTrainedModel, name: str, held: set[str]) -> bool:
    """Whether it is tied, either way, to a tensor that is there, or the model's class computes it itself."""
    ties = skeleton.all_tied_weights_keys
    source = ties.get(name, name)
    tied = {source, *(target for target, other in ties.items() if other == source)}
    patterns = skeleton._keys_to_ignore_on_load_missing or ()
    return bool(tied & held) or any(re.search(pattern, name) for pattern in patterns)
