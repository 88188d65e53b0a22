"""Detects out-of-memory errors of any library. Does not import torch, which takes seconds."""

import errno
from collections.abc import Iterator

from qplayground.core.errors import PlaygroundError

_WORDS = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "bad_alloc",
    "_alloc_failed",  # cuBLAS, cuDNN
    "can't start new thread",  # there is no memory for its stack
)


def lack_of_memory(error: BaseException) -> BaseException | None:
    """The exception that reports it: this one, or one that it was raised from. None if neither does."""
    return next((cause for cause in _causes(error) if _is_lack_of_memory(cause)), None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__


def _is_lack_of_memory(error: BaseException) -> bool:
    if isinstance(error, PlaygroundError):
        return False
    if isinstance(error, MemoryError) or any(base.__name__ == "OutOfMemoryError" for base in type(error).__mro__):
        return True  # the latter is torch's
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno == errno.ENOMEM  # the words may be a file's name
    text = str(error).lower()
    return any(words in text for words in _WORDS)
