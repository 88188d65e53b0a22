"""Where the frozen program itself starts, after `frozen_child.py`."""

import sys

if __name__ == "__main__":
    from pathlib import Path

    if Path(sys.executable).stem == "qplayground-window":  # Windows' program without a terminal
        from qplayground.cli import main_window as main
    else:
        from qplayground.__main__ import main

    sys.exit(main())
