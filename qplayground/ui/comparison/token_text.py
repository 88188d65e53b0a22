"""A text view of tokens: their positions, their probabilities, and the first difference from another text."""

from bisect import bisect_right
from collections.abc import Sequence
from html import escape
from itertools import accumulate, islice

from PySide6.QtCore import QEvent, QPoint, QSize, Qt, Signal
from PySide6.QtGui import QColor, QHelpEvent, QKeyEvent, QPalette, QResizeEvent, QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QFrame, QPlainTextEdit, QTextEdit, QToolTip

from qplayground.core.measures.divergence import Change
from qplayground.core.tokens import Token
from qplayground.core.units import share_text

_LINES = 5
_SHADE = 28
_MARK = 90
_TINT = 150


def doubt_color(palette: QPalette, probability: float) -> QColor:
    """The background of a token with this probability. It is transparent at 1."""
    color = QColor(palette.color(QPalette.ColorRole.BrightText))
    color.setAlpha(round(_TINT * (1 - probability)))
    return color


class HoveredText(QPlainTextEdit):
    """A read-only text that shows `tip_at` for the position under the mouse."""

    def __init__(self) -> None:
        super().__init__(readOnly=True)
        self.setFrameShape(QFrame.Shape.NoFrame)

    def tip_at(self, position: QPoint) -> str:
        """Rich text about the given position in the viewport; empty if there is nothing."""
        raise NotImplementedError

    def span(self, start: int, end: int) -> QTextCursor:
        """A cursor that selects the text between two document positions."""
        cursor = QTextCursor(self.document())
        cursor.setPosition(start)
        cursor.setPosition(end, QTextCursor.MoveMode.KeepAnchor)
        return cursor

    def ground(self, start: int, end: int, color: QColor) -> QTextEdit.ExtraSelection:
        """A selection with this background colour."""
        selection = QTextEdit.ExtraSelection()
        selection.cursor = self.span(start, end)
        selection.format.setBackground(color)
        return selection

    def viewportEvent(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            QToolTip.showText(event.globalPos(), self.tip_at(event.pos()), self)  # an empty text hides the tool tip
            return True
        return super().viewportEvent(event)


class TokenText(HoveredText):
    """Read-only. A lead in muted colour, then the text, streamed or complete.

    Hovering a token shows its probability, rank and alternatives. `tinted`: the less likely a token, the stronger its
    background. The first token that differs is marked, and the text after it is shaded. A streaming text scrolls to its
    end until the user scrolls away from there.

    Signal: `scrolled_by_hand()`.
    """

    scrolled_by_hand = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self._lead = ""
        self._tokens: list[Token] = []
        self._starts: list[int] = []  # of each token, plus the end, in UTF-16 units of the document
        self._rest = ""
        self._changes: list[Change] | None = None
        self._tinted = False
        self._first_difference: int | None = None
        self._streams = False
        self._follows = True
        self.no_probabilities = ""
        """Why no token has a probability, as a sentence. Empty if they have one, or for a benchmark."""
        self.verticalScrollBar().actionTriggered.connect(self._on_scrolled_by_hand)

    # ---- content ---------------------------------------------------------------------------------------------

    def show_text(self, lead: str, tokens: Sequence[Token], text: str) -> None:
        """Show a complete text.

        Whatever `text` has beyond the tokens, such as a broken last character, is put at the end.
        """
        if not text:
            self._streams, self._follows = False, True  # the text starts again
        self._lead = lead
        written = "".join(token.text for token in tokens)
        if text.startswith(written):
            self._tokens, self._rest = list(tokens), text.removeprefix(written)
        else:
            self._tokens, self._rest = [], text
        self._changes = None
        self._render()

    def show_changes(self, lead: str, changes: Sequence[Change]) -> None:
        """Show a text word by word as its additions and omissions against another."""
        self._lead = lead
        self._changes = list(changes)
        self._tokens, self._rest = [], ""
        self._render()

    def append_tokens(self, tokens: Sequence[Token]) -> None:
        """Append tokens at the end. The view does not move if the user has scrolled up."""
        self._streams = True
        self._tokens += tokens
        self._starts = self._starts or [self._end()]
        cursor = QTextCursor(self.document())
        cursor.movePosition(QTextCursor.MoveOperation.End)
        self._insert_tokens(cursor, tokens)
        self._follow()

    def place(self, share: float) -> None:
        """Scroll to this share of the text, 0 being the top, and stop following the end."""
        self._streams = False
        bar = self.verticalScrollBar()
        bar.setValue(round(share * bar.maximum()))

    def _follow(self) -> None:
        if self._streams and self._follows:
            self.verticalScrollBar().setValue(self.verticalScrollBar().maximum())

    def _on_scrolled_by_hand(self) -> None:
        bar = self.verticalScrollBar()
        self._follows = bar.sliderPosition() == bar.maximum()  # its value comes after this
        self.scrolled_by_hand.emit()

    def stop_following(self) -> None:
        """Stop following the end, because the user scrolled another text and this one with it."""
        self._follows = False

    def set_tinted(self, tinted: bool) -> None:
        """Set whether each token's background shows its probability."""
        if tinted is not self._tinted:
            self._tinted = tinted
            self._render()

    def set_first_difference(self, token: int | None) -> None:
        """Mark the token with this index and shade the text after it. None removes both."""
        self._first_difference = token
        self._shade()

    def token_at(self, position: QPoint) -> Token | None:
        """The token at this position in the viewport."""
        cursor = self.cursorForPosition(position)
        at = cursor.position()
        if self.cursorRect(cursor).x() > position.x():
            at -= 1  # the nearest gap is behind the character
        index = bisect_right(self._starts, at) - 1
        inside = self._tokens and self._starts and self._starts[0] <= at < self._starts[-1]
        return self._tokens[index] if inside and 0 <= index < len(self._tokens) else None

    # ---- drawing ---------------------------------------------------------------------------------------------

    def _render(self) -> None:
        at = self.verticalScrollBar().value()
        self.clear()
        cursor = QTextCursor(self.document())
        cursor.beginEditBlock()
        cursor.insertText(self._lead, self._quiet())
        self._starts = [cursor.position()]
        if self._changes is not None:
            self._insert_changes(cursor, self._changes)
        self._insert_tokens(cursor, self._tokens)
        cursor.insertText(self._rest, self._format(None))
        cursor.endEditBlock()
        self.verticalScrollBar().setValue(at)
        self._shade()

    def _insert_tokens(self, cursor: QTextCursor, tokens: Sequence[Token]) -> None:
        """Insert many tokens as one string, unless each has its own background."""
        if self._tinted or any("\r" in token.text for token in tokens):  # Qt merges \r\n into one character
            for token in tokens:
                cursor.insertText(token.text, self._format(token if self._tinted else None))
                self._starts.append(cursor.position())
            return
        ends = accumulate((_units(token.text) for token in tokens), initial=self._starts[-1])
        self._starts += islice(ends, 1, None)
        cursor.insertText("".join(token.text for token in tokens), self._format(None))

    def _insert_changes(self, cursor: QTextCursor, changes: Sequence[Change]) -> None:
        ours, theirs = self._format(None), self._quiet()
        ours.setBackground(self._accent(_MARK))
        theirs.setFontStrikeOut(True)
        for change in changes:
            cursor.insertText(change.kept + change.uncompared, self._format(None))
            cursor.insertText(change.only_theirs, theirs)
            cursor.insertText(change.only_ours, ours)

    def _shade(self) -> None:
        index = self._first_difference
        if index is None or self._changes is not None or index >= len(self._tokens):
            self.setExtraSelections([])
            return
        start, after = self._starts[index], self._starts[index + 1]
        marked = [self.ground(start, after, self._accent(_MARK))]
        if not self._tinted:  # shading would hide the tint
            marked.append(self.ground(after, self._end(), self._accent(_SHADE)))
        self.setExtraSelections(marked)

    def _end(self) -> int:
        return self.document().characterCount() - 1

    def _accent(self, alpha: int) -> QColor:
        color = QColor(self.palette().color(QPalette.ColorRole.Accent))
        color.setAlpha(alpha)
        return color

    def _quiet(self) -> QTextCharFormat:
        made = QTextCharFormat()
        made.setForeground(self.palette().color(QPalette.ColorRole.PlaceholderText))
        return made

    def _format(self, token: Token | None) -> QTextCharFormat:
        made = QTextCharFormat()
        made.setForeground(self.palette().color(QPalette.ColorRole.Text))
        if token is not None and token.probability is not None:
            made.setBackground(doubt_color(self.palette(), token.probability))
        return made

    # ---- Qt --------------------------------------------------------------------------------------------------

    def sizeHint(self) -> QSize:
        """A few lines: texts take the room that is left, and never make the columns scroll."""
        return QSize(super().sizeHint().width(), _LINES * self.fontMetrics().lineSpacing())

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._follow()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        before = self.verticalScrollBar().value()
        super().keyPressEvent(event)
        if self.verticalScrollBar().value() != before:
            self._on_scrolled_by_hand()

    def tip_at(self, position: QPoint) -> str:
        """The token at this position and its probabilities."""
        token = self.token_at(position)
        return "" if token is None else describe(token, self.no_probabilities)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_first_difference"):
            self._render()


def describe(token: Token, no_probabilities: str = "") -> str:
    """A token and its probabilities as rich text, or why there are none."""
    shown = f"<b>{_visible(token.text)}</b> <small>(id {token.id})</small>"
    if token.probability is None:
        why = escape(no_probabilities) or "A benchmark reads no probabilities."
        return f"{shown}<br>{why}"
    rows = "".join(
        f"<tr><td>{_visible(other.text)}&nbsp;&nbsp;</td><td align='right'>{share_text(other.probability)}</td></tr>"
        for other in token.alternatives
    )
    return f"{shown}<br>{share_text(token.probability)}, rank {token.rank}<table>{rows}</table>"


def _visible(text: str) -> str:
    return escape(text.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥")) or "<i>part of a character</i>"


def _units(text: str) -> int:
    """Length in UTF-16 units, as Qt counts it."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
