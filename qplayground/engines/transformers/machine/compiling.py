"""Imports bitsandbytes without torch's compiler, which it requests for functions that are seldom used."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial, wraps
from typing import Any

import torch


@contextmanager
def compiled_at_first_use() -> Iterator[None]:
    """Make `torch.compile` compile a function only when it is first called.

    Otherwise the call itself imports torch's compiler, a quarter of all that an engine imports: 2 of 9 s and 43 MB of
    RAM on the machine of the measurements.
    """
    real = torch.compile

    def compile_later(function: Callable[..., Any] | None = None, **options: Any) -> Any:
        if function is None:
            return partial(compile_later, **options)

        @cache
        def compiled() -> Callable[..., Any]:
            return real(function, **options)

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return compiled()(*args, **kwargs)

        return call

    torch.compile = compile_later  # type: ignore[assignment]  # it has overloads
    try:
        yield
    finally:
        torch.compile = real
