"""What killed programs left in shared folders, cleared by a thread of its own: weights on a slow disk take a while."""

import contextlib
import functools
import tempfile
import threading
from pathlib import Path

from qplayground.core.system.temporary import clear_left
from qplayground.runtime.storage.offload_folders import default_offload_folder


@functools.cache
def clear_leftovers() -> threading.Thread:
    """Begin with it, once a process. Returns the thread, which nobody has to wait for."""
    thread = threading.Thread(target=_clear, name="leftovers", daemon=True)
    thread.start()
    return thread


def _clear() -> None:
    with contextlib.suppress(OSError):  # there is no temporary folder, which starting an engine tells
        clear_left(Path(tempfile.gettempdir()))
    clear_left(default_offload_folder())
