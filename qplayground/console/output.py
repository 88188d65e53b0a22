"""Where a command's results go: standard output, files, and standard error for what failed."""

import os
import sys
from pathlib import Path

from qplayground.console.details import exit_code, say_details
from qplayground.core.comparison.results import Comparison
from qplayground.core.errors import ErrorCode, ErrorInfo, PlaygroundError, fail
from qplayground.core.system.saving import save_file
from qplayground.report.files import write_all

STDOUT = "-"


def complain(error: ErrorInfo | None, *, verbose: bool) -> int:
    """Why nothing came of a command; the exit code."""
    print(f"qplayground: {error}", file=sys.stderr)
    if error is not None:
        say_details((("this error", error),), verbose=verbose)
    return exit_code(error)


def check_target(target: str | None) -> None:
    """Refuse before the work where its result could not be put."""
    if target is not None and target != STDOUT:
        path = Path(target)
        if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise _unwritable(path, "it is a folder" if path.is_dir() else "its folder is missing or not writable")


def write_result(target: str | None, data: bytes, text: str) -> None:
    """Show the text, or the data where standard output is the target; write the data into a file that is one."""
    if target == STDOUT:
        sys.stdout.flush()
        sys.stdout.buffer.write(data + b"\n")  # JSON is UTF-8, whatever the terminal speaks
        sys.stdout.buffer.flush()
        return
    try:
        if target is not None:
            write(Path(target), data)
    finally:  # what took hours is not lost with the file
        if text:
            print(text)


def write(path: Path, data: bytes) -> None:
    """Raises PlaygroundError where that cannot be written."""
    try:
        save_file(path, data)
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error


def make_folder(folder: Path) -> None:
    """Refuse before the work where the reports could not be put."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error.strerror or str(error)) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _unwritable(folder)


def write_reports(comparison: Comparison, folder: Path) -> None:
    """Every report. Raises PlaygroundError where they cannot be written."""
    try:
        written = write_all(comparison, folder)
    except OSError as error:
        raise _unwritable(folder, error.strerror or str(error)) from error
    print(f"{len(written)} files are in {folder}.", file=sys.stderr)


def _unwritable(path: Path, detail: str = "") -> PlaygroundError:
    why = f": {detail}" if detail else ""
    return fail(ErrorCode.BAD_SETTINGS, f"{path} cannot be written{why}.", "Name another place.")
