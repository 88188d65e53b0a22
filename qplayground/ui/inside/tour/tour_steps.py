"""The texts of the tour, which lie in `resources/tour/`, one file a step."""

from typing import NamedTuple

from qplayground.core.system.resources import resource

_MARK = "# "


class Step(NamedTuple):
    """`name` is its file's without the number, `text` Markdown whose first line is the title."""

    name: str
    title: str
    text: str


def read_steps() -> list[Step]:
    """In their order, by the numbers that the files' names begin with."""
    folder = resource("tour")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".md")), key=lambda file: file.name)
    return [_step(file.name, file.read_text("utf-8")) for file in files]


def _step(file: str, text: str) -> Step:
    name = file.removesuffix(".md").partition("-")[2]
    return Step(name, text.partition("\n")[0].removeprefix(_MARK).strip(), text)
