"""Menus of example prompts and recent prompts."""

from collections.abc import Callable, Sequence

import msgspec
from PySide6.QtCore import Qt, Signal

from qplayground.core.system.resources import resource
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.menu_button import MenuButton

_CHARACTERS = 48


class TitledPrompt(msgspec.Struct, frozen=True):
    """A menu entry."""

    title: str
    prompt: str


def example_prompts() -> tuple[TitledPrompt, ...]:
    """The example prompts that come with the program."""
    data = resource("prompts.json").read_bytes()
    return msgspec.json.decode(data, type=tuple[TitledPrompt, ...])


class PromptMenu(MenuButton):
    """A button with a menu of prompts, read from `entries` each time it opens.

    Signal: `chosen(str)` with the full prompt.
    """

    chosen = Signal(str)

    def __init__(self, text: str, tooltip: str, entries: Callable[[], Sequence[TitledPrompt]]) -> None:
        super().__init__()
        self._entries = entries
        self.setText(text)
        self.setToolTip(tooltip)
        self.setArrowType(Qt.ArrowType.DownArrow)
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.setAccessibleName(text.replace("&", ""))
        self.setAccessibleDescription(tooltip)
        self._menu = self.menu()
        self._menu.setToolTipsVisible(True)
        self._menu.aboutToShow.connect(self._fill)

    def _fill(self) -> None:
        self._menu.clear()
        for entry in self._entries():
            action = self._menu.addAction(_one_line(entry.title).replace("&", "&&"))
            action.setToolTip(theme.literal(entry.prompt))
            action.triggered.connect(lambda _=False, chosen=entry.prompt: self.chosen.emit(chosen))
        if self._menu.isEmpty():
            self._menu.addAction("None yet").setEnabled(False)


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _CHARACTERS else f"{line[: _CHARACTERS - 1]}…"
