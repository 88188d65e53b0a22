"""A folder's weight files: which there are, whether they are complete, and what their headers contain."""

import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from qplayground.catalog.config import ByteOrderMarkError, read_json
from qplayground.catalog.headers import DOWNLOAD_AGAIN, Tensors, read_header, stored_dtype
from qplayground.catalog.quantized import method_of_tensors
from qplayground.core.errors import ErrorCode, ErrorInfo, PlaygroundError, fail

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHARD = re.compile(r"model-(\d{5})-of-(\d{5})\.safetensors")
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,250}")
_IN_SUBFOLDER = re.compile(rf"({FILE_NAME.pattern}/)+{FILE_NAME.pattern}\.safetensors")
PICKLED_SUFFIXES = (".bin", ".pt", ".pth")
NOT_WEIGHTS = frozenset({"training_args.bin", "optimizer.pt", "optimizer.bin", "scheduler.pt", "rng_state.pth"})

MOST_TIED = 2
"""How many tensors a complete checkpoint may lack, because they are tied to another tensor."""

ORIGINAL_INDEX = f"Copy {INDEX} from the original model into the folder."
SAFETENSORS_HINT = "Choose a repository that has .safetensors files."
GGUF_HINT = (
    "Download the original model with .safetensors files, or convert it: load it in transformers with "
    "from_pretrained(folder, gguf_file=name, quantization_config=GgufConfig(dequantize=True)) and call save_pretrained."
)
PICKLE_HINT = (
    'Convert it where you trust it: python -c "from transformers import AutoModelForCausalLM as M; '
    "M.from_pretrained('OLD').save_pretrained('NEW')\", and copy the tokenizer's files."
)


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """The weight files of a folder. `size_bytes` is on disk. Tensors, elements and type need all headers readable.

    `quantized_by`: the method that the tensors show, regardless of config.json.
    """

    size_bytes: int = 0
    tensors: int = 0
    parameters: int | None = None
    stored_dtype: str | None = None
    quantized_by: str | None = None
    problem: ErrorInfo | None = None


def survey(folder: Path) -> Weights:
    """Read the headers of the files that transformers would load. Raises OSError if one cannot be read."""
    names = {entry.name for entry in folder.iterdir()}
    wanted: list[str] | None = None
    tensors: Tensors = {}
    count = 0
    elements: Counter[str] = Counter()
    try:
        wanted = wanted_files(folder, names)
        _check_there(folder, wanted)
        for name in wanted:
            found = read_header(folder / name)
            tensors |= found
            count += len(found)
            for tensor in found.values():
                elements[tensor.dtype] += tensor.elements
        if wanted == [SINGLE] and INDEX in names:
            _refuse_stray(folder, tensors)
        if not elements.total():
            raise fail(ErrorCode.NO_WEIGHTS, "The weight files hold no weights at all.", DOWNLOAD_AGAIN)
    except PlaygroundError as error:
        there = filter(_holds_weights, names) if wanted is None else wanted
        return Weights(size_bytes=_size(folder, there), problem=error.info)
    return Weights(
        size_bytes=_size(folder, wanted),
        tensors=count,
        parameters=elements.total(),
        stored_dtype=stored_dtype(elements),
        quantized_by=method_of_tensors(tensors),
    )


def _check_there(folder: Path, wanted: Collection[str]) -> None:
    """Raise PlaygroundError unless all of these exist and are files."""
    missing = [name for name in wanted if not (folder / name).is_file()]
    for name in missing:
        if (folder / name).exists():
            message = f"{name} is a pipe, a device or a folder and not a file."
            raise fail(ErrorCode.BROKEN_WEIGHTS, message, DOWNLOAD_AGAIN)
    if missing:
        below = next(iter(sorted(folder.glob(f"*/{missing[0]}"))), None)
        where = _missing(missing, len(wanted)) if below is None else _in_subfolder(below.parent.name, missing[0])
        raise PlaygroundError(where)


