"""The history: every comparison, in one SQLite file."""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec
import platformdirs

from qplayground.core.comparison.baseline import default_baseline, refresh_divergence
from qplayground.core.comparison.results import Comparison, RunState
from qplayground.core.errors import ErrorCode, fail
from qplayground.core.system.owner import Owner, this_process
from qplayground.core.system.saving import set_aside
from qplayground.runtime.storage.history_rows import (
    HEAD,
    HistoryEntry,
    Statement,
    as_stopped,
    joined,
    statements_to_save,
)
from qplayground.runtime.storage.preferences import kept_folder

_VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS comparisons (
    id TEXT PRIMARY KEY, started_at TEXT NOT NULL, model TEXT NOT NULL, precisions TEXT NOT NULL, prompt TEXT NOT NULL,
    state TEXT NOT NULL, note TEXT NOT NULL DEFAULT '', search TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS newest ON comparisons (started_at DESC);
CREATE TABLE IF NOT EXISTS contents (id TEXT NOT NULL, part TEXT NOT NULL, json BLOB NOT NULL, PRIMARY KEY (id, part));
CREATE TABLE IF NOT EXISTS running (
    id TEXT PRIMARY KEY, machine TEXT NOT NULL, pid INT NOT NULL, started_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS placements (id TEXT PRIMARY KEY, placed TEXT NOT NULL);
"""
_RUN = "INSERT OR REPLACE INTO running (id, machine, pid, started_at) VALUES (?, ?, ?, ?)"
_REST = "DELETE FROM running WHERE id = ?"
_RUNNING = "SELECT machine, pid, started_at, id FROM running"
_RUNS = "SELECT count(*) FROM contents WHERE id = ? AND part <> ?"
_WORDS = 20
_READ_TIMEOUT_S = 0.5
_WRITE_TIMEOUT_S = 10.0


def history_path() -> Path:
    """Default path of the history, in the user's data folder."""
    return (kept_folder() or platformdirs.user_data_path("qplayground")) / "history.sqlite3"


class HistoryGoneError(OSError):
    """The rest of the saved comparison is gone, so saving only its changes is not enough."""


class History:
    """Reads on the caller's thread and writes on its own, so that a slow disk blocks nothing.

    Each write is one transaction, so a kill at any moment leaves a consistent file. `notice` is a sentence for the
    user, usually empty: the file was damaged and set aside, or cannot be used.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or history_path()
        self.notice = ""
        self.problem = ""
        """Why the last read failed; empty if it succeeded."""
        self._usable = True
        self._mine: set[str] = set()  # comparisons that this process has marked as running
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="history")
        self._prepare()

    # ---- reading ---------------------------------------------------------------------------------------------

    def entries(self, wanted: str = "") -> list[HistoryEntry]:
        """The comparisons whose model, precisions, prompt, date or note contain every word, newest first."""
        words = wanted.casefold().split()[:_WORDS]
        where = " AND ".join(["instr(search || casefold(note), ?)"] * len(words)) or "1"
        query = (
            "SELECT id, started_at, model, precisions, prompt, state, note, coalesce(placed, '') "
            f"FROM comparisons LEFT JOIN placements USING (id) WHERE {where} ORDER BY started_at DESC"
        )
        if not self._usable:
            return []
        try:
            with _opened(self.path, _READ_TIMEOUT_S) as file:
                found = [HistoryEntry(*row) for row in file.execute(query, words)]
                owners = _owners(file)
            self.problem = ""
            return [_with_owner(entry, owners.get(entry.id)) for entry in found]
        except sqlite3.OperationalError as error:
            self.problem = f"The history cannot be read just now: {error}."
        except sqlite3.DatabaseError as error:
            self._set_aside(error)
        return []

    def running(self) -> frozenset[str]:
        """The comparisons that a live process of this machine runs; empty if the file cannot be read."""
        if not self._usable:
            return frozenset()
        try:
            with _opened(self.path, _READ_TIMEOUT_S) as file:
                return frozenset(name for name, owner in _owners(file).items() if owner.lives)
        except sqlite3.Error:
            return frozenset()  # `entries` reports it

    def load(self, comparison_id: str) -> Comparison:
        """One comparison. If it runs, or may run on another machine, its unfinished runs are queued.

        If its program has ended, its unfinished runs count as stopped. Raises PlaygroundError(BAD_FILE) if it is
        missing or damaged.
        """
        try:
            with _opened(self.path, _READ_TIMEOUT_S) as file:
                parts = dict(file.execute("SELECT part, json FROM contents WHERE id = ?", (comparison_id,)))
                owner = _owners(file).get(comparison_id)
        except sqlite3.Error as error:
            raise fail(ErrorCode.BAD_FILE, "The history cannot be read.", "Try again.", str(error)) from error
        if HEAD not in parts:
            raise fail(ErrorCode.BAD_FILE, "This comparison is no longer in the history.", "Search again.")
        comparison = joined(parts)
        if owner is None or (owner.is_here and not owner.lives):
            as_stopped(comparison)
        for run in comparison.runs:
            run.state = run.state if run.state.is_final else RunState.QUEUED  # its exact state is outdated
        comparison.baseline = comparison.baseline or default_baseline(comparison)
        refresh_divergence(comparison)
        return comparison

    # ---- writing ---------------------------------------------------------------------------------------------

    def save(self, comparison: Comparison, changed: Sequence[str] | None = None) -> "Future[None]":
        """Save the comparison over its earlier version. The note stays.

        `changed`: the runs that changed since the last save; by default all. The future raises HistoryGoneError, and
        nothing is written, if the file lacks any other run. An unfinished comparison counts as running until this
        process ends or saves it again.
        """
        statements = [*statements_to_save(comparison, changed), self._owned(comparison.id, not comparison.is_finished)]
        return self._write(*statements, runs=(comparison.id, len(comparison.runs)))

    def mark_running(self, comparison_id: str) -> "Future[None]":
        """Mark a finished comparison as running in this process again. Its saved content stays until the next save."""
        return self._write(self._owned(comparison_id, True))

    def annotate(self, comparison_id: str, note: str) -> "Future[None]":
        """Set the comparison's note."""
        return self._write(("UPDATE comparisons SET note = ? WHERE id = ?", (note, comparison_id)))

    def delete(self, comparison_ids: Sequence[str]) -> "Future[None]":
        """Delete the comparisons."""
        statements: list[Statement] = []
        for comparison_id in comparison_ids:
            for table in ("comparisons", "contents", "placements"):
                statements.append((f"DELETE FROM {table} WHERE id = ?", (comparison_id,)))
            statements.append(self._owned(comparison_id, False))
        return self._write(*statements)

    def close(self) -> None:
        """Finish writing. Afterwards none of this process's comparisons counts as running."""
        if self._mine:
            self._write(*(self._owned(comparison_id, False) for comparison_id in sorted(self._mine)))
        self._writer.shutdown(wait=True)

    def _owned(self, comparison_id: str, is_running: bool) -> Statement:
        if is_running:
            self._mine.add(comparison_id)
            return _RUN, (comparison_id, *this_process())
        self._mine.discard(comparison_id)
        return _REST, (comparison_id,)

    def _write(self, *statements: Statement, runs: tuple[str, int] | None = None) -> "Future[None]":
        def write() -> None:
            if not self._usable:
                return
            try:
                execute()
            except sqlite3.OperationalError:
                if not self._is_gone():
                    raise
                self._begin()
                self.notice = "The history was removed while in use. A new one was started."
                raise HistoryGoneError(self.notice) from None

        def execute() -> None:
            with _opened(self.path, _WRITE_TIMEOUT_S) as file, file:
                for statement, values in statements:
                    file.execute(statement, values)
                if runs is not None and file.execute(_RUNS, (runs[0], HEAD)).fetchone() != (runs[1],):
                    raise HistoryGoneError("The history does not have all runs of this comparison any more")

        return self._writer.submit(write)

    # ---- the file --------------------------------------------------------------------------------------------

    def _is_gone(self) -> bool:
        """Whether the file, its folder or its tables were removed."""
        if not self.path.exists():
            return True
        try:
            with _opened(self.path, _READ_TIMEOUT_S) as file:
                file.execute("SELECT 1 FROM comparisons, contents, running, placements LIMIT 1")
        except sqlite3.OperationalError as error:
            return "no such table" in str(error)
        return False

    def _begin(self) -> None:
        """Create the file and its tables if missing. Raises OSError, sqlite3.Error."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _opened(self.path, _WRITE_TIMEOUT_S) as file, file:
            (version,) = file.execute("PRAGMA user_version").fetchone()
            if version > _VERSION:
                self._usable = False
                self.notice = (
                    "The history was written by a newer version of the program. Comparisons are not kept this time."
                )
                return
            file.execute("PRAGMA journal_mode = WAL")
            file.executescript(_TABLES)
            file.execute(f"PRAGMA user_version = {_VERSION}")

    def _prepare(self) -> None:
        try:
            self._begin()
        except (sqlite3.OperationalError, OSError) as error:
            self._give_up(error)
        except sqlite3.DatabaseError as error:
            self._set_aside(error)

    def _set_aside(self, error: Exception) -> None:
        try:
            aside = set_aside(self.path)
            for suffix in ("-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        except OSError as failure:
            self._give_up(failure)
            return
        self._prepare()
        self.notice = (
            f"The history could not be read ({error}). It was renamed to {aside.name}, and a new one was started."
        )

    def _give_up(self, error: Exception) -> None:
        self._usable = False
        self.notice = f"The history in {self.path} cannot be used ({error}). Comparisons are not kept this time."


def _owners(file: sqlite3.Connection) -> dict[str, Owner]:
    """The process that runs each comparison. It may have ended without cleaning up."""
    return {name: Owner(machine, pid, int(started)) for machine, pid, started, name in file.execute(_RUNNING)}


def _with_owner(entry: HistoryEntry, owner: Owner | None) -> HistoryEntry:
    if owner is None or (owner.is_here and not owner.lives):
        return entry
    _, comma, mode = entry.state.partition(",")
    return msgspec.structs.replace(entry, state=f"{'running' if owner.is_here else 'unfinished'}{comma}{mode}")


@contextlib.contextmanager
def _opened(path: Path, timeout_s: float) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, timeout=timeout_s)
    connection.create_function("casefold", 1, str.casefold, deterministic=True)
    try:
        yield connection
    finally:
        connection.close()
