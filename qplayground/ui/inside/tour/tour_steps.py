"""The texts of the tour, which lie in `resources/tour/`, one file a step."""

import importlib.resources
from typing import NamedTuple

_FOLDER = "resources/tour"
_MARK = "# "


class Step(NamedTuple):
    """`name` is its file's without the number, `text` Markdown whose first line is the title."""

    name: str
    title: str
    text: str


def read_steps() -> list[Step]:
    """In their order, by the numbers that the files' names begin with."""
    folder = importlib.resources.files("qplayground") / _FOLDER
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".md")), key=lambda file: file.name)
    return [_step(file.name, file.read_text("utf-8")) for file in files]


def _step(file: str, text: str) -> Step:
    name = file.removesuffix(".md").partition("-")[2]
    return Step(name, text.partition("\n")[0].removeprefix(_MARK).strip(), text)