def wanted_files(folder: Path, names: Collection[str]) -> list[str]:
    """The safetensors files of the model, whether or not they exist. Raises PlaygroundError if there are none.

    Like transformers, prefers a single file to shards.
    """
    if SINGLE in names:
        return [SINGLE]
    if INDEX in names:
        return shards_of(_read_index(folder / INDEX))
    problem = names_problem({*names, *(f"{path.parent.name}/{path.name}" for path in folder.glob("*/*.safetensors"))})
    assert problem is not None  # there is neither the single file nor an index
    raise PlaygroundError(problem)


def names_problem(names: Collection[str]) -> ErrorInfo | None:
    """Why files with these names cannot be a model's weights; None if there are safetensors weights.

    Names with a slash are in a subfolder, where transformers does not look.
    """
    if SINGLE in names or INDEX in names:
        return None
    shards = sorted(name for name in names if SHARD.fullmatch(name))
    if shards:
        return _without_index(shards)
    top = [name for name in names if "/" not in name]
    pickles = sorted(name for name in top if name.endswith(PICKLED_SUFFIXES) and name not in NOT_WEIGHTS)
    ggufs = sorted(name for name in top if name.lower().endswith(".gguf"))
    if pickles:
        return ErrorInfo(
            ErrorCode.PICKLED_WEIGHTS,
            f"The weights are only there as a pickle ({pickles[0]}), which is refused: a pickle can run any code.",
            PICKLE_HINT,
        )
    if ggufs:
        return ErrorInfo(
            ErrorCode.GGUF_ONLY,
            f"The weights are only there as GGUF ({ggufs[0]}), which holds one fixed quantization.",
            GGUF_HINT,
        )
    if "adapter_model.safetensors" in names:
        message = "This is an adapter (LoRA): it changes a model's weights and has none of its own."
        return ErrorInfo(ErrorCode.NO_WEIGHTS, message, "Merge it into its base model and save that.")
    others = sorted(name for name in names if name.endswith(".safetensors") and not name.startswith("."))
    if others:
        return _misplaced(min(others, key=lambda name: "/" in name))
    return ErrorInfo(ErrorCode.NO_WEIGHTS, f"There are no weights here: no {SINGLE} and no {INDEX}.", SAFETENSORS_HINT)


def shards_of(index: Any) -> list[str]:
    """The files that an index names. Raises PlaygroundError(BROKEN_WEIGHTS) for a damaged or hostile index."""
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise _bad_index("has no weight_map")
    shards = set()
    for name in weight_map.values():
        if isinstance(name, str) and _IN_SUBFOLDER.fullmatch(name):
            raise fail(
                ErrorCode.BROKEN_WEIGHTS,
                f"{INDEX} names weight files in a subfolder ({name[:100]}), which are not read here.",
                "Put those files beside config.json, and take the subfolder's name out of the index.",
            )
        if not isinstance(name, str) or not FILE_NAME.fullmatch(name) or PurePosixPath(name).suffix != ".safetensors":
            raise _bad_index("names a file that cannot be a weight file", repr(name)[:200], ORIGINAL_INDEX)
        shards.add(name)
    if not isinstance(index.get("metadata"), dict):
        raise fail(
            ErrorCode.BROKEN_WEIGHTS,
            f"{INDEX} has no object named metadata, without which transformers does not read it.",
            'In a folder of your own add `"metadata": {}` to that file, beside "weight_map".',
        )
    return sorted(shards)


def _without_index(shards: list[str]) -> ErrorInfo:
    """The problem of numbered shards without an index."""
    total = max(int(name.rpartition("-of-")[2].partition(".")[0]) for name in shards)
    if total == 1:
        return ErrorInfo(
            ErrorCode.MISPLACED_WEIGHTS,
            f"The weights are in {shards[0]}, and there is no {INDEX}: transformers looks for {SINGLE}.",
            f"In a folder of your own rename it to {SINGLE}; it is the whole model.",
        )
    there = f"all {total}" if len(shards) == total else f"{len(shards)} of {total}"
    return ErrorInfo(
        ErrorCode.INCOMPLETE_DOWNLOAD,
        f"There are {there} weight files but no {INDEX}, which says how they belong together.",
        ORIGINAL_INDEX if len(shards) == total else "Download the rest of the model.",
    )


