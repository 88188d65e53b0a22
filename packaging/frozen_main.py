"""Start of the frozen program itself. Runs after `frozen_child.py`."""

import sys
from pathlib import Path


def run() -> int:
    """Run the program that the executable's name stands for; returns its exit code."""
    if Path(sys.executable).stem == "qplayground-window":  # on Windows, the program without a terminal
        from qplayground.cli import main_window

        return main_window()
    from qplayground.__main__ import main

    return main()


if __name__ == "__main__":
    del __file__  # otherwise a child is told to import this script, which is not a file here
    sys.exit(run())
