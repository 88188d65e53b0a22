"""Whether a checkpoint's headers have every tensor that the model needs, so that nothing is read in vain.

transformers fills what is missing with random numbers, and says so only after the load.
"""

import re
from collections import Counter

from transformers import PreTrainedModel

from qplayground.core.errors import ErrorCode, fail
from qplayground.engines.transformers.failures.missing import COMPARE_HINT, missing_tensors
from qplayground.engines.transformers.model.checkpoint import Checkpoint
from qplayground.engines.transformers.model.tensor_names import targets


def check_complete(skeleton: PreTrainedModel, checkpoint: Checkpoint) -> None:
    """Compare the model's tensors with the checkpoint's by name and number of elements.

    Raises PlaygroundError: MISSING_TENSORS, or BROKEN_WEIGHTS where the sizes disagree.
    """
    _check_total(skeleton, checkpoint)
    needed = skeleton.state_dict(keep_vars=True)
    held: Counter[tuple[str, ...]] = Counter()  # numbers by what they become; many experts' tensors become one
    unused = []
    for name, target in targets(skeleton, checkpoint.elements).items():
        if target.names[0] in needed:
            held[target.names] += checkpoint.elements[name]
        else:
            unused.append(name)
    there = {parameter for parameters in held for parameter in parameters}
    missing = [name for name in needed.keys() - there if not _can_be_left_out(skeleton, name, there)]
    if missing:
        raise missing_tensors(skeleton, sorted(missing), sorted(unused))
    for parameters, elements in held.items():
        wanted = sum(needed[name].numel() for name in parameters if name in needed)
        if elements != wanted:
            raise fail(
                ErrorCode.BROKEN_WEIGHTS,
                f"The weight files hold {elements:,} numbers for {parameters[0]}, and config.json says {wanted:,}.",
                COMPARE_HINT,
            )


def _check_total(skeleton: PreTrainedModel, checkpoint: Checkpoint) -> None:
    """A config of another, much larger model is said to be that."""
    wanted = sum(parameter.numel() for parameter in skeleton.parameters())
    held = sum(checkpoint.elements.values())
    if wanted > 2 * held:
        raise fail(
            ErrorCode.BROKEN_WEIGHTS,
            f"config.json describes a model of {wanted:,} parameters, and the weight files hold {held:,}.",
            COMPARE_HINT,
        )


def _can_be_left_out(skeleton: PreTrainedModel, name: str, held: set[str]) -> bool:
    """What is tied to a tensor that is there, either way round, and what the model's class computes itself."""
    ties = skeleton.all_tied_weights_keys
    source = ties.get(name, name)
    tied = {source, *(target for target, other in ties.items() if other == source)}
    patterns = skeleton._keys_to_ignore_on_load_missing or ()
    return bool(tied & held) or any(re.search(pattern, name) for pattern in patterns)
