"""Refuses whatever can be refused before a single weight is read."""

from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorCode, fail
from qplayground.core.generation import GenerationRequest
from qplayground.engines.transformers.model.checkpoint import Checkpoint
from qplayground.engines.transformers.model.completeness import check_complete
from qplayground.engines.transformers.model.config import check_folder
from qplayground.engines.transformers.model.shapes import Shapes
from qplayground.engines.transformers.text.prompt import read_prompt
from qplayground.engines.transformers.text.tokenizer import read_tokenizer


@dataclass(frozen=True)
class Preflight:
    """What is known before the weights are read. `note`: a remark on the model's files.

    `context_tokens`: the text length that the model was made for.
    `position_limit`: the longest text that it can take at all.
    """

    shapes: Shapes
    checkpoint: Checkpoint
    note: str
    tokenizer: PreTrainedTokenizerBase
    prompt_ids: list[int]
    context_tokens: int | None
    position_limit: int | None


def inspect_model(path: Path, request: GenerationRequest) -> Preflight:
    """Read config and tokenizer, and check the request against them.

    Raises PlaygroundError for a model that cannot be run and for a prompt that does not fit its context.
    """
    entry = check_folder(path)
    shapes = Shapes.read(path)
    checkpoint = Checkpoint.read(path)
    note = check_complete(shapes.skeleton(Dtype.BFLOAT16), checkpoint)
    tokenizer = read_tokenizer(path)
    limit = shapes.position_limit(entry.context_tokens)
    prompt_ids = read_prompt(tokenizer, request, limit).ids
    _check_ids(shapes, prompt_ids)
    return Preflight(shapes, checkpoint, note, tokenizer, prompt_ids, entry.context_tokens, limit)


def _check_ids(shapes: Shapes, prompt_ids: list[int]) -> None:
    """Another model's tokenizer gives tokens that this model has no embedding for."""
    embedding = shapes.skeleton(Dtype.BFLOAT16).get_input_embeddings()
    known = getattr(embedding, "num_embeddings", None)
    if isinstance(known, int) and not all(0 <= token < known for token in prompt_ids):
        raise fail(
            ErrorCode.BROKEN_TOKENIZER,
            f"The tokenizer gives token {max(prompt_ids):,}, and the model knows {known:,} tokens: "
            "they do not belong together.",
            "Take both from the same model: compare the tokenizer's files with the original model's.",
        )
