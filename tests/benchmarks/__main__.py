"""Run the benchmarks, print a table, write bench.json. The exit code is 1 if a target is missed."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from tests.benchmarks import (
    comparison_time,
    decoding,
    engines,
    gpu,
    inside,
    memory,
    quality,
    responsiveness,
    sizes,
    startup,
    streaming,
    views,
    window_cost,
)
from tests.benchmarks.figures import Figure, markdown, table

_ALL = {
    "startup": startup,
    "engines": engines,
    "decoding": decoding,
    "window_cost": window_cost,
    "responsiveness": responsiveness,
    "comparison_time": comparison_time,
    "streaming": streaming,
    "views": views,
    "sizes": sizes,
    "memory": memory,
    "quality": quality,
    "inside": inside,
    "gpu": gpu,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help="which ones (default: all)")
    parser.add_argument("--json", default="bench.json", help="where the figures go (default: %(default)s)")
    parser.add_argument("--markdown", help="and as a table for a document")
    parser.add_argument("--record-misses", action="store_true", help="exit with 0 when a target is missed")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(_ALL)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(_ALL)}")
    figures: list[Figure] = []
    prepare = ["compare", "--precisions", "fp32", "--max-new-tokens", "1"]  # makes the demo model if it is missing
    subprocess.run([sys.executable, "-m", "qplayground", *prepare], check=True, stdout=subprocess.DEVNULL)
    for name in arguments.names or _ALL:
        print(f"{name} …", file=sys.stderr, flush=True)
        found = _ALL[name].measure()
        figures += found
        print(table(found), flush=True)  # print now: the rest may take half an hour
        Path(arguments.json).write_text(json.dumps([figure.as_dict() for figure in figures], indent=2) + "\n")
        if arguments.markdown:
            Path(arguments.markdown).write_text(markdown(figures))
    return 0 if arguments.record_misses or all(figure.met for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
