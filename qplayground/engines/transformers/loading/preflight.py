"""Everything that can be refused before a single weight is read."""

from dataclasses import dataclass
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import import_protobuf

from qplayground.catalog.config import read_json
from qplayground.catalog.inspect import inspect_folder
from qplayground.catalog.tokenizer_files import newer_tokenizer, sentencepiece_file
from qplayground.core.dtype import Dtype
from qplayground.core.errors import ANOTHER_TOKENIZER, ErrorCode, PlaygroundError, fail
from qplayground.core.generation import GenerationRequest
from qplayground.core.model import ModelEntry, ModelSource
from qplayground.core.system.frozen import remedy
from qplayground.engines.transformers.failures.explaining import first_line
from qplayground.engines.transformers.model.checkpoint import Checkpoint
from qplayground.engines.transformers.model.completeness import check_complete
from qplayground.engines.transformers.model.config import model_types, remote_code, wants_code
from qplayground.engines.transformers.model.shapes import Shapes
from qplayground.engines.transformers.text.prompt import read_prompt
from qplayground.engines.transformers.text.tokenizing import check_decoder

_TOKENIZER_JSON = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


@dataclass(frozen=True)
class Preflight:
    """What is known before the weights. `context_tokens`: the length of the texts that the model was made for;
    `position_limit`: the longest that it can take at all.
    """

    shapes: Shapes
    checkpoint: Checkpoint
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
    check_complete(shapes.skeleton(Dtype.BFLOAT16), checkpoint)
    tokenizer = read_tokenizer(path)
    limit = shapes.position_limit(entry.context_tokens)
    prompt_ids = read_prompt(tokenizer, request, limit).ids
    _check_ids(shapes, prompt_ids)
    return Preflight(shapes, checkpoint, tokenizer, prompt_ids, entry.context_tokens, limit)


def check_folder(path: Path) -> ModelEntry:
    """What is in that folder. Raises PlaygroundError for anything that cannot be loaded."""
    entry = inspect_folder(path, source=ModelSource.FOLDER, model_types=model_types())
    if entry.problem is not None:
        raise PlaygroundError(entry.problem)
    return entry


def _check_ids(shapes: Shapes, prompt_ids: list[int]) -> None:
    """A tokenizer of another model gives tokens that this one has no embedding for."""
    embedding = shapes.skeleton(Dtype.BFLOAT16).get_input_embeddings()
    known = getattr(embedding, "num_embeddings", None)
    if isinstance(known, int) and not all(0 <= token < known for token in prompt_ids):
        raise fail(
            ErrorCode.BROKEN_TOKENIZER,
            f"The tokenizer gives token {max(prompt_ids):,}, and the model knows {known:,} tokens: "
            "they do not belong together.",
            "Take both from the same model: compare the tokenizer's files with the original model's.",
        )


def read_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """The model's tokenizer. Raises PlaygroundError(BROKEN_TOKENIZER, MISSING_PACKAGE or REMOTE_CODE)."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # corrupt files raise whatever the parser met: KeyError, ValueError, bare Exception
        raise (remote_code(error) if wants_code(error) else _no_tokenizer(path, error)) from error
    check_decoder(tokenizer)
    return tokenizer


def _no_tokenizer(path: Path, error: Exception) -> PlaygroundError:
    """What kept transformers from reading it. Its own words are about the last thing that it tried."""
    detail = f"{type(error).__name__}: {error}"
    known = newer_tokenizer(path)
    if known is not None:
        return fail(known.code, known.message, known.hint, detail)
    if "tiktoken" in str(error) and (name := sentencepiece_file(path)):  # tried after sentencepiece had failed
        return _no_sentencepiece(name, detail)
    if isinstance(error, ImportError):
        return fail(
            ErrorCode.MISSING_PACKAGE,
            f"The model's tokenizer needs a package that is not installed: {first_line(error)}",
            remedy(
                "Install that package where this program is installed, or choose a copy of the model that has "
                "tokenizer.json.",
                "Choose a copy of the model that has tokenizer.json.",
            ),
            detail,
        )
    unread = [name for name in _TOKENIZER_JSON if (path / name).exists() and not _is_json(path / name)]
    if unread:
        return fail(
            ErrorCode.BROKEN_TOKENIZER, f"{unread[0]} is damaged: it is not a JSON object.", ANOTHER_TOKENIZER, detail
        )
    return fail(
        ErrorCode.BROKEN_TOKENIZER,
        f"transformers cannot read the model's tokenizer: {first_line(error)}",
        "Its files may be damaged, or newer than the installed transformers and tokenizers. Compare them with the "
        "original model's, or update both packages.",
        detail,
    )


def _no_sentencepiece(name: str, detail: str) -> PlaygroundError:
    """Why transformers could not read a sentencepiece file, though the packages are there."""
    try:
        import_protobuf()
    except Exception as error:  # the two packages can be of versions that do not fit
        return fail(
            ErrorCode.MISSING_PACKAGE,
            f"{name} is read with sentencepiece and protobuf, and the installed ones do not work together: "
            f"{first_line(error)}",
            remedy("Update both: `python -m pip install --upgrade sentencepiece protobuf`."),
            detail,
        )
    message = f"{name} is damaged: it is neither a sentencepiece nor a tiktoken file."
    return fail(ErrorCode.BROKEN_TOKENIZER, message, ANOTHER_TOKENIZER, detail)


def _is_json(path: Path) -> bool:
    try:
        return isinstance(read_json(path), dict)
    except (OSError, ValueError):
        return False
