"""The list of precisions: tick, edit, add and remove them."""

from itertools import pairwise

import msgspec
from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QApplication, QWidget

from qplayground.core import hues
from qplayground.core.errors import PlaygroundError
from qplayground.core.precision import Precision
from qplayground.core.quantizers.installed import missing
from qplayground.runtime.storage.preferences import Preferences
from qplayground.ui.setup.precision_row import PrecisionRow
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.page import scroll_area
from qplayground.ui.widgets.parts import button, heading, in_column, in_row


class PrecisionPanel(QWidget):
    """Shows the precisions, which are ticked, and their options. The preferences own all three.

    Signal: `precisions_changed()`.
    """

    precisions_changed = Signal()

    def __init__(self, preferences: Preferences) -> None:
        super().__init__()
        self._preferences = preferences
        self._bfloat16 = True
        self._rows: list[PrecisionRow] = []
        self._current: PrecisionRow | None = None
        self._just_made: Precision | None = None
        self._build()
        self.refresh()

    # ---- public methods -------------------------------------------------------------------------------------------

    def selected(self) -> tuple[Precision, ...]:
        """The ticked precisions in list order, as they run on this machine."""
        ticked, usable = self._preferences.ticked, self.usable()
        return tuple(row.precision for row in self._rows if row.precision.name in ticked and row.precision in usable)

    def precisions(self) -> tuple[Precision, ...]:
        """All precisions in list order, as they run on this machine."""
        return tuple(row.precision for row in self._rows)

    def usable(self) -> tuple[Precision, ...]:
        """The precisions whose libraries are installed."""
        return tuple(precision for precision in self.precisions() if missing(precision.quantization) is None)

    def set_bfloat16_available(self, available: bool) -> None:
        """Without bfloat16, show and run the built-in quantized precisions with float16."""
        if available != self._bfloat16:
            self._bfloat16 = available
            self.refresh()
            self.precisions_changed.emit()

    def set_size_text(self, name: str, text: str, tooltip: str = "", *, warns: bool = False) -> None:
        """Show the model's size beside a precision. Unknown names are ignored."""
        row = self.row(name)
        if row:
            row.size_text.setText(text)
            row.size_text.setToolTip(theme.literal(tooltip))
            row.size_text.setAccessibleName(f"Size in {row.precision.label}: {text}" if text else "")
            role = QPalette.ColorRole.BrightText if warns else QPalette.ColorRole.PlaceholderText
            row.size_text.setForegroundRole(role)

    def row(self, name: str) -> PrecisionRow | None:
        """The row of this precision."""
        return next((row for row in self._rows if row.precision.name == name), None)

    def escape(self) -> None:
        """Close the focused options and discard pending input. A precision that was just created is removed."""
        focused = QApplication.focusWidget()
        row = next((row for row in self._rows if row.options.isChecked()), None)
        if row is None or focused is None or not self.isAncestorOf(focused):
            return
        row.editor.discard()
        if row.precision == self._just_made:
            self._on_remove(row)
        else:
            row.options.setFocus()
            row.options.setChecked(False)

    # ---- build ----------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        title = heading("Precisions")
        title.setContentsMargins(theme.GRID, 0, 0, 0)
        inner = QWidget()
        self._list = in_column(None, within=inner)
        self._scroll = scroll_area(inner, name="Precisions", only_down=True)
        self._scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.new = button("&New precision…", self._on_new)
        theme.follow_text(self, lambda: self.setMinimumWidth(round(theme.GRID * 36 * theme.text_scale())))
        in_column(
            title,
            self._scroll,
            in_row(self.new, None, margins=(theme.GRID, 0, theme.GRID, 0)),
            within=self,
            grows=self._scroll,
            spacing=theme.HALF_GRID,
            margins=(0, theme.GRID, 0, theme.GRID),
        )

    def _add_row(self, precision: Precision) -> PrecisionRow:
        row = PrecisionRow(precision, ready=self._preferences.is_ready(precision.name))
        row.tick.clicked.connect(self._on_ticked)
        row.activated.connect(lambda: self._make_current(row))
        row.options.toggled.connect(lambda opened: self._on_options_toggled(row, opened))
        row.editor.edited.connect(lambda edited: self._on_edited(row, edited))
        row.editor.reset_requested.connect(lambda: self._on_reset(row))
        row.editor.remove_requested.connect(lambda: self._on_remove(row))
        row.editor.error_shown.connect(lambda: self._reveal(row.editor.error))
        self._list.insertWidget(len(self._rows), row)
        self._rows.append(row)
        row.show()  # else it stays hidden until the next event and cannot take focus
        return row

    # ---- model → widget -------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Show the saved precisions. Rows that stay keep their place, size text and open options."""
        shown = {row.precision.name: row for row in self._rows}
        known = self._preferences.all_precisions()
        for name in shown.keys() - {precision.name for precision in known}:
            self._drop_row(shown[name])
        for kept in known:
            row = shown.get(kept.name) or self._add_row(kept)
            replace = self._preferences.is_ready(kept.name) and not self._bfloat16
            precision = kept.without_bfloat16() if replace else kept
            edited = self._preferences.is_edited(kept.name)
            row.set_precision(precision, edited=edited, replaced=precision != kept)
            row.editor.set_bfloat16_available(self._bfloat16)
            row.tick.setChecked(kept.name in self._preferences.ticked and missing(kept.quantization) is None)
        self._chain_tabs()
        if self._current is None and self._rows:
            self._make_current(self._rows[0])

    def _drop_row(self, row: PrecisionRow) -> None:
        self._rows.remove(row)
        if row is self._current:
            self._current = None
        row.hide()
        row.deleteLater()

    def _chain_tabs(self) -> None:
        chain = [widget for row in self._rows for widget in row.tab_chain()] + [self.new]
        for before, after in pairwise(chain):
            QWidget.setTabOrder(before, after)

    def _make_current(self, row: PrecisionRow) -> None:
        self._current = row
        for other in self._rows:
            other.set_current(other is row)
        self.new.setToolTip(
            f"Make a precision of your own, starting from a copy of {row.precision.label}; Esc removes it again"
        )
        self.new.setAccessibleDescription(self.new.toolTip())

    def _reveal(self, widget: QWidget) -> None:
        # After the layout has placed what was just shown.
        QTimer.singleShot(0, widget, lambda: self._scroll.ensureWidgetVisible(widget, 0, theme.GRID))

    # ---- widget → model -------------------------------------------------------------------------------------------

    def _on_ticked(self) -> None:
        self._preferences.set_ticked(tuple(row.precision.name for row in self._rows if row.tick.isChecked()))

    def _on_options_toggled(self, row: PrecisionRow, opened: bool) -> None:
        if not opened:
            self._just_made = None  # closed, so a new precision stays
            return
        for other in self._rows:
            other.options.setChecked(other is row)
        self._make_current(row)
        self._reveal(row.editor)
        self._reveal(row.tick)

    def _on_edited(self, row: PrecisionRow, edited: Precision) -> None:
        old = row.precision.name
        try:
            self._preferences.save_precision(edited, replacing=old)
        except PlaygroundError as error:
            row.editor.show_error(str(error))
            return
        hues.rename(old, edited.name)
        row.precision = edited
        self._after_change()

    def _on_reset(self, row: PrecisionRow) -> None:
        self._preferences.reset_precision(row.precision.name)
        self._after_change()
        row.options.setFocus()

    def _on_remove(self, row: PrecisionRow) -> None:
        self._preferences.remove_precision(row.precision.name)
        self._after_change()
        self.new.setFocus()

    def _on_new(self) -> None:
        if self._current is None:
            return
        like = self._current.precision
        name = self._preferences.new_name(like.name)
        made = msgspec.structs.replace(like, name=name, label=name)
        self._preferences.save_precision(made)
        self._preferences.set_ticked((*self._preferences.ticked, name))
        self._after_change()
        row = self._rows[-1]
        row.options.setChecked(True)  # closes the other rows' options
        self._just_made = made
        row.editor.name.setFocus()
        row.editor.name.selectAll()

    def _after_change(self) -> None:
        self.refresh()
        self.precisions_changed.emit()
