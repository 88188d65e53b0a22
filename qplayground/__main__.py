"""`python -m qplayground`."""

import sys

from qplayground.cli import main

if __name__ == "__main__":
    sys.exit(main())
