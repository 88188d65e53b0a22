"""Putting every comparison into the history as it comes about."""

import sqlite3
from concurrent.futures import Future

from PySide6.QtCore import QObject, Signal, Slot

from qplayground.core.results import Comparison
from qplayground.runtime.history import History
from qplayground.runtime.session import Session


class Recorder(QObject):
    """Saves after each run that is over, so that a kill loses the run in work at most.

    Signals: `saved()` when the history holds something new, `failed(str)` with a sentence when it could not be written.
    """

    saved = Signal()
    failed = Signal(str)

    def __init__(self, session: Session, history: History, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._history = history
        session.run_changed.connect(self._on_run_changed)
        session.comparison_changed.connect(self._save)
        session.comparison_finished.connect(self._save)
        self._over: set[str] = set()  # the runs that have ended since they were saved last
        self._kept_id = ""
        session.comparison_started.connect(self._over.clear)

    @Slot(str)
    def _on_run_changed(self, name: str) -> None:
        comparison = self._session.comparison
        if comparison is not None and comparison.run(name).state.is_final:
            self._over.add(name)
            if not comparison.is_finished:
                self._save(comparison)

    @Slot(object)
    def _save(self, comparison: Comparison) -> None:
        """The runs that ended alone: the others are kept already, and a long text takes a while to write down."""
        if any(run.state.is_final for run in comparison.runs):
            changed = sorted(self._over) if comparison.id == self._kept_id else None
            self._history.save(comparison, changed).add_done_callback(self._on_saved)
            self._over.clear()
            self._kept_id = comparison.id

    def _on_saved(self, outcome: "Future[None]") -> None:
        """On the history's thread; signals cross over to the window's."""
        error = outcome.exception()
        if error is None:
            self.saved.emit()
        elif isinstance(error, sqlite3.Error | OSError):
            self.failed.emit(f"The comparison could not be kept in the history: {error}. Export it to keep it.")
        else:
            raise error
