"""Whether the library of a family is there: some are optional."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version

from qplayground.core.diagnosis.findings import version_numbers
from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.quantizers.base import Quantizer
from qplayground.core.system.frozen import remedy


@cache  # a millisecond of looking through files, and asked for every layer
def installed_version(library: str) -> str:
    """The version of an installed package when it was first asked for; empty where it is not installed."""
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def missing(options: Quantizer | None) -> ErrorInfo | None:
    """What to install for it; None where it is there, and new enough."""
    if options is None:
        return None
    found = installed_version(options.library)
    if found and version_numbers(found) >= version_numbers(options.oldest_library):
        return None
    if found:
        message = f"{options.library} {found} is too old: {options.oldest_library} is needed."
    else:
        message = f"{options.library} is not installed, which quantizes to {options.name}."
    return ErrorInfo(
        ErrorCode.MISSING_PACKAGE,
        message,
        remedy(
            f"Install it: pip install {'--upgrade ' * bool(found)}{options.library}",
            "This build of the program does not include it. Install the program as a Python package to use it.",
        ),
    )
