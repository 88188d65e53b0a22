"""What a terminal makes of errors: the exit code, and the detail when it is asked for."""

import sys
from collections.abc import Iterable

from qplayground.core.errors import USAGE_ERRORS, ErrorInfo

_HINT = "Add --verbose for the technical detail."


def say_details(errors: Iterable[tuple[str, ErrorInfo]], *, verbose: bool) -> None:
    """Print the detail of each error that has one under its name, or without `verbose` once that there is one.

    The errors themselves are shown elsewhere.
    """
    detailed = [(name, error.detail) for name, error in errors if error.detail]
    if not verbose and detailed:
        print(_HINT, file=sys.stderr)
    for name, detail in detailed if verbose else ():
        print(f"\nDetail of {name}:\n{detail}", file=sys.stderr)


def exit_code(error: ErrorInfo | None) -> int:
    """Of a command of which nothing came: 2 for wrong usage, else 1."""
    return 2 if error is not None and error.code in USAGE_ERRORS else 1
