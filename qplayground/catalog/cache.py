"""The text generators in the Hugging Face cache, including interrupted downloads."""

from pathlib import Path

import msgspec

from qplayground.catalog.config import is_language_model, read_config
from qplayground.catalog.inspect import inspect_folder
from qplayground.core.errors import ErrorCode, ErrorInfo, PlaygroundError
from qplayground.core.model import ModelEntry, ModelSource, ModelTypes

PREFIX = "models--"
LOSSES = (ErrorCode.NO_WEIGHTS, ErrorCode.INCOMPLETE_DOWNLOAD, ErrorCode.BROKEN_TOKENIZER)


def scan_cache(model_types: ModelTypes | None, cache_dir: Path | None = None) -> list[ModelEntry]:
    """Every model in the cache that can continue text, sorted by id; [] without a cache.

    An interrupted download has `complete` false and the problem INCOMPLETE_DOWNLOAD. Imports huggingface_hub (about
    0.1 s the first time) and reads the headers of every checkpoint: do not call it on the window's thread.
    """
    root = cache_dir or _default_cache()
    snapshots = _valid_snapshots(root)
    try:
        repos = sorted(path for path in root.glob(f"{PREFIX}*") if path.is_dir())
    except OSError:
        return []
    entries = (
        _entry(repo, snapshots[repo] if repo in snapshots else _snapshot_of(repo), model_types) for repo in repos
    )
    return sorted((entry for entry in entries if entry is not None), key=lambda entry: entry.id.lower())


def cached_snapshot(repo_id: str, cache_dir: Path | None = None) -> Path | None:
    """The cached folder of a repository's `main` revision, or None if its config.json is not there."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo_id, "config.json", cache_dir=cache_dir)
    return Path(found).parent if isinstance(found, str) else None


def _default_cache() -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def _valid_snapshots(root: Path) -> dict[Path, Path | None]:
    """Repository folder → its snapshot to show, for every repository that the hub's own scan finds intact."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repos = scan_cache_dir(root).repos
    except (CacheNotFound, ValueError, OSError):  # OSError: a download is changing the cache under the scan
        return {}
    chosen: dict[Path, Path | None] = {}
    for repo in repos:
        # main before others, then the newest
        order = sorted(repo.revisions, key=lambda revision: ("main" in revision.refs, revision.last_modified))
        chosen[root / repo.repo_path.name] = order[-1].snapshot_path if order else None
    return chosen


def _snapshot_of(repo: Path) -> Path | None:
    """The same choice for a repository that the hub's scan calls corrupted, as after an interrupted download."""
    snapshots = repo / "snapshots"
    try:
        main = snapshots / (repo / "refs" / "main").read_text().strip()
        if main.parent == snapshots and main.name != ".." and main.is_dir():  # a commit, not a path outside the cache
            return main
    except (OSError, ValueError):
        pass
    try:
        folders = [path for path in snapshots.iterdir() if path.is_dir()]
        return max(folders, key=lambda path: path.stat().st_mtime, default=None)
    except OSError:
        return None


def _entry(repo: Path, snapshot: Path | None, model_types: ModelTypes | None) -> ModelEntry | None:
    repo_id = repo.name.removeprefix(PREFIX).replace("--", "/")
    interrupted = any(repo.glob("blobs/*.incomplete"))
    config = None
    if snapshot is not None:
        try:
            config = read_config(snapshot / "config.json")
        except PlaygroundError:
            if (snapshot / "config.json").is_file():
                return None  # not a transformers model: those name a model_type
    dangling = [] if snapshot is None else _dangling(snapshot)
    if snapshot is None or config is None:
        if interrupted:
            return _incomplete(repo, _interrupted(repo_id, ""))
        return _incomplete(repo, _lost(repo_id, dangling, "")) if "config.json" in dangling else None
    if not is_language_model(config, model_types):
        return None
    entry = inspect_folder(snapshot, source=ModelSource.CACHE, model_types=model_types, id=repo_id)
    code = entry.problem.code if entry.problem else None
    if code in LOSSES and (code is not ErrorCode.BROKEN_TOKENIZER or interrupted or dangling):
        detail = str(entry.problem)
        problem = _lost(repo_id, dangling, detail) if dangling and not interrupted else _interrupted(repo_id, detail)
        return msgspec.structs.replace(entry, complete=False, problem=problem)
    return entry


def _dangling(snapshot: Path) -> list[str]:
    """The files of a snapshot whose links are broken, as in a cache that was copied or cleaned by hand."""
    try:
        return sorted(path.name for path in snapshot.iterdir() if path.is_symlink() and not path.exists())
    except OSError:
        return []


def _incomplete(repo: Path, problem: ErrorInfo) -> ModelEntry:
    repo_id = repo.name.removeprefix(PREFIX).replace("--", "/")
    try:
        size = sum(path.stat().st_size for path in (repo / "blobs").iterdir())
    except OSError:
        size = 0
    return ModelEntry(id=repo_id, source=ModelSource.CACHE, size_bytes=size, problem=problem)


def _lost(repo_id: str, dangling: list[str], detail: str) -> ErrorInfo:
    """The problem of broken links without a trace of a download."""
    files = f"file ({dangling[0]}) is" if len(dangling) == 1 else f"files ({dangling[0]} and others) are"
    return ErrorInfo(
        ErrorCode.INCOMPLETE_DOWNLOAD,
        f"{len(dangling)} {files} missing in the Hugging Face cache, where {repo_id} has links that lead nowhere.",
        "Download it again: whole files that are already there are kept.",
        detail or ", ".join(dangling),
    )


def _interrupted(repo_id: str, detail: str) -> ErrorInfo:
    return ErrorInfo(
        ErrorCode.INCOMPLETE_DOWNLOAD,
        f"The download of {repo_id} did not finish.",
        "Download it again: whole files that are already there are kept.",
        detail,
    )