def _misplaced(name: str) -> ErrorInfo:
    """The problem of a weight file that transformers would not find."""
    if "/" in name:
        subfolder = name.rpartition("/")[0]
        return ErrorInfo(
            ErrorCode.MISPLACED_WEIGHTS,
            f"The weights are in the subfolder {subfolder} ({name}), where transformers does not look.",
            f"Open the folder {subfolder}, or copy its files beside config.json in a folder of your own.",
        )
    return ErrorInfo(
        ErrorCode.MISPLACED_WEIGHTS,
        f"The only .safetensors file is {name}; transformers looks for {SINGLE} or {INDEX}.",
        f"If it is a whole model in transformers' format, rename it to {SINGLE} in a folder of your own. Otherwise "
        "choose a repository that has that format.",
    )


def _refuse_stray(folder: Path, tensors: Tensors) -> None:
    """Refuse an incomplete single file beside complete shards: transformers reads the single one in any case."""
    try:
        index = _read_index(folder / INDEX)
        shards = shards_of(index)
    except PlaygroundError:
        return  # transformers does not read the index either
    named = index["weight_map"].keys()
    absent = len(named - tensors.keys())
    if absent > MOST_TIED and all((folder / name).is_file() for name in shards):
        why = f"it lacks {absent:,} of the {len(named):,} tensors that the index names"
        raise PlaygroundError(stray_single(why, f"Take {SINGLE} away, so that the files of the index are read."))


def stray_single(why: str, hint: str) -> ErrorInfo:
    """The problem of a single file that transformers would read instead of complete shards."""
    message = f"There are both {SINGLE} and {INDEX} with its weight files. transformers reads {SINGLE}, and {why}."
    return ErrorInfo(ErrorCode.MISPLACED_WEIGHTS, message, hint)


def _read_index(path: Path) -> Any:
    try:
        return read_json(path)
    except FileNotFoundError:
        raise PlaygroundError(_missing([INDEX], 1)) from None
    except ByteOrderMarkError as error:
        raise fail(ErrorCode.BROKEN_WEIGHTS, str(error), error.hint) from error
    except ValueError as error:
        raise _bad_index("is not valid JSON", str(error)) from error


def _holds_weights(name: str) -> bool:
    return name.endswith((".safetensors", ".gguf", *PICKLED_SUFFIXES)) and name not in NOT_WEIGHTS


def _size(folder: Path, names: Any) -> int:
    return sum((folder / name).stat().st_size for name in names if (folder / name).is_file())


def _in_subfolder(subfolder: str, name: str) -> ErrorInfo:
    return ErrorInfo(
        ErrorCode.MISPLACED_WEIGHTS,
        f"{INDEX} names {name}, which is in the subfolder {subfolder[:100]}, where transformers does not look.",
        "Put the weight files beside config.json.",
    )


def _missing(missing: list[str], total: int) -> ErrorInfo:
    are = "is" if len(missing) == 1 else "are"
    return ErrorInfo(
        ErrorCode.INCOMPLETE_DOWNLOAD,
        f"{len(missing)} of {total} weight files {are} missing, {missing[0]} first of all."
        if len(missing) > 1
        else f"1 of {total} weight files is missing: {missing[0]}.",
        "Download the model again: what is already there is kept.",
        ", ".join(missing),
    )


def _bad_index(what: str, detail: str = "", hint: str = DOWNLOAD_AGAIN) -> PlaygroundError:
    return fail(ErrorCode.BROKEN_WEIGHTS, f"{INDEX} {what}.", hint, detail)
