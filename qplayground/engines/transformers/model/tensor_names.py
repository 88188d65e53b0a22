"""Maps each tensor of a checkpoint to the model's parameters, by transformers' own rules.

Older checkpoints use other names. A checkpoint may omit the base model's prefix, or have one more. The tensors of a
mixture's experts become one parameter.
"""

from collections.abc import Iterable
from typing import NamedTuple

from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key


class Target(NamedTuple):
    """What a tensor is loaded as: a parameter or buffer, several if it is split, or a name that the model lacks.

    `converted`: it is split, merged with others, or transposed.
    """

    names: tuple[str, ...]
    converted: bool


def targets(model: PreTrainedModel, stored: Iterable[str]) -> dict[str, Target]:
    """The target of each stored tensor."""
    rules = get_model_conversion_mapping(model)
    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
    by_pattern = {pattern: converter for converter in converters for pattern in converter.source_patterns}
    known = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}
    found: dict[str, Target] = {}
    for name in stored:
        renamed, pattern = rename_source_key(name, renamings, converters, model.base_model_prefix, known)
        if renamed not in known and name in known:
            renamed, pattern = rename_source_key(name, [], [], model.base_model_prefix, known)
        first, *others = by_pattern[pattern].target_patterns if pattern is not None else [""]
        names = (renamed, *(renamed.replace(first, other) for other in others))
        found[name] = Target(names, converted=pattern is not None)
    return found


def loaded_as(model: PreTrainedModel, stored: Iterable[str]) -> dict[str, str]:
    """The parameter that each stored tensor becomes, or the first of several."""
    return {name: target.names[0] for name, target in targets(model, stored).items()}
