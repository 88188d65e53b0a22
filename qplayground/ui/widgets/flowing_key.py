"""A chart legend that wraps like text."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from PySide6.QtCore import QPoint, QRect, QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QPalette
from PySide6.QtWidgets import QLabel, QSizePolicy, QWidget

from qplayground.ui.widgets import theme

_SWATCH_WIDTH = 20
_GAP = 4
_UNLIMITED = 2**24 - 1

Paint = Callable[[QPainter, QRect, QWidget], None]


class Phrase(NamedTuple):
    """A few words after an optional swatch. `paint` is called with a painter, the swatch's area and the widget."""

    text: str
    paint: Paint | None = None


class Word(NamedTuple):
    """A word and its area. `swatch` is the area of the swatch before it, empty if there is none."""

    text: str
    area: QRect
    swatch: QRect
    paint: Paint | None


class FlowingKey(QLabel):
    """Phrases in sequence, wrapped between words. A swatch stays beside its first word.

    It is a QLabel for screen readers. It paints itself, because QLabel's rich text can break a line after any image.
    """

    def __init__(self, phrases: Sequence[Phrase], parent: QWidget | None = None) -> None:
        super().__init__(" · ".join(phrase.text for phrase in phrases), parent, textFormat=Qt.TextFormat.PlainText)
        self._phrases = tuple(phrases)
        self.setFont(theme.small(self.font()))
        policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)

    def words(self, width: int) -> list[Word]:
        """The position of each word at this width, in pixels."""
        metrics = self.fontMetrics()
        space, height = metrics.horizontalAdvance(" "), max(metrics.lineSpacing(), theme.SWATCH + 1)
        at, found = QPoint(0, 0), []
        for phrase in self._phrases:
            texts = phrase.text.split(" ")
            texts += ["·"] if phrase is not self._phrases[-1] else []
            for place, text in enumerate(texts):
                paint = None if place else phrase.paint
                before = 0 if paint is None else _SWATCH_WIDTH + _GAP
                wide = before + metrics.horizontalAdvance(text)
                if at.x() and at.x() + wide > width:
                    at = QPoint(0, at.y() + height)
                swatch = QRect(at.x(), at.y() + (height - theme.SWATCH) // 2, _SWATCH_WIDTH - 1, theme.SWATCH - 1)
                area = QRect(at.x() + before, at.y(), wide - before, height)
                found.append(Word(text, area, swatch if paint is not None else QRect(), paint))
                at += QPoint(wide + space, 0)
        return found

    # ---- Qt --------------------------------------------------------------------------------------------------

    def hasHeightForWidth(self) -> bool:
        return True

    def heightForWidth(self, width: int) -> int:
        return max((word.area.bottom() + 1 for word in self.words(width)), default=0)

    def sizeHint(self) -> QSize:
        """One line. The actual height depends on the width."""
        return QSize(1, self.heightForWidth(_UNLIMITED))

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setPen(self.palette().color(QPalette.ColorRole.PlaceholderText))
        for word in self.words(self.width()):
            if word.paint is not None:
                painter.save()
                word.paint(painter, word.swatch, self)
                painter.restore()
            painter.drawText(word.area, Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextDontClip, word.text)
