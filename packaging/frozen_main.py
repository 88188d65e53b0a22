"""Where the frozen program starts, and its engines, fork server and resource tracker too.

They are this same executable again. `freeze_support` (PyInstaller's) knows by the arguments what it is to be, and
returns only in the program itself, so nothing else is imported before it.
"""

import multiprocessing
import sys

if __name__ == "__main__":
    multiprocessing.freeze_support()

    from qplayground.cli import main

    sys.exit(main())
