"""Where the program begins: `qplayground` and `python -m qplayground`."""

import signal
import sys


def main() -> int:
    """Run the command line; its exit code.

    Until something else answers Ctrl-C it ends the program without a word, as it ends other programs: a shell says
    130. Python would print a traceback of whatever it was importing.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else whoever started it has it ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from qplayground.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
