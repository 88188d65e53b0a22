"""Files are written whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from qplayground.core.system.saving import save_file


def test_a_file_is_written_and_written_over(tmp_path: Path) -> None:
    file = tmp_path / "file"
    save_file(file, b"one")
    assert file.read_bytes() == b"one" and file.stat().st_mode & 0o077
    file.chmod(0o600)
    save_file(file, b"another")
    assert file.read_bytes() == b"another" and file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_a_link_goes_on_pointing_there(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    link.symlink_to(file)
    save_file(link, b"one")
    assert link.is_symlink() and file.read_bytes() == b"one"


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    read, write = os.pipe()
    save_file(Path(f"/proc/self/fd/{write}"), b"one")
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read() == b"one"


def test_what_is_private_is_for_nobody_else(tmp_path: Path) -> None:
    save_file(tmp_path / "file", b"one", private=True)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_links_that_go_round_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to(tmp_path / "two")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    with pytest.raises(OSError):
        save_file(tmp_path / "one" / "file", b"one")


def test_what_is_no_file_is_written_to() -> None:
    save_file(Path(os.devnull), b"one")
    assert not Path(os.devnull).is_file()


@pytest.mark.parametrize("step", ["write", "replace"])
def test_a_failure_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    file = tmp_path / "file"
    save_file(file, b"one")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*{"write": (os, "fsync", full), "replace": (Path, "replace", full)}[step])
    with pytest.raises(OSError, match="No space"):
        save_file(file, b"another")
    assert list(tmp_path.iterdir()) == [file] and file.read_bytes() == b"one"
