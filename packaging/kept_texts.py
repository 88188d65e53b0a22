"""Prints what a history holds, for the test of the frozen program: `kept_texts.py HISTORY [--finished NAME ...]`.

One line for each run of the newest comparison: precision, state and text, separated by tabs. With names, the exit code
is 0 if exactly those runs exist and have ended. Needs only the standard library.
"""

import json
import sqlite3
import sys
from pathlib import Path

FINAL = ("done", "failed", "cancelled")


def kept_runs(path: Path) -> list[tuple[str, str, str]]:
    """Precision, state and text of each run, in the comparison's order. Empty if there is no history."""
    if not path.is_file():
        return []
    with sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True) as database:
        newest = database.execute("SELECT id FROM comparisons ORDER BY started_at DESC LIMIT 1").fetchone()
        if newest is None:
            return []
        parts = dict(database.execute("SELECT part, json FROM contents WHERE id = ?", newest).fetchall())
    order = json.loads(parts.pop(""))["order"]
    runs = {part: json.loads(data) for part, data in parts.items()}
    return [(name, runs[name]["state"], runs[name].get("text", "")) for name in order if name in runs]


def main() -> int:
    """See the module's docstring."""
    runs = kept_runs(Path(sys.argv[1]))
    names = sys.argv[3:]
    if names:
        return 0 if sorted(name for name, state, _ in runs if state in FINAL) == sorted(names) else 1
    for name, state, text in runs:
        print(name, state, " ".join(text.split("\n")), sep="\t")
    return 0


if __name__ == "__main__":
    sys.exit(main())
