"""The files that come with the program, where a checkout has them."""

from pathlib import Path

from qplayground.core.system.resources import resource

FOLDER = Path(__file__).parents[2] / "resources"


def test_every_file_of_the_checkout_is_found() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert resource(path.relative_to(FOLDER).as_posix()).read_bytes() == path.read_bytes()
