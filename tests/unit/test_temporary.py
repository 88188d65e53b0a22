"""Temporary files that name their owner, and what a later start does with those of dead owners."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from qplayground.core.system.owner import this_process
from qplayground.core.system.temporary import clear_left, owned_prefix

HERE, _, STARTED = owned_prefix().removesuffix("-").rpartition(f"-{os.getpid()}-")
NOBODY = f"{HERE}-999999999-1-"


ELSEWHERE = """
from pathlib import Path
readlink = Path.readlink
Path.readlink = lambda path: Path("pid:[1]") if str(path) == "/proc/self/ns/pid" else readlink(path)
from qplayground.core.system.owner import this_process
print(this_process().machine)
"""
"""Prints the machine's name as a process in another container sees it."""


def test_what_a_dead_program_left_goes_and_all_else_stays(tmp_path: Path) -> None:
    assert not psutil.pid_exists(999999999)
    outside = tmp_path / "outside"
    (outside / "folder").mkdir(parents=True)
    folder = tmp_path / "tmp"
    (folder / f"{NOBODY}folder" / "below").mkdir(parents=True)
    (folder / f"{NOBODY}folder" / "below" / "config.json").touch()
    (folder / f"{NOBODY}1.log").touch()
    (folder / f"{NOBODY}link").symlink_to(outside)
    says = "from qplayground.core.system.temporary import owned_prefix; print(owned_prefix(), flush=True); input()"
    pipe = subprocess.PIPE
    living = subprocess.Popen([sys.executable, "-c", says], stdin=pipe, stdout=pipe, text=True)
    assert living.stdout is not None
    stay = [
        f"{owned_prefix()}1.log",
        f"{owned_prefix('offload')}nf4",
        f"{living.stdout.readline().strip()}1.log",
        f"{HERE}x-999999999-1-1.log",  # another machine's
        f"{HERE}-999999999-1",
        f"{HERE}-{9**30}-1-1.log",
        f"mine-{NOBODY}1.log",
        "qplayground-abcdefgh.log",
    ]
    for name in stay:
        (folder / name).touch()
    try:
        clear_left(folder)
    finally:
        living.communicate("\n")
    assert sorted(path.name for path in folder.iterdir()) == sorted(stay)
    assert (outside / "folder").is_dir()
    clear_left(folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(set(stay) - {stay[2]})


def test_a_folder_that_is_not_there_is_nothing_to_clear(tmp_path: Path) -> None:
    clear_left(tmp_path / "nowhere")


def test_a_process_that_has_anothers_id_does_not_keep_what_that_left(tmp_path: Path) -> None:
    """In a container the program is always process 1."""
    left = tmp_path / f"{HERE}-{os.getpid()}-{int(STARTED) - 1}-1.log"
    mine = tmp_path / f"{owned_prefix()}1.log"
    for path in (left, mine):
        path.touch()
    clear_left(tmp_path)
    assert list(tmp_path.iterdir()) == [mine]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has pid namespaces")
def test_what_a_living_process_of_another_container_of_that_name_uses_stays(
    tmp_path: Path,
) -> None:
    done = subprocess.run([sys.executable, "-c", ELSEWHERE], capture_output=True, text=True, check=True)
    there = done.stdout.strip()
    theirs = tmp_path / f"qplayground-offload-{there}-999999999-1-nf4"
    theirs.mkdir()
    clear_left(tmp_path)
    assert theirs.exists() and there != this_process().machine
