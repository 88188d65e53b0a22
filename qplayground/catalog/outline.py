"""A child process without torch that fetches a hub model's outline: everything but its weights.

Config, tokenizer and the weight files' headers go into a separate folder. That is enough to estimate memory, but
nothing can be loaded from it.
"""

from pathlib import Path

import msgspec

from qplayground.catalog.config import quantization_problem, read_config
from qplayground.catalog.download import SIDE_FILE, TIMEOUT_S, checked_weights, look_up
from qplayground.catalog.headers import Count, TensorInfo, Tensors
from qplayground.catalog.hub_errors import explain
from qplayground.catalog.inspect import has_chat_template
from qplayground.catalog.quantized import method_of_tensors
from qplayground.catalog.weights import FILE_NAME
from qplayground.core.errors import ErrorCode, PlaygroundError, fail
from qplayground.core.messages.channel import Channel
from qplayground.core.messages.commands import FetchOutline
from qplayground.core.messages.events import Failed, JobDone
from qplayground.core.model import ModelEntry, ModelSource, ModelTypes

OUTLINE = "qplayground-outline.json"
SIDE_LIMIT_BYTES = 64_000_000


class Outline(msgspec.Struct, frozen=True):
    """Weight file → tensor → (type by its safetensors name, bytes)."""

    files: dict[str, dict[str, tuple[str, Count]]]


def main(channel: Channel) -> None:
    """Carry out one FetchOutline command. Sends JobDone or Failed."""
    command = channel.receive()
    repo_id = command.repo_id if isinstance(command, FetchOutline) else ""
    try:
        if not isinstance(command, FetchOutline):
            raise TypeError(f"not a request for an outline: {type(command).__name__}")
        entry = fetch_outline(repo_id, Path(command.target), command.model_types)
    except Exception as error:
        channel.send(Failed(command.id, explain(error, repo_id)))
    else:
        channel.send(JobDone(command.id, entry))


def fetch_outline(repo_id: str, target: Path, model_types: ModelTypes | None) -> ModelEntry:
    """Fetch the outline into a folder and describe the model.

    Raises PlaygroundError for a refused model, and whatever huggingface_hub raises.
    """
    from huggingface_hub import HfApi, hf_hub_download

    revision, sizes = look_up(repo_id)

    def fetch(name: str) -> Path:
        return Path(hf_hub_download(repo_id, name, revision=revision, local_dir=target))

    weights = checked_weights(repo_id, sizes, fetch, target, model_types)  # before anything else is fetched
    config = read_config(target / "config.json")
    for name, size in sizes.items():
        if SIDE_FILE.fullmatch(name) and size <= SIDE_LIMIT_BYTES:
            fetch(name)
    files: dict[str, dict[str, tuple[str, int]]] = {}
    tensors: Tensors = {}
    parameters = 0
    for name in weights:
        header = HfApi().parse_safetensors_file_metadata(repo_id, name, revision=revision, timeout=TIMEOUT_S)
        files[name] = {
            tensor: (found.dtype, found.data_offsets[1] - found.data_offsets[0])
            for tensor, found in header.tensors.items()
        }
        tensors |= {
            tensor: TensorInfo(found.dtype, tuple(found.shape), found.data_offsets)
            for tensor, found in header.tensors.items()
        }
        parameters += sum(header.parameter_count.values())
    problem = quantization_problem(config, method_of_tensors(tensors), None)
    if problem is not None:
        raise PlaygroundError(problem)
    (target / OUTLINE).write_bytes(msgspec.json.encode(Outline(files)))
    return ModelEntry(
        id=repo_id,
        source=ModelSource.HUB,
        path=str(target),
        architecture=config.architecture or config.model_type,
        parameters=parameters,
        size_bytes=sum(sizes[name] for name in weights),
        context_tokens=config.context_tokens,
        has_chat_template=has_chat_template(target),
        provenance="on the Hugging Face hub",
    )


def read_outline(folder: Path) -> Outline | None:
    """The outline in a folder. None if there is none, or if the folder has weights, which are read instead.

    Raises PlaygroundError(BROKEN_WEIGHTS) for a damaged one.
    """
    if not (folder / OUTLINE).is_file() or any(folder.glob("*.safetensors")):
        return None
    try:
        outline = msgspec.json.decode((folder / OUTLINE).read_bytes(), type=Outline)
    except (OSError, UnicodeDecodeError, msgspec.MsgspecError) as error:
        raise _damaged(str(error)) from error
    if not all(FILE_NAME.fullmatch(name) for name in outline.files):
        raise _damaged(f"{list(outline.files)!r:.200}")
    return outline


def _damaged(detail: str) -> PlaygroundError:
    return fail(ErrorCode.BROKEN_WEIGHTS, f"{OUTLINE} is damaged.", "Look the model up again.", detail)
