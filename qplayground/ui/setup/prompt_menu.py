"""Prompts to choose from: the ones that come with the program, and the ones that were run before."""

from collections.abc import Callable, Sequence

import msgspec
from PySide6.QtCore import Qt, Signal

from qplayground.core.system.resources import resource
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.menu_button import MenuButton

_CHARACTERS = 48


class TitledPrompt(msgspec.Struct, frozen=True):
    """One entry of a menu."""

    title: str
    prompt: str


def example_prompts() -> tuple[TitledPrompt, ...]:
    """The prompts that come with the program."""
    data = resource("prompts.json").read_bytes()
    return msgspec.json.decode(data, type=tuple[TitledPrompt, ...])


class PromptMenu(MenuButton):
    """A button with a menu of prompts, read from `entries` whenever it opens.

    Signals: `chosen(str)` with the whole prompt.
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
