"""Temporary files and folders whose names say whose they are, so that what a killed program left can be told."""

import contextlib
import re
import shutil
from pathlib import Path

from qplayground.core.system.owner import Owner, this_process

_OWNED = re.compile(r"qplayground-(?:[a-z]+-)?([0-9a-f]{8})-(\d{1,9})-(\d{1,20})-.+")


def owned_prefix(kind: str = "") -> str:
    """What the name of a file or folder begins with that is this process's own, and of no use once it has ended."""
    owner = this_process()
    return f"qplayground-{kind}{'-' if kind else ''}{owner.machine}-{owner.pid}-{owner.started}-"


def is_owned(path: Path) -> bool:
    """Whether it is such a file or folder, whosever it is."""
    return _OWNED.fullmatch(path.name) is not None


def clear_left(folder: Path) -> None:
    """Remove what such processes of this machine left there as do not live any more. What cannot be removed stays."""
    with contextlib.suppress(OSError):
        for left in folder.iterdir():
            found = _OWNED.fullmatch(left.name)
            if found is None:
                continue
            owner = Owner(found[1], int(found[2]), int(found[3]))
            if not owner.is_here or owner.lives:
                continue
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    left.unlink()
