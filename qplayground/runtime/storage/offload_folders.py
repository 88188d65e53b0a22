"""Folders for weights offloaded to disk that cannot be read from the checkpoint. Deleted with their engine."""

import shutil
from pathlib import Path

from qplayground.core.placement import Placement
from qplayground.core.system.temporary import owned_prefix
from qplayground.runtime.storage.preferences import cache_folder


class OffloadFolders:
    """Owner of the offload folders of a session's engines. The engines create them when needed."""

    def __init__(self) -> None:
        self._folders: dict[str, Path] = {}

    def folder(self, placement: Placement, name: str) -> str:
        """The engine's folder, inside the user's or the cache, where `leftovers` cleans up."""
        self._folders[name] = offload_folder(placement) / f"{owned_prefix('offload')}{name}"
        return str(self._folders[name])

    def clear(self, name: str) -> None:
        """Delete the folder of an engine that is gone."""
        folder = self._folders.pop(name, None)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def clear_all(self) -> None:
        """Delete all folders; all engines are gone."""
        for name in list(self._folders):
            self.clear(name)


def offload_folder(placement: Placement) -> Path:
    """The parent of engines' folders: the user's, or the default."""
    return Path(placement.offload_folder) if placement.offload_folder else default_offload_folder()


def default_offload_folder() -> Path:
    """The parent of engines' folders if the user names none."""
    return cache_folder() / "offload"
