"""Folders for weights that are kept on disk and cannot be read from the checkpoint in place; gone with their engine."""

import os
import shutil
from pathlib import Path

import platformdirs
import psutil

from qplayground.core.placement import Placement
from qplayground.runtime.preferences import kept_folder

_PREFIX = "qplayground-offload-"


class OffloadFolders:
    """Owner of the folders of one session's engines. None is made before an engine needs it."""

    def __init__(self) -> None:
        self._folders: dict[str, Path] = {}

    def folder(self, placement: Placement, name: str) -> str:
        """That of an engine; what a killed program left beside it is cleared up."""
        above = Path(placement.offload_folder) if placement.offload_folder else _default()
        for left in above.glob(f"{_PREFIX}*") if above.is_dir() else ():
            pid = left.name.removeprefix(_PREFIX).partition("-")[0]
            if not (pid.isdecimal() and psutil.pid_exists(int(pid))):
                shutil.rmtree(left, ignore_errors=True)
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


def _default() -> Path:
    kept = kept_folder()
    return (platformdirs.user_cache_path("qplayground") if kept is None else kept / "cache") / "offload"
