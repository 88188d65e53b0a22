"""Folders for weights that are kept on disk and cannot be read from the checkpoint in place; gone with their engine."""

import shutil
from pathlib import Path

from qplayground.core.placement import Placement
from qplayground.core.system.temporary import owned_prefix
from qplayground.runtime.storage.preferences import cache_folder


class OffloadFolders:
    """Owner of the folders of one session's engines. None is made before an engine needs it."""

    def __init__(self) -> None:
        self._folders: dict[str, Path] = {}

    def folder(self, placement: Placement, name: str) -> str:
        """That of an engine, in the user's folder or in the cache, where `leftovers` clears up."""
        self._folders[name] = offload_folder(placement) / f"{owned_prefix('offload')}{name}"
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


def offload_folder(placement: Placement) -> Path:
    """Where an engine's folder is made: the user's, or the default one."""
    return Path(placement.offload_folder) if placement.offload_folder else default_offload_folder()


def default_offload_folder() -> Path:
    """Where they are when the user names no folder."""
    return cache_folder() / "offload"
