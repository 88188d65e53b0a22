"""Deletes what killed programs left in shared folders. On a thread, because weights on a slow disk take a while."""

import contextlib
import functools
import tempfile
import threading
from pathlib import Path

from qplayground.core.system.temporary import clear_left
from qplayground.runtime.storage.offload_folders import default_offload_folder


@functools.cache
def clear_leftovers() -> threading.Thread:
    """Start clearing, once per process. Returns the thread; there is no need to wait for it."""
    thread = threading.Thread(target=_clear, name="leftovers", daemon=True)
    thread.start()
    return thread


def _clear() -> None:
    with contextlib.suppress(OSError):  # no temporary folder; starting an engine reports that
        clear_left(Path(tempfile.gettempdir()))
    clear_left(default_offload_folder())
