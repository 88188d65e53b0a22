"""The preferences file: reloaded when it changed on disk, and written on its own thread."""

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from qplayground.core.errors import ErrorCode, PlaygroundError, fail
from qplayground.core.placement import Placement
from qplayground.core.precision import DEFAULT_TICKED, READY_PRECISIONS, Precision
from qplayground.core.system.saving import save_file, set_aside

READY = {precision.name: precision for precision in READY_PRECISIONS}

LOCK_WAIT_S = 10.0
"""How long a write waits for another window's write of a few kB, perhaps to a busy disk."""
_Stamp = tuple[int, int, int]
_UNREADABLE = (OSError, UnicodeError, RecursionError, msgspec.MsgspecError, PlaygroundError)


class Kept(msgspec.Struct, frozen=True):
    """The content of the file."""

    version: int = 1
    custom: tuple[Precision, ...] = ()
    edited: dict[str, Precision] = {}
    ticked: tuple[str, ...] = DEFAULT_TICKED
    recent_prompts: tuple[str, ...] = ()
    recent_folders: tuple[str, ...] = ()
    last_model: str | None = None
    placements: dict[str, Placement] = {}
    last_placement: Placement = Placement()
    text_percent: int = 100
    layout: dict[str, str] = {}
    # Plain dicts, because other versions may have other fields; that is no damage.
    last_request: dict[str, Any] | None = None
    run_choices: dict[str, Any] = {}
    inside_params: dict[str, Any] = msgspec.field(
        default_factory=dict, name="inside_knobs"
    )  # the field's name in existing files


Change = Callable[[Kept], Kept]
"""Applied to the file's content at the time of writing, because another window may have changed it."""


