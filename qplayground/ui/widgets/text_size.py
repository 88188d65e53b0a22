"""The text size of the whole program: applied at once in all windows, and saved."""

from collections.abc import Callable
from functools import partial

from PySide6.QtCore import Qt
from PySide6.QtGui import QAction, QFont, QKeySequence
from PySide6.QtWidgets import QApplication, QWidget

from qplayground.runtime.storage.preferences import TEXT_PERCENTS, Preferences
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.menu_button import MenuButton

_USUAL = 100
_SIZE = 0x0002  # QFont::SizeResolved, which PySide6 does not expose


class TextSize(MenuButton):
    """A button that shows the text size. Its menu has three actions, whose shortcuts work in every window."""

    def __init__(self, preferences: Preferences, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._preferences = preferences
        self.setToolTip("How large text is, in every window (Ctrl++, Ctrl+-, Ctrl+0)")
        self.larger = self._action("&Larger text", ["Ctrl++", "Ctrl+="], partial(self._step, 1))
        self.smaller = self._action("&Smaller text", ["Ctrl+-"], partial(self._step, -1))
        self.usual = self._action("&Usual size", ["Ctrl+0"], partial(self._choose, _USUAL))
        self._show()

    def _action(self, text: str, keys: list[str], act: Callable[[], None]) -> QAction:
        action = self.menu().addAction(text)
        action.setShortcuts([QKeySequence(key) for key in keys])
        action.setShortcutContext(Qt.ShortcutContext.ApplicationShortcut)
        action.triggered.connect(act)
        self.addAction(action)
        return action

    @property
    def percent(self) -> int:
        """Per cent of the system's text size."""
        return self._preferences.text_percent

    def _show(self) -> None:
        apply(self.percent)
        self.setText(f"Text {self.percent} % ▾")
        self.setAccessibleName(f"Text size: {self.percent} %")
        self.larger.setEnabled(self.percent < TEXT_PERCENTS[-1])
        self.smaller.setEnabled(self.percent > TEXT_PERCENTS[0])
        self.usual.setEnabled(self.percent != _USUAL)

    def _choose(self, percent: int) -> None:
        self._preferences.set_text_percent(percent)
        self._show()

    def _step(self, steps: int) -> None:
        place = TEXT_PERCENTS.index(self.percent) + steps
        self._choose(TEXT_PERCENTS[min(max(place, 0), len(TEXT_PERCENTS) - 1)])


def apply(percent: int) -> None:
    """Scale the text of all current and future widgets to `percent` of the system's size."""
    app = QApplication.instance()
    assert isinstance(app, QApplication)
    factor = percent / 100 / theme.text_scale()
    if abs(factor - 1) < 1e-6:
        return
    app.setProperty(theme.TEXT_PERCENT, percent)
    # Widgets with their own font size do not follow the application's font.
    own = [(widget, _scaled(widget.font(), factor)) for widget in app.allWidgets() if _has_own_size(widget)]
    app.setFont(_scaled(app.font(), factor))
    for widget, font in own:
        widget.setFont(font)


def _has_own_size(widget: QWidget) -> bool:
    return widget.testAttribute(Qt.WidgetAttribute.WA_SetFont) and bool(widget.font().resolveMask() & _SIZE)


def _scaled(font: QFont, factor: float) -> QFont:
    copy = QFont(font)
    if font.pointSizeF() > 0:
        copy.setPointSizeF(font.pointSizeF() * factor)
    else:
        copy.setPixelSize(max(1, round(font.pixelSize() * factor)))
    return copy
