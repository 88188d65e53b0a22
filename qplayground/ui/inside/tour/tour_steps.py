"""The texts of the tour, from `resources/tour/`, one file per step."""

from typing import NamedTuple

from qplayground.core.system.resources import resource

_MARK = "# "


class Step(NamedTuple):
    """`name`: the file's name without its number; `text`: Markdown, with the title as its first line."""

    name: str
    title: str
    text: str


def read_steps() -> list[Step]:
    """The steps, ordered by the numbers in their file names."""
    folder = resource("tour")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".md")), key=lambda file: file.name)
    return [_step(file.name, file.read_text("utf-8")) for file in files]


def _step(file: str, text: str) -> Step:
    name = file.removesuffix(".md").partition("-")[2]
    return Step(name, text.partition("\n")[0].removeprefix(_MARK).strip(), text)
