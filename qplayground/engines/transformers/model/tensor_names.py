"""Which of a model's parameters each tensor of a checkpoint becomes, by transformers' own rules.

Older checkpoints have other names, a checkpoint may leave out the base model's name or have one more before it, and
the tensors of a mixture's experts become one parameter.
"""

from collections.abc import Iterable
from typing import NamedTuple

from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key


class Target(NamedTuple):
    """What a tensor is loaded as: a parameter or buffer, several where it is split, or a name that the model lacks.

    `converted`: not as it is, but split, merged with others, or turned.
    """

    names: tuple[str, ...]
    converted: bool


def targets(model: PreTrainedModel, stored: Iterable[str]) -> dict[str, Target]:
    """What each stored tensor is loaded as."""
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
