"""Identifies weights by a hash of their files. A file is read again only if it changed."""

import contextlib
import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from qplayground.core.system.saving import save_file
from qplayground.engines.transformers.progress import OnProgress

HASHING = "Hashing the weights"
_MEMO = "digests.json"
_PIECE = 1 << 24


def weights_sha256(files: Iterable[Path], folder: Path, on_progress: OnProgress) -> str:
    """SHA-256 of all files together, by name. Digests are cached in `folder`. Raises OSError."""
    known = _read(folder / _MEMO)
    files = sorted(files)
    total = sum(file.stat().st_size for file in files)
    whole, done = hashlib.sha256(), 0
    for file in files:
        key = _identity(file)
        if key not in known:
            known[key] = _digest(file, done, total, on_progress)
            _write(folder / _MEMO, known)
        done += file.stat().st_size
        whole.update(f"{file.name}\0{known[key]}\0".encode())
    return whole.hexdigest()


def _identity(file: Path) -> str:
    """Includes the inode's change time, which no program can set, unlike the modification time."""
    found = file.stat()
    return f"{file.resolve()}:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"


def _digest(file: Path, done: int, total: int, on_progress: OnProgress) -> str:
    found = hashlib.sha256()
    with file.open("rb") as data:
        while piece := data.read(_PIECE):
            found.update(piece)
            done += len(piece)
            on_progress(HASHING, done, total)
    return found.hexdigest()


def _read(path: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except (OSError, UnicodeDecodeError, msgspec.MsgspecError):
        return {}


def _write(path: Path, known: dict[str, str]) -> None:
    """All or nothing. A failure only costs a second reading."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(path, msgspec.json.encode(known))
