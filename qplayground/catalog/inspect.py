"""Describes a model folder from its config and safetensors headers. Nothing is loaded or run."""

from pathlib import Path

from qplayground.catalog.config import ModelConfig, config_problem, quantization_problem, read_config, read_fields
from qplayground.catalog.tokenizer_files import tokenizer_problem
from qplayground.catalog.weights import GGUF_HINT, names_problem, survey
from qplayground.core.errors import ErrorCode, ErrorInfo, PlaygroundError
from qplayground.core.model import ModelEntry, ModelSource, ModelTypes
from qplayground.core.text import is_text

_ANY_LAYERS = 1000
"""This many layers are built in a second or two, whatever the weights."""


def inspect_folder(
    path: Path, *, source: ModelSource, model_types: ModelTypes | None, id: str | None = None
) -> ModelEntry:
    """Describe the model in a folder. Raises nothing: whatever is wrong goes into `problem`.

    Whether it can continue text is checked only with `model_types`, which an engine reports. `id` defaults to the
    folder's path.
    """
    path = path.expanduser().absolute()
    if not is_text(str(path)):
        problem = ErrorInfo(ErrorCode.BAD_FILE, "The folder's name is not valid text.", "Rename the folder.")
        return ModelEntry(id=str(path).encode("utf-8", "replace").decode(), source=source, problem=problem)
    entry_id = id or str(path)
    try:
        missing = _folder_problem(path)
        if missing:
            return ModelEntry(id=entry_id, source=source, problem=missing)
        return _inspect(path, entry_id, source, model_types)
    except (OSError, ValueError) as error:
        problem = ErrorInfo(
            ErrorCode.BROKEN_CONFIG,
            "The folder cannot be read.",
            "Check that you may read it and that its disk is connected.",
            str(error),
        )
        return ModelEntry(id=entry_id, source=source, problem=problem)


def _inspect(path: Path, id: str, source: ModelSource, model_types: ModelTypes | None) -> ModelEntry:
    names = {entry.name for entry in path.iterdir()}
    weights = survey(path)
    config: ModelConfig | None = None
    try:
        config = read_config(path / "config.json")
        problem = config_problem(config, model_types)
    except PlaygroundError as error:
        problem = _without_config(path, names) or error.info
    if config is not None and (problem is None or problem.code is ErrorCode.ALREADY_QUANTIZED):
        problem = quantization_problem(config, weights.quantized_by, weights.stored_dtype)
    if config is not None and problem is None:
        problem = _layers_problem(config.layers, weights.tensors)
    is_quantized = problem is not None and problem.code is ErrorCode.ALREADY_QUANTIZED
    return ModelEntry(
        id=id,
        source=source,
        path=str(path),
        architecture=(config.architecture or config.model_type) if config else None,
        parameters=None if is_quantized else weights.parameters,  # packed codes: elements are not parameters
        size_bytes=weights.size_bytes,
        complete=config is not None and weights.problem is None,
        context_tokens=config.context_tokens if config else None,
        has_chat_template=has_chat_template(path),
        stored_dtype=weights.stored_dtype,
        problem=problem or weights.problem or tokenizer_problem(path, names),
    )


def has_chat_template(folder: Path) -> bool:
    """Whether transformers' tokenizer gets a default chat template: a single one, or one named default.

    Template files take precedence over tokenizer_config.json. chat_template.json is for processors.
    """
    files = [folder / "additional_chat_templates" / "default.jinja", folder / "chat_template.jinja"]
    for path in files:
        if path.is_file():
            return path.stat().st_size > 0
    if any(files[0].parent.glob("*.jinja")):
        return False
    found = read_fields(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(found, list):
        found = {each["name"]: each.get("template") for each in found if isinstance(each, dict) and "name" in each}
    return bool(found.get("default") if isinstance(found, dict) else found)


def _folder_problem(path: Path) -> ErrorInfo | None:
    if path.is_dir():
        return None
    if path.is_file():
        gguf = path.suffix.lower() == ".gguf"
        return ErrorInfo(
            ErrorCode.GGUF_ONLY if gguf else ErrorCode.MODEL_NOT_FOUND,
            f"{path.name} is a file; a model is a folder with config.json and .safetensors files.",
            GGUF_HINT if gguf else "Open the folder that it lies in.",
        )
    return ErrorInfo(
        ErrorCode.MODEL_NOT_FOUND, f"There is no folder {path}.", "Check the path, or choose another folder."
    )


def _without_config(path: Path, names: set[str]) -> ErrorInfo | None:
    """A better explanation than a missing config.json, if there is one."""
    if "config.json" in names:
        return None
    if "snapshots" in names and "blobs" in names:
        return ErrorInfo(
            ErrorCode.BROKEN_CONFIG,
            f"{path.name} is a repository of the Hugging Face cache, not a model folder.",
            "Choose the model from the list, or open the folder inside its `snapshots`.",
        )
    problem = names_problem(names)
    is_adapter = "adapter_config.json" in names
    return problem if problem and (problem.code is ErrorCode.GGUF_ONLY or is_adapter) else None


def _layers_problem(layers: int, tensors: int) -> ErrorInfo | None:
    """The problem of more layers than tensors: transformers would take hours and unlimited memory to build them."""
    if not tensors or layers <= max(_ANY_LAYERS, tensors):
        return None
    return ErrorInfo(
        ErrorCode.BROKEN_CONFIG,
        f"config.json asks for {min(layers, 10**15):,} layers or more, and the weight files hold {tensors:,} tensors.",
        "Compare config.json with the original model's: it belongs to other weights.",
    )