class PreferencesFile:
    """Owner of the file. A change takes effect at once, and is merged with what another window has written meanwhile.

    Callers never wait for a write, which can take seconds on a busy disk. The caller's thread only reads the file,
    while no write is in progress: a few kB, when another window has just written them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="preferences")
        self._last_write: Future[None] | None = None
        self._lock = threading.Lock()  # held only briefly, never during a write
        self._read = Kept()  # the content read or written last
        self._seen: _Stamp | None = None
        self._changes: list[Change] = []  # not written yet
        self._writing = self._closed = False
        self._writable = True
        self._damage = ""
        self._unwritten = ""
        self._told: Callable[[], None] | None = None
        self._load()

    @property
    def notice(self) -> str:
        """A sentence for the user, usually empty: the file was damaged and set aside, or cannot be written."""
        return " ".join(filter(None, (self._damage, self._unwritten)))

    def tell(self, told: Callable[[], None]) -> None:
        """Set a callback for when a write changes `notice`. It runs on the writing thread, and never after `close`."""
        self._told = told

    @property
    def now(self) -> Kept:
        """The file's content with the unwritten changes; the last known content if the file is gone or damaged."""
        with self._lock:
            if self._writable and not self._writing:
                with contextlib.suppress(*_UNREADABLE):
                    stamp = _stamp(self.path)
                    if stamp != self._seen:
                        self._read, self._seen = read_kept(self.path), stamp
            return _changed(self._read, self._changes)

    def change(self, change: Change) -> None:
        """Apply a change at once, and write it as soon as the disk allows. After `close` nothing is written."""
        before = self.now
        if self._closed or change(before) == before:
            return
        with self._lock:
            self._changes.append(change)
        self._last_write = self.writer.submit(self._write)

    def flush(self) -> None:
        """Wait until everything is written, or has failed."""
        if self._last_write is not None:
            self._last_write.result()

    def close(self) -> None:
        """Write what is unwritten, and end the thread. If that fails, report it on stderr."""
        if self._closed:
            return
        if self._changes:  # retries what failed before
            self._last_write = self.writer.submit(self._write)
        self._closed = True
        self._told = None  # the window that would show it is closing
        self.writer.shutdown()
        self.flush()
        if self._unwritten:
            with contextlib.suppress(OSError, ValueError):  # stderr may be closed
                print(self._unwritten, file=sys.stderr)

    # ---- on the thread that writes ---------------------------------------------------------------------------

    def _write(self) -> None:
        """Write all pending changes at once."""
        with self._lock:
            changes = list(self._changes)
            self._writing = bool(changes)
        if not changes:
            return
        read, seen, unwritten = self._read, self._seen, ""
        before = self.notice
        try:
            with _alone(self.path):
                read, seen = self._read_again()
                new = _changed(read, changes)
                if new != read and self._writable:
                    seen = self._save(new)
                read = new
        except Exception as error:  # the changes stay in any case, and the next write retries them
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            unwritten = f"The preferences cannot be written to {self.path}: {reason}."
        with self._lock:
            self._read, self._seen = read, seen
            self._unwritten = unwritten
            self._writing = False
            if not unwritten:
                del self._changes[: len(changes)]
        told = self._told
        if told is not None and self.notice != before:
            with contextlib.suppress(RuntimeError):  # Qt's: the object that would show it is gone
                told()

    def _read_again(self) -> tuple[Kept, _Stamp | None]:
        """The file's content, reread if it changed. A damaged file is set aside, not overwritten: it may be edited."""
        if self._writable:
            try:
                stamp = _stamp(self.path)
                if stamp != self._seen:
                    return read_kept(self.path), stamp
            except OSError:
                pass  # missing or unreadable: writing will report it
            except _UNREADABLE as error:
                self._set_aside(error)
        return self._read, self._seen

    def _save(self, kept: Kept) -> _Stamp:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        save_file(self.path, msgspec.json.format(msgspec.json.encode(kept), indent=2), private=True)
        return _stamp(self.path)

    # ---- damage ----------------------------------------------------------------------------------------------

    def _load(self) -> None:
        """Read the file. A missing one means defaults; a damaged one is renamed and set aside.

        A damaged file is read again under the lock. Two windows that start at once both find it, and the new file that
        the first one writes must stay.
        """
        try:
            self._look()
        except _UNREADABLE:
            with contextlib.suppress(TimeoutError), _alone(self.path):  # without the lock, the next write checks again
                try:
                    self._look()
                except _UNREADABLE as error:
                    self._set_aside(error)

    def _look(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            stamp = _stamp(self.path)
            self._read, self._seen = read_kept(self.path), stamp

    def _set_aside(self, error: Exception) -> None:
        try:
            aside = set_aside(self.path)
            self._damage = f"The preferences could not be read ({error}). They were renamed to {aside.name}."
        except OSError:
            self._writable = False  # not readable and not movable: do not overwrite it either
            self._damage = f"The preferences in {self.path} could not be read ({error}). Nothing is kept this time."


def _changed(kept: Kept, changes: list[Change]) -> Kept:
    for change in changes:
        kept = change(kept)
    return kept


def read_kept(path: Path) -> Kept:
    kept = _renamed(msgspec.json.decode(path.read_bytes(), type=Kept))
    names = [precision.checked().name for precision in kept.custom]
    if len({*names, *READY}) != len(names) + len(READY):
        raise fail(ErrorCode.BAD_PRECISION, "Two precisions have the same name.", "")
    for name, precision in kept.edited.items():
        if name not in READY or precision.name != name or not precision.checked().is_kind_of(READY[name]):
            raise fail(ErrorCode.BAD_PRECISION, f"{name!r} is not a ready precision.", "")
    for placement in (*kept.placements.values(), kept.last_placement):
        placement.checked()
    return kept


def _renamed(kept: Kept) -> Kept:
    """Rename the user's precisions whose names a newer version has given to ready-made ones."""
    taken = {*READY, *(precision.name for precision in kept.custom)}
    custom = []
    for precision in kept.custom:
        if precision.name in READY:
            name = next(name for number in count(2) if (name := f"{precision.name}-{number}") not in taken)
            taken.add(name)
            precision = msgspec.structs.replace(precision, name=name, label=name)
        custom.append(precision)
    return msgspec.structs.replace(kept, custom=tuple(custom))


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock against other windows that write the file. Raises TimeoutError after LOCK_WAIT_S.

    If no lock file can be created, no window can write either; continue without it, and saving reports why.
    """
    from filelock import FileLock, Timeout  # only a write needs it, and the window would wait for it at the start

    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
    place = Path(os.path.realpath(path))
    lock = FileLock(place.with_name(f".{place.name}.lock"))
    try:
        lock.acquire(timeout=LOCK_WAIT_S)
    except Timeout:
        raise TimeoutError(None, "another window is still writing it") from None
    except (OSError, NotImplementedError):
        pass  # without a lock, see above
    try:
        yield
    finally:
        lock.release()


def _stamp(path: Path) -> _Stamp:
    """Changes whenever the file is replaced: inode, mtime in ns, size. Raises OSError."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size
