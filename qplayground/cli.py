"""The command line: which command runs, and what its end means. Without one the window opens."""

import argparse
import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from qplayground.console.arguments import add_general, build_parser, check_sampling, request_of, split_files
from qplayground.console.details import exit_code, say_details
from qplayground.core.errors import ErrorCode, PlaygroundError, fail

_OUTPUT_FAILS = (errno.ENOSPC, errno.EIO, errno.EBADF, errno.EFBIG)


def has_display() -> bool:
    """Whether a window can be shown here."""
    if sys.platform != "linux":
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code: 0 fine, 1 something failed, 2 wrong usage."""
    return _guarded(lambda: run_program(argv))


def main_window(argv: Sequence[str] | None = None) -> int:
    """The program as a desktop starts it: the window or nothing, since nobody would see a table. Codes as `main`'s."""
    if sys.stdout is None or sys.stderr is None:  # Windows gives a program without a console none
        nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - it lasts as long as the program
        sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere
    return _guarded(lambda: open_window(argv))


def _guarded(run: Callable[[], int]) -> int:
    """What `run` returns; 1 where its output cannot be written."""
    for stream in (sys.stdout, sys.stderr):  # a terminal without some character shows another and loses no result
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        code = run()
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever reads has heard enough
        _give_up_output()
        return 1
    except OSError as error:
        if error.errno not in _OUTPUT_FAILS:
            raise
        _give_up_output()
        reason = error.strerror or str(error)
        print(f"qplayground: the result cannot be written: {reason}. Send it elsewhere.", file=sys.stderr)
        return 1


def _give_up_output() -> None:
    """What is still held back for standard output would fail once more at the end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def open_window(argv: Sequence[str] | None) -> int:
    """The window alone; the exit code."""
    parser = argparse.ArgumentParser(
        prog="qplayground-window",
        usage="%(prog)s [-h] [--version] [--watchdog] [FILE ...]",
        description="Open the window of qplayground, which compares quantized language models on this machine, with "
        "the saved comparisons (JSON) that are named.",
        epilog="Without a display use `qplayground compare`.",
    )
    add_general(parser)
    rest, files = split_files(sys.argv[1:] if argv is None else argv)
    arguments = parser.parse_args(rest)
    try:
        if not has_display():
            raise fail(
                ErrorCode.UNSUPPORTED,
                "There is no display here: neither DISPLAY nor WAYLAND_DISPLAY is set.",
                "Use `qplayground compare`, which needs none.",
            )
        _check_qt(windowed=True)
        return _show_window(arguments, files)
    except PlaygroundError as error:
        _refuse(error)


def run_program(argv: Sequence[str] | None) -> int:
    """What the arguments ask for: a command or the window, without a display a comparison. Returns the exit code."""
    parser = build_parser()
    rest, files = split_files(sys.argv[1:] if argv is None else argv)
    arguments = parser.parse_args(rest)
    if arguments.command == "compare":
        check_sampling(parser, arguments)
    try:
        _check_qt(windowed=arguments.command is None and has_display())
        from qplayground.console import commands

        match arguments.command:
            case "compare":
                return commands.run_compare(arguments, request_of(arguments))
            case "estimate":
                return commands.run_estimate(arguments)
            case "inspect":
                return commands.run_inspect(arguments)
            case "doctor":
                return commands.run_doctor(arguments.json)
            case "models":
                return commands.run_models(arguments.json)
        if has_display():
            return _show_window(arguments, files)
        if arguments.watchdog:
            raise fail(
                ErrorCode.UNSUPPORTED,
                "--watchdog watches the window, and there is no display here to open one.",
                "Start it where there is a display.",
            )
        if files:
            return commands.run_shown(files)
        print("There is no display here, so the comparison runs without a window.", file=sys.stderr)
        arguments = parser.parse_args(["compare"])
        check_sampling(parser, arguments)
        return commands.run_without_display(arguments, request_of(arguments))
    except PlaygroundError as error:
        _refuse(error, verbose=getattr(arguments, "verbose", None))


def _show_window(arguments: argparse.Namespace, files: Sequence[Path]) -> int:
    """Open it, and saved comparisons beside it, until it is closed. Raises PlaygroundError where Qt cannot show one."""
    from qplayground.runtime.machine.display import check_display
    from qplayground.runtime.machine.system_libraries import explain_import
    from qplayground.runtime.processes.launcher import Launcher

    try:
        from qplayground.ui.application import run
    except ImportError as error:
        raise explain_import(error, windowed=True) from error
    check_display()
    return run(Launcher(), watched=arguments.watchdog, files=files)


def _check_qt(*, windowed: bool = False) -> None:
    """Import what every command needs. Raises PlaygroundError where the system lacks libraries for it."""
    try:
        import qplayground.console.commands  # noqa: F401
    except ImportError as error:
        from qplayground.runtime.machine.system_libraries import explain_import

        raise explain_import(error, windowed=windowed) from error


def _refuse(error: PlaygroundError, *, verbose: bool | None = None) -> NoReturn:
    """`verbose` is None where a command has no such option."""
    print(f"qplayground: {error.info}", file=sys.stderr)
    if verbose is not None:
        say_details((("this error", error.info),), verbose=verbose)
    raise SystemExit(exit_code(error.info))
