"""Hundreds of random comparisons, cancels, faults and changes: `python -m tests.soak [SEED]`, or `make soak`.

Runs 200 on the scripted engine and 20 on the demo model. Each kind has its own window process, with the watchdog on. At
the end, memory, threads, processes and files must be as at the start. Otherwise the exit code is 1.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.display import display
from tests.benchmarks.figures import Figure, table

ROUNDS = {"scripted engine": 200, "demo model": 20}
_MB = 1_000_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("seed", nargs="?", type=int, default=random.SystemRandom().randrange(10**6))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    figures = []
    with display() as screen:
        for kind, rounds in ROUNDS.items():
            found = _soak(kind, rounds, arguments.seed, screen)
            print(table(found), flush=True)
            figures += found
    return 0 if all(figure.met for figure in figures) else 1


def _soak(kind: str, rounds: int, seed: int, screen: dict[str, str]) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / "tmp"
        temporary.mkdir()
        places = {"QPLAYGROUND_CONFIG": f"{folder}/config", "TMPDIR": str(temporary)}
        command = [sys.executable, "-m", "tests.soak.window", kind, str(rounds), str(seed)]
        environment = {**os.environ, **screen, **places}
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        left = json.loads(done.stdout.splitlines()[-1])
        there = (
            path for path in temporary.rglob("*") if not path.is_dir()
        )  # torch makes an empty folder for each user
        left_behind = sorted(str(path.relative_to(temporary)) for path in there)
    if left_behind:
        print(f"left behind: {', '.join(left_behind)}", file=sys.stderr)
    growth = [
        Figure(f"{kind}: {name} left after {rounds} comparisons", value, "", at_most=0)
        for name, value in {**left["counts"], "temporary files": len(left_behind)}.items()
    ]
    return [
        Figure(f"{kind}: memory of the {name} grew by", value / _MB, "MB", at_most=20)
        for name, value in left["memory"].items()
    ] + [
        *growth,
        Figure(f"{kind}: runs that failed without a sentence", left["speechless"], "", at_most=0),
        Figure(f"{kind}: comparisons that did not end", left["endless"], "", at_most=0),
        Figure(f"{kind}: standstills of the window over 100 ms", left["standstills"], ""),
        Figure(f"{kind}: runs, done / failed / stopped", left["done"], f"/ {left['failed']} / {left['stopped']}"),
    ]


if __name__ == "__main__":
    sys.exit(main())
