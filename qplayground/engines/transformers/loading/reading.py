"""How much of a checkpoint has been read, and how much of it came from the disk."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
from transformers.utils import logging

from qplayground.engines.transformers.machine.mapped_files import HELD_SOURCE_BYTES, release_pages
from qplayground.engines.transformers.model.checkpoint import Checkpoint
from qplayground.engines.transformers.progress import OnProgress


def bytes_read_from_disk() -> int | None:
    """Bytes that this process has read from the disk so far, including mapped files, excluding the page cache.

    None where the system does not count them.
    """
    if sys.platform != "linux":
        return None
    try:
        return int(psutil.Process().io_counters().read_bytes)
    except (psutil.Error, OSError, NotImplementedError):  # a kernel without the accounting
        return None


@contextmanager
def loading_progress(checkpoint: Checkpoint, on_progress: OnProgress) -> Iterator[None]:
    """Report transformers' own per-tensor progress, in bytes.

    A tensor counts once the library asks for the next one, that is, when it has been placed.
    """

    def hook(factory: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if kwargs.get("desc") != "Loading weights":
            return factory(*args, **kwargs)
        return _counted(list(args[0]), checkpoint, on_progress)

    previous = logging.set_tqdm_hook(hook)
    try:
        yield
    finally:
        logging.set_tqdm_hook(previous)


def _counted(items: list[Any], checkpoint: Checkpoint, on_progress: OnProgress) -> Iterator[Any]:
    total = checkpoint.total_bytes
    known = sum(checkpoint.tensor_bytes.get(name, 0) for name, _ in items)
    unnamed = sum(1 for name, _ in items if name not in checkpoint.tensor_bytes)
    share = (total - known) // unnamed if unnamed else 0  # merged or renamed tensors have no size of their own
    done = 0
    held = 0
    for item in items:
        on_progress("Reading weights", done, total)
        yield item
        size = checkpoint.tensor_bytes.get(item[0], share)
        done += size
        held += size
        if held >= HELD_SOURCE_BYTES:
            release_pages(checkpoint.files)
            held = 0
    on_progress("Reading weights", total, total)
