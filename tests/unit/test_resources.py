"""The files that come with the program, at their place in a checkout."""

from pathlib import Path

from qplayground.core.system.resources import document, resource

FOLDER = Path(__file__).parents[2] / "resources"


def test_every_file_of_the_checkout_is_found() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert resource(path.relative_to(FOLDER).as_posix()).read_bytes() == path.read_bytes()


def test_the_guide_and_its_pictures_are_found() -> None:
    docs = FOLDER.parent / "docs"
    for path in (docs / "guide.md", *(docs / "pictures").iterdir()):
        assert document(path.relative_to(docs).as_posix()).read_bytes() == path.read_bytes()
