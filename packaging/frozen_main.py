"""Where the frozen program itself starts, after `frozen_child.py`."""

import sys
from pathlib import Path


def run() -> int:
    """The program that the executable's name says; its exit code."""
    if Path(sys.executable).stem == "qplayground-window":  # Windows' program without a terminal
        from qplayground.cli import main_window

        return main_window()
    from qplayground.__main__ import main

    return main()


if __name__ == "__main__":
    del __file__  # what starts a child tells it to import that script, which is no file here
    sys.exit(run())
