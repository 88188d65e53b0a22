"""Everything that can be refused before a single weight is read."""

from dataclasses import dataclass
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from qplayground.catalog.inspect import inspect_folder
from qplayground.core.errors import ErrorCode, PlaygroundError, fail
from qplayground.core.generation import GenerationRequest
from qplayground.core.model import ModelEntry, ModelSource
from qplayground.core.precision import Dtype
from qplayground.engine.prompt import read_prompt
from qplayground.engine.shapes import Shapes, model_types, remote_code, wants_code
from qplayground.engine.tokenizing import check_decoder


@dataclass(frozen=True)
class Preflight:
    """What is known before the weights. `context_tokens`: the length of the texts that the model was made for;
    `position_limit`: the longest that it can take at all.
    """

    shapes: Shapes
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
    _check_size(shapes, entry)
    tokenizer = read_tokenizer(path)
    limit = shapes.position_limit(entry.context_tokens)
    prompt_ids = read_prompt(tokenizer, request, limit)
    _check_ids(shapes, prompt_ids)
    return Preflight(shapes, tokenizer, prompt_ids, entry.context_tokens, limit)


def check_folder(path: Path) -> ModelEntry:
    """What is in that folder. Raises PlaygroundError for anything that cannot be loaded."""
    entry = inspect_folder(path, source=ModelSource.FOLDER, model_types=model_types())
    if entry.problem is not None:
        raise PlaygroundError(entry.problem)
    return entry


def _check_size(shapes: Shapes, entry: ModelEntry) -> None:
    """transformers makes what the files lack, at random, however large it is: that is found before and not after."""
    held = entry.parameters or 0
    if shapes.parameters > 2 * held:
        raise fail(
            ErrorCode.BROKEN_WEIGHTS,
            f"config.json describes a model of {shapes.parameters:,} parameters, and the weight files hold {held:,}.",
            "Download the model again; its config.json belongs to other weights.",
        )


def _check_ids(shapes: Shapes, prompt_ids: list[int]) -> None:
    """A tokenizer of another model gives tokens that this one has no embedding for."""
    embedding = shapes.skeleton(Dtype.BFLOAT16).get_input_embeddings()
    known = getattr(embedding, "num_embeddings", None)
    if isinstance(known, int) and not all(0 <= token < known for token in prompt_ids):
        raise fail(
            ErrorCode.BROKEN_TOKENIZER,
            f"The tokenizer gives token {max(prompt_ids):,}, and the model knows {known:,} tokens: "
            "they do not belong together.",
            "Download the model again.",
        )


def read_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """The model's tokenizer. Raises PlaygroundError(BROKEN_TOKENIZER or REMOTE_CODE)."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # corrupt files raise whatever the parser met: KeyError, ValueError, bare Exception
        if wants_code(error):
            raise remote_code(error) from error
        raise fail(
            ErrorCode.BROKEN_TOKENIZER,
            "The model's tokenizer is missing or damaged.",
            "Download the model again; it needs tokenizer.json beside config.json.",
            f"{type(error).__name__}: {error}",
        ) from error
    check_decoder(tokenizer)
    return tokenizer
