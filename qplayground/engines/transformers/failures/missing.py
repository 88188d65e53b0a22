"""The error for tensors that a model needs and its files lack."""

from collections.abc import Sequence

from torch import nn

from qplayground.core.errors import ErrorCode, PlaygroundError, fail

COMPARE_HINT = (
    "Compare config.json and the weight files with the original model's: config.json belongs to other weights, or "
    "some are missing."
)
_SHOWN = 3
_LISTED = 50


def missing_tensors(model: nn.Module, missing: Sequence[str], unused: Sequence[str]) -> PlaygroundError:
    """The error for missing tensors, which transformers would fill with random numbers.

    `unused`: tensors of the files that the model lacks.
    """
    shown = ", ".join(missing[:_SHOWN]) + (" and others" if len(missing) > _SHOWN else "")
    them = "it" if len(missing) == 1 else "them"
    return fail(
        ErrorCode.MISSING_TENSORS,
        f"The checkpoint lacks {len(missing)} of the model's tensors: {shown}. "
        f"transformers would fill {them} with random numbers.",
        _hint(model, missing, unused),
        ", ".join(missing[:_LISTED]),
    )


def _hint(model: nn.Module, missing: Sequence[str], unused: Sequence[str]) -> str:
    if list(missing) == [_head_weight(model)]:
        return (
            'If the model ties its head to its embedding, write "tie_word_embeddings": true in config.json. Otherwise '
            "choose a copy of the model that has the head."
        )
    if unused:
        return f"The files hold {len(unused)} tensors of other names, {unused[0]} first. {COMPARE_HINT}"
    return COMPARE_HINT


def _head_weight(model: nn.Module) -> str:
    """Name of the output head's weight; empty where there is none."""
    get_head = getattr(model, "get_output_embeddings", None)
    head = get_head() if get_head is not None else None
    return next((f"{name}.weight" for name, module in model.named_modules() if module is head), "")
