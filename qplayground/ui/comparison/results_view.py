"""The columns side by side, and the actions on them.

Longer than most modules, because all actions of a column's menu are here.
"""

from functools import partial

from PySide6.QtCore import QPoint, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QAction, QGuiApplication
from PySide6.QtWidgets import (
    QCheckBox,
    QMenu,
    QToolButton,
    QWidget,
)

from qplayground.core.capabilities import Capability
from qplayground.core.comparison.results import TRANSFORMERS, Comparison, Mode, Run, RunState
from qplayground.core.messages.events import PhaseStarted, Progressed
from qplayground.core.precision import Precision
from qplayground.core.tokens import Token
from qplayground.report.markdown import to_markdown
from qplayground.report.script import to_script
from qplayground.ui.comparison.notes_strip import NotesStrip
from qplayground.ui.comparison.run_column import RunColumn
from qplayground.ui.comparison.tint_legend import TintLegend
from qplayground.ui.comparison.token_text import TokenText
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.page import scroll_area
from qplayground.ui.widgets.parts import Act, flat_button, in_column, in_row
from qplayground.ui.widgets.placeholder import Placeholder


class ResultsView(QWidget):
    """One column per run; a hint before the first comparison. Changes nothing itself, it only emits signals.

    Signals, `name` being the precision's: `baseline_chosen(name)`, `run_again_requested(name)`,
    `modules_requested(name)`, `remove_requested(name)`, `move_requested(name, place)`; `add_requested(Precision)`;
    `export_requested()`, `open_requested()`.
    """

    baseline_chosen = Signal(str)
    modules_requested = Signal(str)
    run_again_requested = Signal(str)
    remove_requested = Signal(str)
    move_requested = Signal(str, int)
    add_requested = Signal(object)
    export_requested = Signal()
    open_requested = Signal()

    def __init__(self, *, read_only: bool = False) -> None:
        super().__init__()
        self.columns: dict[str, RunColumn] = {}
        self.comparison: Comparison | None = None
        """The comparison shown."""
        self.addable: tuple[Precision, ...] = ()
        """The precisions that Add offers; those already shown are left out."""
        self._read_only = read_only
        self._read_at: TokenText | None = None
        self.notes = NotesStrip()
        self._scroll = scroll_area(name="Results")
        self._strip = Placeholder(
            "Tick precisions, type a prompt, press Compare.\nEach precision writes its text here."
        )
        self._strip.put(self._scroll)
        in_column(self._build_tools(), self._strip, self.notes, within=self, grows=self._strip)
        self._show_tools()

    # ---- build -----------------------------------------------------------------------------------------------

    def _build_tools(self) -> QWidget:
        self.changes = QCheckBox("&Differences")
        self.changes.setToolTip("Show each text word by word beside the baseline's")
        self.changes.toggled.connect(self._on_changes_toggled)
        self.tint = QCheckBox("&Tint by probability")
        self.tint.setToolTip("The less likely the model found a token, the stronger its ground; hover one for more")
        self.tint.toggled.connect(self._show_tint)
        self.copy = self._button("Co&py", "Copy the figures and all texts as Markdown", self._copy_all)
        self.export = self._button("&Export…", "Save as JSON, HTML, Markdown, CSV (Ctrl+S)", self.export_requested)
        self.open = self._button("Open…", "Open a saved comparison (JSON)", self.open_requested)
        self.add = self._button("&Add ▾", "Add a precision to this comparison and run it", self._show_add_menu)
        self.legend = TintLegend()
        self.legend.hide()
        bar = QWidget()
        tools = (self.changes, self.tint, self.legend, None, self.add, self.copy, self.export, self.open)
        in_row(*tools, within=bar, margins=(theme.GRID + theme.HALF_GRID, theme.HALF_GRID, theme.GRID, 0))
        return bar

    def _button(self, text: str, tip: str, act: Act) -> QToolButton:
        button = flat_button(text, tip, act)
        button.setAccessibleName(text.replace("&", "").rstrip("… ▾"))
        return button

    # ---- model → widget --------------------------------------------------------------------------------------

    @Slot(object)
    def show_comparison(self, comparison: Comparison) -> None:
        """Show the runs in order. A run that is still there keeps its column; free columns are reused for new runs."""
        if comparison is not self.comparison:
            self._read_at = None
        shown = {id(column.run): column for column in self.columns.values()} if comparison is self.comparison else {}
        came = [run.id for run in comparison.runs if run.id not in self.columns] if shown else []
        before = list(self.columns.values())
        kept = [shown.get(id(run)) for run in comparison.runs]
        spare = [column for column in before if column not in kept]
        self.comparison = comparison
        self.columns = {}
        for run, column in zip(comparison.runs, kept, strict=True):
            if column is not None:
                column.refresh()
            elif spare:
                column = spare.pop(0)
                column.show_run(comparison, run)
            else:
                column = self._make_column(comparison, run)
            self.columns[run.id] = column
        if list(self.columns.values()) != before:
            self._lay_out()
        self._strip.reveal()
        self.notes.show_comparison(comparison)
        self._show_tools()
        if came:
            QTimer.singleShot(0, self, lambda: self._reveal(came[-1]))  # after the columns are laid out

    @Slot(str)
    def refresh_run(self, name: str) -> None:
        """Show a run's state and figures. The baseline's figures affect all columns."""
        if name not in self.columns:
            return
        comparison = self.comparison
        assert comparison is not None
        state = comparison.run(name).state
        everyone = comparison.baseline == name and state.is_final
        for column in self.columns.values() if everyone else (self.columns[name],):
            column.refresh()
        if state is not RunState.GENERATING:  # a new note moves the columns, so not while text streams in
            self.notes.show_comparison(comparison)

    @Slot(str)
    def clear_run(self, name: str) -> None:
        """Clear a run's text, because it starts again."""
        if name not in self.columns:
            return
        comparison = self.comparison
        everyone = comparison is not None and comparison.baseline == name
        for column in self.columns.values() if everyone else (self.columns[name],):
            column.show_text()
            column.refresh()

    @Slot(str, object)
    def add_tokens(self, name: str, tokens: tuple[Token, ...]) -> None:
        """Append new tokens to a run's text."""
        if name in self.columns:
            self.columns[name].add_tokens(tokens)

    @Slot(str, object)
    def show_phase(self, name: str, event: PhaseStarted) -> None:
        """Show what the run's engine is doing."""
        if name in self.columns:
            self.columns[name].show_phase(event.phase)

    @Slot(str, object)
    def show_progress(self, name: str, event: Progressed) -> None:
        """Show the progress of the run's phase."""
        if name in self.columns:
            self.columns[name].show_progress(event)

    def _lay_out(self) -> None:
        """Put the columns into a new strip, which sets their tab order and deletes columns without a run."""
        strip = QWidget()
        margins = (theme.HALF_GRID, 0, theme.HALF_GRID, theme.HALF_GRID)
        in_row(*self.columns.values(), within=strip, spacing=theme.HALF_GRID, margins=margins)
        old = self._scroll.takeWidget()
        self._scroll.setWidget(strip)
        if old is not None:
            old.deleteLater()

    def _reveal(self, name: str) -> None:
        if name in self.columns:
            self._scroll.ensureWidgetVisible(self.columns[name])

    def _make_column(self, comparison: Comparison, run: Run) -> RunColumn:
        column = RunColumn(comparison, run, is_saved=self._read_only)
        column.text.set_tinted(self._is_tinted)
        if self.changes.isChecked():
            column.show_text(True)
        column.menu_requested.connect(partial(self._show_menu, column))
        column.details_requested.connect(partial(self._show_failure, column))
        column.text.scrolled_by_hand.connect(partial(self._scroll_together, column.text))
        return column

    def _show_tools(self) -> None:
        there = self.comparison is not None
        for widget in (self.changes, self.copy, self.export):
            widget.setEnabled(there)
        self.tint.setEnabled(there and not self.changes.isChecked())
        self._show_legend()
        self.add.setVisible(not self._read_only)
        self.add.setEnabled(there)
        self.open.setVisible(not self._read_only)

    def _show_legend(self) -> None:
        """Show the legend beside tinted texts. Not in a benchmark, which reads no probabilities."""
        timed = self.comparison is not None and self.comparison.mode is Mode.BENCHMARK
        self.legend.setVisible(self.tint.isChecked() and self.tint.isEnabled() and not timed)

    # ---- widget → model --------------------------------------------------------------------------------------

    def _scroll_together(self, moved: TokenText) -> None:
        """Scrolling by hand scrolls all texts by the same share. Automatic scrolling moves its own text only."""
        self._read_at = moved
        moved_bar = moved.verticalScrollBar()
        share = moved_bar.sliderPosition() / max(moved_bar.maximum(), 1)
        for column in self.columns.values():
            bar = column.text.verticalScrollBar()
            if bar is not moved_bar:
                bar.setValue(round(share * bar.maximum()))
                if share < 1:
                    column.text.stop_following()

    @Slot(object)
    def line_up(self, _comparison: Comparison) -> None:
        """Align all texts for comparison, once writing has ended: at the top, or where the user scrolled to."""
        texts = [column.text for column in self.columns.values()]
        share = 0.0
        if self._read_at in texts:
            bar = self._read_at.verticalScrollBar()
            share = bar.value() / max(bar.maximum(), 1)
        for text in texts:
            if text is not self._read_at:
                text.place(share)

    @Slot(bool)
    def _on_changes_toggled(self, shown: bool) -> None:
        for column in self.columns.values():
            column.show_text(shown)
        self.tint.setEnabled(not shown)  # changed words have no probability
        self._show_tint()

    @Slot()
    def _show_tint(self) -> None:
        self._show_legend()
        for column in self.columns.values():
            column.text.set_tinted(self._is_tinted)

    @property
    def _is_tinted(self) -> bool:
        """No text is tinted while differences are shown, not even the baseline's."""
        return self.tint.isChecked() and not self.changes.isChecked()

    def _show_menu(self, column: RunColumn, button: QToolButton) -> None:
        self.make_menu(column.run.id).popup(button.mapToGlobal(QPoint(0, button.height())))

    def _show_failure(self, column: RunColumn) -> None:
        name, error = column.run.id, column.run.error
        if error is not None:
            from qplayground.ui.dialogs.failure_dialog import FailureDialog

            dialog = FailureDialog(name, error, can_run_again=not self._read_only, parent=self)
            dialog.run_again_requested.connect(partial(self.run_again_requested.emit, name))
            dialog.open()

    def make_menu(self, name: str) -> QMenu:
        """The menu of actions on this run."""
        comparison = self.comparison
        assert comparison is not None
        run = comparison.run(name)
        place, count = comparison.runs.index(run), len(comparison.runs)
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._action(menu, "Use as &baseline", name != comparison.baseline, partial(self.baseline_chosen.emit, name))
        if not self._read_only:
            self._action(menu, "&Run again", run.state.is_final, partial(self.run_again_requested.emit, name))
        known = bool(run.memory.by_module)
        was_left_out = run.memory.by_kind is not None and not known
        title = "Memory by &module (not saved at that time)" if was_left_out else "Memory by &module…"
        modules = self._action(menu, title, known, partial(self.modules_requested.emit, name))
        modules.setToolTip(theme.tip(run.lacks.get(Capability.WEIGHTS, "")))
        menu.setToolTipsVisible(Capability.WEIGHTS in run.lacks)
        menu.addSeparator()
        self._action(menu, "Copy &text", bool(run.text), partial(_copy, f"{comparison.lead}{run.text}"))
        has_script = run.engine == TRANSFORMERS
        self._action(menu, "Copy as &Python script", has_script, lambda: _copy(to_script(comparison, run)))
        if not self._read_only:
            menu.addSeparator()
            self._action(menu, "Move &left", place > 0, partial(self.move_requested.emit, name, place - 1))
            self._action(menu, "Move r&ight", place + 1 < count, partial(self.move_requested.emit, name, place + 1))
            removable = run.state.is_final and count > 1
            self._action(menu, "Re&move", removable, partial(self.remove_requested.emit, name))
        return menu

    def _action(self, menu: QMenu, text: str, enabled: bool, act: object) -> QAction:
        action = menu.addAction(text)
        action.setEnabled(enabled)
        action.triggered.connect(lambda: act())  # type: ignore[operator]
        return action

    @Slot()
    def _show_add_menu(self) -> None:
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        for precision in self.addable:
            if precision.name not in self.columns:
                self._action(
                    menu, precision.label.replace("&", "&&"), True, partial(self.add_requested.emit, precision)
                )
        menu.popup(self.add.mapToGlobal(QPoint(0, self.add.height())))

    @Slot()
    def _copy_all(self) -> None:
        if self.comparison is not None:
            _copy(to_markdown(self.comparison))


def _copy(text: str) -> None:
    QGuiApplication.clipboard().setText(text)
