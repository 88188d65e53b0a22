"""Folders for weights that are kept on disk and cannot be read from the checkpoint in place; gone with their engine."""

import os
import re
import shutil
import socket
from pathlib import Path

import platformdirs
import psutil

from qplayground.core.placement import Placement
from qplayground.runtime.preferences import kept_folder

_PREFIX = f"qplayground-offload-{socket.gethostname()}-"
_LEFT = re.compile(rf"{re.escape(_PREFIX)}(\d{{1,9}})-.+")


class OffloadFolders:
    """Owner of the folders of one session's engines. None is made before an engine needs it."""

    def __init__(self) -> None:
        self._folders: dict[str, Path] = {}

    def folder(self, placement: Placement, name: str) -> str:
        """That of an engine. What a killed program left in the cache is cleared up; a folder of the user's is not
        looked into.
        """
        above = Path(placement.offload_folder) if placement.offload_folder else _cleared(_default())
        self._folders[name] = above / f"{_PREFIX}{os.getpid()}-{name}"
        return str(self._folders[name])

    def clear(self, name: str) -> None:
        """Its engine is gone."""
        folder = self._folders.pop(name, None)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def clear_all(self) -> None:
        """All engines are."""
        for name in list(self._folders):
            self.clear(name)


def _cleared(folder: Path) -> Path:
    for left in folder.iterdir() if folder.is_dir() else ():
        found = _LEFT.fullmatch(left.name)
        if found is not None and not psutil.pid_exists(int(found[1])):
            shutil.rmtree(left, ignore_errors=True)
    return folder


def _default() -> Path:
    kept = kept_folder()
    return (platformdirs.user_cache_path("qplayground") if kept is None else kept / "cache") / "offload"
