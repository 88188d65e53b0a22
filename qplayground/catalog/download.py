"""A child process without torch that downloads one model from the hub into the Hugging Face cache.

Config, file list and tokenizer come first, so that an unusable model is refused before its weights are downloaded.
Only data is downloaded: safetensors, JSON, tokenizers and templates from the top folder; no pickle, no code.
"""

import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from qplayground.catalog.config import config_problem, declared_quantized, read_config, read_json
from qplayground.catalog.hub_errors import explain, offline
from qplayground.catalog.inspect import inspect_folder
from qplayground.catalog.tokenizer_files import thorough_tokenizer_problem
from qplayground.catalog.weights import FILE_NAME, INDEX, SINGLE, names_problem, shards_of, stray_single
from qplayground.core.errors import ErrorCode, PlaygroundError, fail
from qplayground.core.messages.channel import Channel
from qplayground.core.messages.commands import Download
from qplayground.core.messages.events import Failed, JobDone, Progressed
from qplayground.core.model import ModelEntry, ModelSource, ModelTypes
from qplayground.core.system.temporary import owned_prefix
from qplayground.core.units import bytes_text

INTERVAL_S = 0.1
TIMEOUT_S = 20.0
SPARE_BYTES = 100_000_000
SIDE_FILE = re.compile(r".+\.(json|model|txt|jinja|tiktoken)")
PROVENANCE = "downloaded from the Hugging Face hub"

Report = Callable[[int, int], None]
"""Called with the bytes so far and the total bytes."""


def main(channel: Channel) -> None:
    """Carry out one Download command. Sends Progressed events, then JobDone or Failed."""
    command = channel.receive()
    repo_id = command.repo_id if isinstance(command, Download) else ""

    def report(done: int, total: int) -> None:
        channel.send(Progressed(command.id, "Downloading", done, total))

    try:
        if not isinstance(command, Download):
            raise TypeError(f"not a download: {type(command).__name__}")
        entry = download(repo_id, command.model_types, report)
    except Exception as error:
        channel.send(Failed(command.id, explain(error, repo_id)))
    else:
        channel.send(JobDone(command.id, entry))


