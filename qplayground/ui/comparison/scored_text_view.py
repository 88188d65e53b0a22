"""The scored text. The background of each token shows its divergence."""

import math
from bisect import bisect_right
from itertools import accumulate

from PySide6.QtCore import QPoint, Signal
from PySide6.QtGui import QColor, QMouseEvent, QPalette
from PySide6.QtWidgets import QTextEdit

from qplayground.core.measures.quality import Evaluation, ScoredTokens
from qplayground.core.units import number_text, share_text
from qplayground.ui.comparison.token_text import HoveredText
from qplayground.ui.widgets import theme

_STRONGEST = 190
_FULL_NATS = 1.0
_GAP = " … "


class ScoredTextView(HoveredText):
    """Read-only. Hover a token to see what both models expected there. Signal: `picked(int)`, the clicked token."""

    picked = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("The scored text; the stronger a token's ground, the farther it diverges")
        self._starts: list[int] = []
        self._pieces: tuple[str, ...] = ()
        self._names = ("", "")
        self._reference: ScoredTokens | None = None
        self._candidate: ScoredTokens | None = None
        self._hue = QColor()
        self._selected: int | None = None

    def show_run(
        self,
        evaluation: Evaluation | None,
        names: tuple[str, str],
        reference: ScoredTokens | None,
        candidate: ScoredTokens | None,
        hue: QColor,
    ) -> None:
        """Show a candidate's divergence in this hue. `names`: the reference's and the candidate's."""
        self._names, self._reference, self._candidate, self._hue = names, reference, candidate, hue
        pieces = () if evaluation is None else _with_gaps(evaluation)
        if pieces != self._pieces:
            self._pieces = pieces
            self.setPlainText("".join(pieces))
            lengths = (len(piece.encode("utf-16-le")) // 2 for piece in pieces)
            self._starts = [0, *accumulate(lengths)]
        self._shade()

    def select(self, token: int) -> None:
        """Scroll to a scored token and mark it."""
        if not 0 <= token < len(self._pieces):
            return
        self._selected = token
        self.setTextCursor(self.span(self._starts[token], self._starts[token + 1]))
        self.centerCursor()
        self._shade()

    def expectations(self, token: int) -> list[str]:
        """The token at this index and what both models expected there, one sentence each."""
        if not 0 <= token < len(self._pieces):
            return []
        lines = [f"Here stands {self._pieces[token]!r}."]
        for name, scored in zip(self._names, (self._reference, self._candidate), strict=True):
            if scored is not None and token < len(scored.nll):
                expected, likely = scored.top[token], share_text(scored.top_p.values[token])
                given = share_text(math.exp(-scored.nll.values[token]))
                lines.append(f"{name} expected {expected!r} ({likely}), and this with {given}.")
        if self._candidate is not None and token < len(self._candidate.kld):
            lines.append(f"Divergence: {number_text(self._candidate.kld.values[token])} nats.")
        return lines

    def tip_at(self, position: QPoint) -> str:
        """What was expected at this position."""
        token = self._token_at(position)
        return "" if token is None else "<br>".join(theme.tip(line) for line in self.expectations(token))

    def _shade(self) -> None:
        klds = [] if self._candidate is None else list(self._candidate.kld.values)
        selections = []
        for token, kld in enumerate(klds[: len(self._pieces)]):
            alpha = round(_STRONGEST * min(1.0, max(0.0, kld) / _FULL_NATS) ** 0.5)
            if alpha < 8:
                continue
            ground = QColor(self._hue)
            ground.setAlpha(alpha)
            selections.append(self._on_ground(token, ground))
        if self._selected is not None and self._selected < len(self._pieces):
            selections.append(self._on_ground(self._selected, self.palette().color(QPalette.ColorRole.Accent)))
        self.setExtraSelections(selections)

    def _on_ground(self, token: int, color: QColor) -> QTextEdit.ExtraSelection:
        return self.ground(self._starts[token], self._starts[token + 1], color)

    def _token_at(self, position: QPoint) -> int | None:
        token = bisect_right(self._starts, self.cursorForPosition(position).position()) - 1
        return token if 0 <= token < len(self._pieces) else None

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        super().mouseReleaseEvent(event)
        token = self._token_at(event.position().toPoint())
        if token is not None and not self.textCursor().hasSelection():
            self._selected = token
            self._shade()
            self.picked.emit(token)


def _with_gaps(evaluation: Evaluation) -> tuple[str, ...]:
    """The pieces, with a gap mark where tokens between two windows were not scored."""
    before = [None, *evaluation.positions]
    return tuple(
        (piece if previous is None or position == previous + 1 else f"{_GAP}{piece}").replace("\r", "\u240d")
        for previous, position, piece in zip(before, evaluation.positions, evaluation.pieces, strict=False)
    )
