"""Try the types, print a line for each, write sweep.json. Exit code 1 if the program does less than transformers."""

import argparse
import sys
from collections import Counter
from pathlib import Path

import msgspec

from tests.sweep import building, table
from tests.sweep.children import outcomes
from tests.sweep.outcome import Outcome, Verdict


def main() -> int:
    known = building.causal_types()
    parser = argparse.ArgumentParser(prog="python -m tests.sweep", description=__doc__)
    parser.add_argument("types", nargs="*", metavar="TYPE", help="which ones (default: all)")
    parser.add_argument("--json", default="sweep.json", help="where everything goes (default: %(default)s)")
    parser.add_argument("--markdown", action="store_true", help="print the table for a document at the end")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.types) - set(known))
    if unknown:
        parser.error(f"no such type: {', '.join(unknown)}")
    found: list[Outcome] = []
    for outcome in outcomes(arguments.types or known):
        found.append(outcome)
        print(table.line(outcome), file=sys.stderr, flush=True)  # print now: all types take half an hour
        Path(arguments.json).write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1))
    print(table.markdown(found) if arguments.markdown else table.totals(found))
    verdicts = Counter(verdict for outcome in found for verdict in table.verdicts(outcome))
    fine = {Verdict.OK, Verdict.KEPT, Verdict.NOTHING_TO_QUANTIZE, Verdict.PLAIN_DOES_NOT_RUN, Verdict.NOT_BUILT}
    return 0 if set(verdicts) <= fine else 1


if __name__ == "__main__":
    sys.exit(main())
