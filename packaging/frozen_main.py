"""Where the frozen program starts, and its engines, fork server and resource tracker too.

They are this same executable again. `freeze_support` (PyInstaller's) knows by the arguments what it is to be, and
returns only in the program itself, so nothing else is imported before it.
"""

import multiprocessing
import sys

if __name__ == "__main__":
    multiprocessing.freeze_support()

    from pathlib import Path

    if Path(sys.executable).stem == "qplayground-window":  # Windows' program without a terminal
        from qplayground.cli import main_window as main
    else:
        from qplayground.__main__ import main

    sys.exit(main())
