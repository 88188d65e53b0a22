"""Saves every comparison to the history while it runs."""

import sqlite3
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial

from PySide6.QtCore import QObject, Signal, Slot

from qplayground.core.comparison.results import Comparison
from qplayground.runtime.comparison.session import Session
from qplayground.runtime.storage.history import History, HistoryGoneError


class Recorder(QObject):
    """Saves after each finished run and round, so that a kill loses at most the current one.

    Signals: `saved()` when the history has changed, `failed(str)` with a sentence when it could not be written.
    """

    saved = Signal()
    failed = Signal(str)
    _written = Signal(str, object, object)

    def __init__(self, session: Session, history: History, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._history = history
        self._comparison_id = ""
        self._forgotten: set[str] = set()  # deleted while shown: not saved again
        self._unsaved: set[str] = set()  # runs that differ from the history's
        session.comparison_started.connect(self._on_started)
        session.run_changed.connect(self._on_run_changed)
        session.run_cleared.connect(self._on_run_cleared)
        session.comparison_changed.connect(self._on_comparison_changed)
        session.comparison_finished.connect(self._save)
        self._written.connect(self._on_written)

    @Slot(object)
    def forget(self, comparison_ids: Sequence[str]) -> None:
        """Stop saving these comparisons."""
        self._forgotten.update(comparison_ids)

    @Slot(object)
    def _on_started(self, comparison: Comparison) -> None:
        self._comparison_id = comparison.id
        self._unsaved = {run.id for run in comparison.runs}

    @Slot(str)
    def _on_run_cleared(self, name: str) -> None:
        comparison = self._session.comparison
        if comparison is None:
            return
        if comparison.is_finished and comparison.id not in self._forgotten:  # now it is running again
            self._history.mark_running(comparison.id).add_done_callback(partial(self._on_outcome, comparison.id, set()))
        self._unsaved.add(name)

    @Slot(str)
    def _on_run_changed(self, name: str) -> None:
        comparison = self._session.comparison
        if comparison is None:
            return
        if comparison.run(name).is_at_rest:
            self._unsaved.add(name)
            self._save(comparison)

    @Slot(object)
    def _on_comparison_changed(self, comparison: Comparison) -> None:
        names = {run.id for run in comparison.runs}
        self._unsaved |= {run.id for run in comparison.runs if not run.state.is_final}
        self._unsaved &= names
        self._save(comparison)

    @Slot(object)
    def _save(self, comparison: Comparison) -> None:
        """Save only the runs that changed, because writing a long text takes a while."""
        if comparison.id in self._forgotten:
            return
        if any(run.state.is_final or run.speed.ttft_samples is not None for run in comparison.runs):
            names, self._unsaved = self._unsaved, set()
            outcome = self._history.save(comparison, sorted(names))
            outcome.add_done_callback(partial(self._on_outcome, comparison.id, names))

    def _on_outcome(self, comparison_id: str, names: set[str], outcome: "Future[None]") -> None:
        """Called on the history's thread; the signal crosses to the window's."""
        self._written.emit(comparison_id, names, outcome.exception())

    @Slot(str, object, object)
    def _on_written(self, comparison_id: str, names: set[str], error: BaseException | None) -> None:
        if error is None:
            self.saved.emit()
            return
        comparison = self._session.comparison
        if isinstance(error, HistoryGoneError) and comparison is not None and comparison.id == comparison_id:
            self._unsaved = {run.id for run in comparison.runs}
            self._save(comparison)
            return
        if comparison_id == self._comparison_id:
            self._unsaved |= names  # saved with the next change
        if not isinstance(error, sqlite3.Error | OSError):
            raise error
        self.failed.emit(f"The comparison could not be kept in the history: {error}. Export it to keep it.")