def check_repo_id(repo_id: str) -> None:
    """Raise PlaygroundError(MODEL_NOT_FOUND) for an invalid id."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # public, but not re-exported for mypy

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise PlaygroundError(explain(error, repo_id)) from error


def look_up(repo_id: str) -> tuple[str, dict[str, int]]:
    """The commit of a repository's `main`, and the bytes of each file in its top folder.

    Raises PlaygroundError for an invalid id, in offline mode, and if no file can be a model's weights.
    """
    from huggingface_hub import HfApi, is_offline_mode

    check_repo_id(repo_id)
    if is_offline_mode():
        raise PlaygroundError(offline(repo_id))
    info = HfApi().model_info(repo_id, files_metadata=True, timeout=TIMEOUT_S)
    return str(info.sha), _top_files(info.siblings or ())


def download(repo_id: str, model_types: ModelTypes | None, report: Report) -> ModelEntry:
    """Download the model's `main` revision and describe it.

    Raises PlaygroundError for a refused model, and whatever huggingface_hub raises.
    """
    from huggingface_hub import snapshot_download

    revision, sizes = look_up(repo_id)
    weights = _weights_after_checks(repo_id, revision, sizes, model_types)
    wanted = {name: size for name, size in sizes.items() if name in weights or SIDE_FILE.fullmatch(name)}
    cached = sum(_cached_bytes(repo_id, revision, name) for name in wanted)
    total = sum(wanted.values())
    require_space(total - cached)
    progress = Progress(report, cached, total)
    folder = snapshot_download(repo_id, allow_patterns=sorted(wanted), tqdm_class=progress.bar_class())
    progress.finish()
    entry = inspect_folder(Path(folder), source=ModelSource.CACHE, model_types=model_types, id=repo_id)
    if entry.problem:
        raise PlaygroundError(entry.problem)
    return msgspec.structs.replace(entry, provenance=PROVENANCE)


def _top_files(siblings: Iterable[Any]) -> dict[str, int]:
    sizes = {
        file.rfilename: file.size or 0
        for file in siblings
        if all(FILE_NAME.fullmatch(part) for part in file.rfilename.split("/"))
    }
    problem = names_problem(sizes)
    if problem:
        raise PlaygroundError(problem)
    return {name: size for name, size in sizes.items() if "/" not in name}


def _weights_after_checks(
    repo_id: str, revision: str, sizes: dict[str, int], model_types: ModelTypes | None
) -> frozenset[str]:
    """The weight files to download. Checks run outside the cache, so that a refused model leaves nothing there."""
    from huggingface_hub import hf_hub_download

    with tempfile.TemporaryDirectory(prefix=owned_prefix()) as scratch:

        def fetch(name: str) -> Path:
            return Path(hf_hub_download(repo_id, name, revision=revision, local_dir=scratch, tqdm_class=_Silent))

        return frozenset(checked_weights(repo_id, sizes, fetch, Path(scratch), model_types))


def checked_weights(
    repo_id: str,
    sizes: Mapping[str, int],
    fetch: Callable[[str], Path],
    folder: Path,
    model_types: ModelTypes | None,
) -> list[str]:
    """The weight files of a repository. `sizes`: its files in bytes. `fetch` downloads one of them into `folder`.

    Raises PlaygroundError if the config rules out a comparison, weight files are missing, or the tokenizer cannot be
    read.
    """

    def there(name: str) -> Path:
        return fetch(name) if name in sizes else folder / name

    config = read_config(there("config.json"))
    problem = config_problem(config, model_types)
    if problem:
        is_quantized = problem.code is ErrorCode.ALREADY_QUANTIZED
        raise PlaygroundError(declared_quantized(config) if is_quantized else problem)
    weights = [SINGLE] if SINGLE in sizes else shards_of(read_json(there(INDEX)))
    if SINGLE in sizes and INDEX in sizes:
        _refuse_stray(sizes, fetch(INDEX))
    missing = [name for name in weights if name not in sizes]
    if missing:
        raise fail(
            ErrorCode.INCOMPLETE_DOWNLOAD,
            f"{repo_id} is incomplete on the hub: {len(missing)} of {len(weights)} weight files are not there.",
            "Choose another repository of this model.",
            ", ".join(missing),
        )
    problem = thorough_tokenizer_problem(sizes, fetch, folder)
    if problem:
        raise PlaygroundError(problem)
    return weights


def _refuse_stray(sizes: Mapping[str, int], index: Path) -> None:
    """Refuse a single file much smaller than the shards beside it: not the whole model, but transformers reads it."""
    try:
        shards = shards_of(read_json(index))
    except (PlaygroundError, ValueError):
        return  # transformers does not read the index either
    total = sum(sizes.get(name, 0) for name in shards)
    if sizes[SINGLE] < total / 2:
        why = f"it has {bytes_text(sizes[SINGLE])} where they have {bytes_text(total)}"
        raise PlaygroundError(stray_single(why, "Choose another repository of this model."))


def _cached_bytes(repo_id: str, revision: str, name: str) -> int:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo_id, name, revision=revision)
    return Path(found).stat().st_size if isinstance(found, str) else 0


def require_space(needed: int) -> None:
    """Raise PlaygroundError(DISK_FULL) if that many bytes do not fit into the hub's cache."""
    from huggingface_hub.constants import HF_HUB_CACHE

    cache = Path(HF_HUB_CACHE)
    cache.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache).free
    if free < needed + SPARE_BYTES:
        raise fail(
            ErrorCode.DISK_FULL,
            f"The download takes {bytes_text(needed)} and only {bytes_text(free)} are free at {cache}.",
            "Free some space, or set HF_HOME to a folder on another disk.",
        )


class _Silent:
    """The part of tqdm's interface that huggingface_hub uses, without output."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.n = int(options.get("initial") or 0)
        self.total = options.get("total")
        self.format_dict: dict[str, Any] = {}

    def __enter__(self) -> "_Silent":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def update(self, n: float | None = 1) -> None:
        self.n += int(n or 0)

    def close(self) -> None: ...

    def refresh(self, *args: Any, **options: Any) -> None: ...

    set_description = set_description_str = set_postfix = set_postfix_str = refresh


class Progress:
    """Counts downloaded bytes and reports at most ten times a second. Bars call it from several threads."""

    def __init__(self, report: Report, cached: int, total: int) -> None:
        self._report = report
        self._cached = cached
        self._total = total
        self._bars: list[_Silent] = []
        self._lock = threading.Lock()
        self._reported_at = time.monotonic()
        report(min(cached, total), total)

    def bar_class(self) -> type[_Silent]:
        """A tqdm class for huggingface_hub whose bars count here."""
        progress = self

        class Bar(_Silent):
            def __init__(self, *args: Any, **options: Any) -> None:
                super().__init__(*args, **options)
                if options.get("unit") == "B":  # the others count files
                    progress._bars.append(self)

            def update(self, n: float | None = 1) -> None:
                with progress._lock:
                    super().update(n)
                    progress._tick()

        return Bar

    def finish(self) -> None:
        """Report that everything is downloaded."""
        self._report(self._total, self._total)

    def _tick(self) -> None:
        now = time.monotonic()
        if now - self._reported_at < INTERVAL_S:
            return
        self._reported_at = now
        # one bar counts bytes received, one bytes written; with shared chunks, either may be ahead
        moved = max((bar.n for bar in self._bars), default=0)
        self._report(min(self._cached + moved, self._total), self._total)
