"""A text that knows its tokens: where each one stands, what the model thought of it, where it leaves another text."""

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
    """The ground of a token that was so likely: none for a sure one."""
    color = QColor(palette.color(QPalette.ColorRole.BrightText))
    color.setAlpha(round(_TINT * (1 - probability)))
    return color


class HoveredText(QPlainTextEdit):
    """Read-only, and of `tip_at` what is under the mouse."""

    def __init__(self) -> None:
        super().__init__(readOnly=True)
        self.setFrameShape(QFrame.Shape.NoFrame)

    def tip_at(self, position: QPoint) -> str:
        """Rich text on what stands at a place in the viewport, empty where nothing does."""
        raise NotImplementedError

    def span(self, start: int, end: int) -> QTextCursor:
        """What stands between two places in the document."""
        cursor = QTextCursor(self.document())
        cursor.setPosition(start)
        cursor.setPosition(end, QTextCursor.MoveMode.KeepAnchor)
        return cursor

    def ground(self, start: int, end: int, color: QColor) -> QTextEdit.ExtraSelection:
        """That on a ground of a colour of its own."""
        selection = QTextEdit.ExtraSelection()
        selection.cursor = self.span(start, end)
        selection.format.setBackground(color)
        return selection

    def viewportEvent(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            QToolTip.showText(event.globalPos(), self.tip_at(event.pos()), self)  # an empty one is hidden
            return True
        return super().viewportEvent(event)


class TokenText(HoveredText):
    """Read-only. A lead in quiet colour, then the text, streamed or whole.

    Hovering a token shows its probability, rank and alternatives. `tinted`: the less likely a token, the stronger its
    ground. The first token that differs is marked, and what follows it is shaded. What streams is followed to its end
    until a reader scrolls away from there.

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
        self._starts: list[int] = []  # of each token, in the document's UTF-16 units; one more for the end
        self._rest = ""
        self._changes: list[Change] | None = None
        self._tinted = False
        self._first_difference: int | None = None
        self._streams = False
        self._follows = True
        self.no_probabilities = ""
        """Why none of its tokens has a probability, as a sentence; empty where that is not so, or a benchmark's."""
        self.verticalScrollBar().actionTriggered.connect(self._on_scrolled_by_hand)

    # ---- what it shows ---------------------------------------------------------------------------------------

    def show_text(self, lead: str, tokens: Sequence[Token], text: str) -> None:
        """Show a whole text. What `text` has beyond the tokens' own (a last broken character) stands at the end."""
        if not text:
            self._streams, self._follows = False, True  # it is written anew
        self._lead = lead
        written = "".join(token.text for token in tokens)
        if text.startswith(written):
            self._tokens, self._rest = list(tokens), text.removeprefix(written)
        else:
            self._tokens, self._rest = [], text
        self._changes = None
        self._render()

    def show_changes(self, lead: str, changes: Sequence[Change]) -> None:
        """Show a text as what it has and lacks beside another, word by word."""
        self._lead = lead
        self._changes = list(changes)
        self._tokens, self._rest = [], ""
        self._render()

    def append_tokens(self, tokens: Sequence[Token]) -> None:
        """Add tokens at the end; a reader who has scrolled up stays there."""
        self._streams = True
        self._tokens += tokens
        self._starts = self._starts or [self._end()]
        cursor = QTextCursor(self.document())
        cursor.movePosition(QTextCursor.MoveOperation.End)
        self._insert_tokens(cursor, tokens)
        self._follow()

    def place(self, share: float) -> None:
        """Scroll to that share of the way, 0 at the top; nothing is followed any more."""
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
        """Stay where it is: a reader has scrolled another text, and this one with it."""
        self._follows = False

    def set_tinted(self, tinted: bool) -> None:
        """Whether each token's ground shows how likely it was."""
        if tinted is not self._tinted:
            self._tinted = tinted
            self._render()

    def set_first_difference(self, token: int | None) -> None:
        """Mark the token of that index and shade what follows; None for neither."""
        self._first_difference = token
        self._shade()

    def token_at(self, position: QPoint) -> Token | None:
        """The token at a place in the viewport."""
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
        """Thousands at once are no more work than their text, unless each has a ground of its own."""
        if self._tinted or any("\r" in token.text for token in tokens):  # Qt makes one character of \r\n
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
        if not self._tinted:  # the shade would cover the tint
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
        """A few lines: the texts get the room that is left, and never make the columns scroll."""
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
        """A token and the model's view of it."""
        token = self.token_at(position)
        return "" if token is None else describe(token, self.no_probabilities)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_first_difference"):
            self._render()


def describe(token: Token, no_probabilities: str = "") -> str:
    """A token and the model's view of it, as rich text, or why there is no view."""
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
    """Length as Qt counts it."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
