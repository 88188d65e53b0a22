"""One row in the list of precisions: check box, hue, summary, size, and the options in place."""

from PySide6.QtCore import QEvent, QObject, QSize, Qt, Signal
from PySide6.QtGui import QMouseEvent, QPainter, QPaintEvent, QPalette
from PySide6.QtWidgets import (
    QCheckBox,
    QFrame,
    QGridLayout,
    QLabel,
    QSizePolicy,
    QStyle,
    QStyleOptionButton,
    QStylePainter,
    QWidget,
)

from qplayground.core.precision import Precision
from qplayground.core.quantizers.installed import missing
from qplayground.ui.setup.precision_editor import NO_BFLOAT16, PrecisionEditor
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.parts import flat_button


class _TickBox(QCheckBox):
    """A check box that elides its text if it does not fit."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.GRID * 9, super().minimumSizeHint().height())

    def paintEvent(self, event: QPaintEvent) -> None:
        option = QStyleOptionButton()
        self.initStyleOption(option)
        room = self.style().subElementRect(QStyle.SubElement.SE_CheckBoxContents, option, self).width()
        room -= self.iconSize().width() + theme.HALF_GRID
        option.text = self.fontMetrics().elidedText(self.text(), Qt.TextElideMode.ElideRight, room)
        QStylePainter(self).drawControl(QStyle.ControlElement.CE_CheckBox, option)


class _ElidedLabel(QLabel):
    """One line of secondary text, elided if it does not fit."""

    def __init__(self) -> None:
        super().__init__(textFormat=Qt.TextFormat.PlainText)
        self.setFont(theme.small(self.font()))
        self.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setPen(self.palette().color(self.foregroundRole()))
        room = self.rect().adjusted(self.indent(), 0, 0, 0)
        text = self.fontMetrics().elidedText(self.text(), Qt.TextElideMode.ElideRight, room.width())
        painter.drawText(room, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, text)


class PrecisionRow(QFrame):
    """One precision in the list. Signal: `activated()` when it gets the focus or a mouse click."""

    activated = Signal()

    def __init__(self, precision: Precision, *, ready: bool) -> None:
        super().__init__()
        self.precision = precision
        self._shown: tuple[Precision, bool, bool] | None = None
        self._current = False
        self.tick = _TickBox()
        self.tick.setIconSize(QSize(theme.SWATCH, theme.SWATCH))
        self.size_text = QLabel(
            textFormat=Qt.TextFormat.PlainText, alignment=Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        )
        self.size_text.setFont(theme.tabular(theme.small(self.size_text.font())))
        self.options = flat_button("⚙", checkable=True)
        self.summary = _ElidedLabel()
        self.editor = PrecisionEditor(precision, ready=ready)
        self.editor.hide()
        grid = QGridLayout(self)
        grid.setContentsMargins(theme.GRID, theme.HALF_GRID // 2, theme.HALF_GRID, theme.HALF_GRID // 2)
        grid.setHorizontalSpacing(theme.GRID)
        grid.setVerticalSpacing(0)
        grid.setColumnStretch(0, 1)
        grid.addWidget(self.tick, 0, 0)
        grid.addWidget(self.size_text, 0, 1)
        grid.addWidget(self.options, 0, 2, 2, 1, Qt.AlignmentFlag.AlignVCenter)
        grid.addWidget(self.summary, 1, 0, 1, 2)
        self.summary.setIndent(_label_indent(self.tick))
        grid.addWidget(self.editor, 2, 0, 1, 3)
        self.options.toggled.connect(self.editor.setVisible)
        for child in (self.tick, self.options):
            child.installEventFilter(self)

    def set_precision(self, precision: Precision, *, edited: bool, replaced: bool) -> None:
        """Show a precision. `edited`: built-in, but with changed options; `replaced`: float16 instead of bfloat16."""
        if self._shown == (precision, edited, replaced):
            return  # keeps pending input in the editor
        self._shown = (precision, edited, replaced)
        self.precision = precision
        self.tick.setText(precision.label.replace("&", "&&"))
        self.tick.setAccessibleName(precision.label)
        self.tick.setAccessibleDescription(precision.summary)
        self.options.setToolTip(theme.literal(f"Options of {precision.label}"))
        self.options.setAccessibleName(f"Options of {precision.label}")
        self.summary.setText(f"edited: {precision.summary}" if edited else precision.summary)
        tooltip = [f"{precision.label}: {precision.summary}."]
        if edited:
            tooltip.append("Its options were edited. Reset restores the original ones.")
        if replaced:
            tooltip.append(NO_BFLOAT16)
        error = missing(precision.quantization)
        self.tick.setEnabled(error is None)
        if error is not None:
            tooltip.append(str(error))
        for widget in (self.tick, self.summary):
            widget.setToolTip(theme.literal("\n".join(tooltip)))
        self._paint_swatch()
        self.editor.set_precision(precision, edited=edited)

    def set_current(self, current: bool) -> None:
        """Mark the row as the one that a new precision is copied from."""
        self._current = current
        self.update()

    def tab_chain(self) -> list[QWidget]:
        """The widgets in tab order."""
        return [self.tick, self.options, *self.editor.controls(), self.editor.reset, self.editor.remove]

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        if self._current:
            painter = QPainter(self)
            accent = self.palette().color(QPalette.ColorRole.Accent)
            painter.fillRect(0, 0, theme.HALF_GRID // 2, self.height(), accent)
            accent.setAlphaF(0.08)
            painter.fillRect(self.rect(), accent)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self.activated.emit()
        self.tick.setFocus(Qt.FocusReason.MouseFocusReason)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.FocusIn:
            self.activated.emit()
        return super().eventFilter(watched, event)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._paint_swatch()

    def _paint_swatch(self) -> None:
        self.tick.setIcon(theme.swatch(self.precision.name, self))


def _label_indent(tick: QCheckBox) -> int:
    """The indent of the check box's text, in pixels."""
    style = tick.style()
    return style.pixelMetric(QStyle.PixelMetric.PM_IndicatorWidth, None, tick) + style.pixelMetric(
        QStyle.PixelMetric.PM_CheckBoxLabelSpacing, None, tick
    )
