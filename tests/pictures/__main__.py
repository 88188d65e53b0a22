"""Pictures of the real window after a real comparison of the demo model: `python -m tests.pictures FOLDER`.

Makes one picture for each tab, size and scheme. Look at them after a change to the window. With --guide, makes only
those of the README and the guide: `python -m tests.pictures --guide docs/pictures`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.display import display

SIZES = ((1280, 720), (1920, 1080))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.pictures", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--guide", action="store_true", help="only the pictures of the README and the guide")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with display() as screen, tempfile.TemporaryDirectory() as config:
        environment = {**os.environ, **screen, "QPLAYGROUND_CONFIG": config}
        command = [sys.executable, "-m", "tests.pictures.take", str(arguments.folder.absolute())]
        command += ["--guide"] * arguments.guide
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
