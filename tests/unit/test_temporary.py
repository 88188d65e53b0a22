"""Temporary files that say whose they are, and what a later start does with those that are nobody's any more."""

import os
import subprocess
import sys
from pathlib import Path

import psutil

from qplayground.core.temporary import clear_left, owned_prefix

HERE = owned_prefix().removesuffix(f"-{os.getpid()}-")
NOBODY = f"{HERE}-999999999-"


def test_what_a_dead_program_left_goes_and_all_else_stays(tmp_path: Path) -> None:
    assert not psutil.pid_exists(999999999)
    outside = tmp_path / "outside"
    (outside / "folder").mkdir(parents=True)
    folder = tmp_path / "tmp"
    (folder / f"{NOBODY}folder" / "below").mkdir(parents=True)
    (folder / f"{NOBODY}folder" / "below" / "config.json").touch()
    (folder / f"{NOBODY}1.log").touch()
    (folder / f"{NOBODY}link").symlink_to(outside)
    living = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    stay = [
        f"{owned_prefix()}1.log",
        f"{owned_prefix('offload')}nf4",
        f"{HERE}-{living.pid}-1.log",
        f"{HERE}x-999999999-1.log",  # another machine's
        f"{HERE}-999999999",
        f"{HERE}-{9**30}-1.log",
        f"mine-{NOBODY}1.log",
        "qplayground-abcdefgh.log",
    ]
    for name in stay:
        (folder / name).touch()
    try:
        clear_left(folder)
    finally:
        living.communicate(b"\n")
    assert sorted(path.name for path in folder.iterdir()) == sorted(stay)
    assert (outside / "folder").is_dir()
    clear_left(folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(set(stay) - {stay[2]})


def test_a_folder_that_is_not_there_is_nothing_to_clear(tmp_path: Path) -> None:
    clear_left(tmp_path / "nowhere")
