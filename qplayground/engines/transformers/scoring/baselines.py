"""Keeps log-probabilities of baselines on disk, so that candidates and later comparisons need no rescoring."""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import torch

from qplayground.core.measures.quality import LayerError, Quality, ScoredTokens
from qplayground.core.precision import Precision
from qplayground.core.system.saving import save_file
from qplayground.core.system.temporary import clear_left, is_owned, owned_prefix

_STORED = ("float32", "float16")
LOG_PROBABILITIES = "log-probabilities"
SCORES = "scores.msgpack"
_SCRATCH = "baseline"
SPARE_BYTES = 1 << 30
"""Disk space that is left free for others."""


SCORING_VERSION = 3
"""Increased when the same tokens would get other figures, so that results of older versions are not found."""


class BaselineKey(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the log-probabilities depend on.

    `place`: what computed them, and for a split model where.
    """

    weights_sha256: str
    config_sha256: str
    precision: Precision
    place: str
    scoring: int = SCORING_VERSION
    versions: tuple[str, ...]
    ids_sha256: str
    starts: tuple[int, ...]
    window: int
    vocabulary: int

    @property
    def name(self) -> str:
        """The name of its folder."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:40]


class KeptScores(msgspec.Struct, frozen=True, kw_only=True):
    """What was kept beside the log-probabilities, which are stored as `dtype`. Divergences are means, in nats.

    `storage_kld`: from storing the log-probabilities in that dtype.
    `rounding_klds`: from rounding the logits, by dtype.
    """

    dtype: str
    quality: Quality
    tokens: ScoredTokens
    storage_kld: float = 0.0
    rounding_klds: dict[str, float] = {}


class KeptCandidate(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate's results against the baseline that it is kept with. The baseline itself is one too."""

    quality: Quality
    tokens: ScoredTokens
    layers: tuple[LayerError, ...] = ()


class KeptBaseline:
    """One baseline's log-probabilities, read on demand, and the results compared with them."""

    def __init__(self, folder: Path, scores: KeptScores, vocabulary: int) -> None:
        self.scores = scores
        self._folder = folder
        self._vocabulary = vocabulary

    @property
    def is_whole(self) -> bool:
        """Whether there are as many log-probabilities as tokens. Raises OSError, TypeError for an unknown dtype."""
        size = len(self.scores.tokens.nll) * self._vocabulary * np.dtype(self.scores.dtype).itemsize
        return 0 < size == (self._folder / LOG_PROBABILITIES).stat().st_size

    def rows(self, first: int, count: int) -> torch.Tensor:
        """Log-probabilities of scored tokens, [count, vocabulary], float32. Raises OSError.

        They are read, not mapped, so that earlier rows do not stay in memory.
        """
        dtype = np.dtype(self.scores.dtype)
        rows = np.fromfile(
            self._folder / LOG_PROBABILITIES,
            dtype,
            count=count * self._vocabulary,
            offset=first * self._vocabulary * dtype.itemsize,
        )
        return torch.from_numpy(rows.reshape(count, self._vocabulary).astype(np.float32, copy=False))

    def candidate(self, precision: Precision, place: str) -> KeptCandidate | None:
        """That precision's earlier result with that placement; None where there is none, or it is damaged."""
        try:
            return msgspec.msgpack.decode(self._candidate_file(precision, place).read_bytes(), type=KeptCandidate)
        except (OSError, UnicodeDecodeError, RecursionError, msgspec.MsgspecError):
            return None

    def keep_candidate(self, precision: Precision, place: str, found: KeptCandidate) -> None:
        """Save the result, all or nothing. If that fails, it is scored again another time."""
        with contextlib.suppress(OSError):
            save_file(self._candidate_file(precision, place), msgspec.msgpack.encode(found))

    def _candidate_file(self, precision: Precision, place: str) -> Path:
        key = msgspec.json.encode((precision, place))
        return self._folder / f"candidate-{hashlib.sha256(key).hexdigest()[:40]}.msgpack"


class Baselines:
    """A folder of kept baselines, of at most `limit_bytes`. The least recently used one is deleted first."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes

    @property
    def room_bytes(self) -> int:
        """The largest possible size of a baseline: within the limit, and with disk space left for others."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self._folder).free + self._used()
        except OSError:
            return 0
        return max(0, min(self._limit_bytes, free - SPARE_BYTES))

    def find(self, key: BaselineKey) -> KeptBaseline | None:
        """The baseline with that key; None where there is none or it is damaged."""
        folder = self._folder / key.name
        try:
            scores = msgspec.msgpack.decode((folder / SCORES).read_bytes(), type=KeptScores)
            kept = KeptBaseline(folder, scores, key.vocabulary)
            whole = scores.dtype in _STORED and scores.tokens.is_sound and kept.is_whole
            os.utime(folder / SCORES)
        except (OSError, ValueError, TypeError, RecursionError, msgspec.MsgspecError):
            return None
        return kept if whole else None

    @contextmanager
    def writing(self, key: BaselineKey, dtype: str) -> Iterator["Writing"]:
        """Keep a new baseline. It exists once `finish` was called, whole or not at all. Raises OSError."""
        self._make_room(len(key.starts) * (key.window - key.window // 2) * key.vocabulary * np.dtype(dtype).itemsize)
        scratch = Path(tempfile.mkdtemp(prefix=owned_prefix(_SCRATCH), dir=self._folder))

        def is_kept() -> bool:
            found = self.find(key)
            return found is not None and found.scores.dtype in (dtype, "float32")

        writing = Writing(scratch, self._folder / key.name, dtype, is_kept)
        try:
            yield writing
        finally:
            writing.discard()

    def _used(self) -> int:
        return sum(_size(folder) for folder in self._folders())

    def _folders(self) -> list[Path]:
        """The kept baselines, least recently used first."""
        return sorted((path for path in self._folder.iterdir() if path.is_dir() and not is_owned(path)), key=_last_used)

    def _make_room(self, num_bytes: int) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        clear_left(self._folder)  # left by an engine that was ended while writing
        folders = self._folders()
        used = sum(_size(folder) for folder in folders)
        for folder in folders:
            free = shutil.disk_usage(self._folder).free
            if used + num_bytes <= self._limit_bytes and num_bytes <= free - SPARE_BYTES:
                return
            used -= _size(folder)
            shutil.rmtree(folder, ignore_errors=True)


class Writing:
    """A baseline that is being written."""

    def __init__(self, scratch: Path, target: Path, dtype: str, is_kept: Callable[[], bool]) -> None:
        self._scratch = scratch
        self._target = target
        self._is_kept = is_kept
        self._dtype = np.dtype(dtype)
        self._file = (scratch / LOG_PROBABILITIES).open("wb", buffering=0)  # unbuffered: a failed write shows at once

    def write(self, rows: torch.Tensor) -> torch.Tensor:
        """Append rows, and return them as they will be read back. Raises OSError."""
        stored = rows.cpu().numpy().astype(self._dtype, copy=False)
        left = memoryview(np.ascontiguousarray(stored)).cast("B")  # type: ignore[arg-type]
        while left:
            left = left[self._file.write(left) :]
        return torch.from_numpy(stored.astype(np.float32, copy=False))

    def finish(self, scores: KeptScores) -> None:
        """Move it to its place, unless another engine was faster: that baseline is as good, and may be in use.

        Raises OSError.
        """
        self._file.close()
        (self._scratch / SCORES).write_bytes(msgspec.msgpack.encode(scores))
        while not self._has_moved():
            if self._is_kept():
                return
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self._target)  # a damaged one, or a less exact one

    def _has_moved(self) -> bool:
        """Move it to its place. Returns False and changes nothing where something is in the way."""
        try:
            self._scratch.rename(self._target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            return False
        return True

    def discard(self) -> None:
        """Delete it unless it is finished."""
        self._file.close()
        shutil.rmtree(self._scratch, ignore_errors=True)


def _size(folder: Path) -> int:
    """Bytes of its files; 0 if another engine removes it meanwhile."""
    try:
        return sum(path.stat().st_size for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _last_used(folder: Path) -> float:
    try:
        return (folder / SCORES).stat().st_mtime
    except OSError:
        return 0.0
