"""Make a release: check, test, measure, build, sum up, and write its notes.

    python packaging/release.py              all of it, into dist/
    python packaging/release.py --dry-run    the steps, and whether they would be begun

The version is `__version__` in qplayground/__init__.py; its notes are that version's section of the README's Changes
and the targets that the benchmark missed. Nothing is tagged or uploaded: what lies in dist/ is looked at first.
"""

import argparse
import hashlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BENCHMARK = "dist/bench.json"
STEPS = (
    "make check",
    "make test",
    f"make bench ARGUMENTS='--record-misses --json {BENCHMARK} --markdown dist/bench.md'",
    f"{sys.executable} -m build --outdir dist",
    "make package",
)
SUMS, NOTES = "SHA256SUMS", "RELEASE_NOTES.md"


class RefusedError(Exception):
    """The release is not begun; the message says why and what to do."""


def version_of(init: str) -> str:
    """The version that the package's `__init__.py` names. Raises RefusedError for none."""
    found = re.search(r'^__version__ = "(\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?)"$', init, re.MULTILINE)
    if found is None:
        raise RefusedError('qplayground/__init__.py has no line like __version__ = "1.2.3".')
    return found[1]


def notes_of(readme: str, version: str) -> str:
    """What the README's Changes say of a version, as Markdown.

    Raises RefusedError where they say nothing of it, or where some belong to no version yet.
    """
    found = re.search(r"^## Changes\n(.*?)(?=^## |\Z)", readme, re.MULTILINE | re.DOTALL)
    parts = re.split(r"^### (.+)\n", found[1], flags=re.MULTILINE)[1:] if found else []
    changes = {name.strip(): text.strip() for name, text in zip(parts[::2], parts[1::2], strict=True)}
    if not changes.get(version):
        raise RefusedError(f"The README's Changes have no section '### {version}'. Write what is new in {version}.")
    unreleased = [name for name in changes if not re.match(r"\d+\.\d+\.\d+", name)]
    if unreleased:
        raise RefusedError(
            f"The README's Changes have '### {unreleased[0]}', which belongs to no version. "
            f"Raise __version__ and call the section by it."
        )
    return f"# qplayground {version}\n\n{changes[version]}\n"


def missed(benchmark: str) -> str:
    """A section on the targets that were missed, as Markdown; empty when there are none."""
    figures = [figure for figure in json.loads(benchmark) if not figure["met"]]
    lines = [
        f"- {figure['name']}: {figure['value']:.3g} {figure['unit']}".rstrip() + _target(figure) for figure in figures
    ]
    return "\n".join(["\n## Targets of the benchmark that were missed\n", *lines, ""]) if lines else ""


def _target(figure: dict[str, Any]) -> str:
    """What it should have been, in brackets."""
    if figure["at_most"] is not None:
        return f" (≤ {figure['at_most']:g})"
    return f" (≥ {figure['at_least']:g})"


def check_clean(folder: Path) -> None:
    """Raises RefusedError where the tree has something that is not committed."""
    done = subprocess.run(
        ["git", "status", "--porcelain"], cwd=folder, capture_output=True, encoding="utf-8", check=False
    )
    if done.returncode:
        raise RefusedError(f"git does not know this folder: {done.stderr.strip()}")
    if done.stdout:
        names = ", ".join(line[3:] for line in done.stdout.splitlines()[:5])
        raise RefusedError(f"What would be released is not all committed ({names}). Commit it, or throw it away.")


def checksums(folder: Path) -> str:
    """The SHA-256 of each file that lies directly in a folder, as `sha256sum --check` reads them.

    What is in a folder below, such as the frozen program, is not uploaded as it is.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != SUMS)
    lines = []
    for path in files:
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
    return "".join(lines)


def release(root: Path, *, dry_run: bool) -> None:
    """Do all steps for the checkout in `root`. Raises RefusedError before the first one, or where a step fails."""
    version = version_of((root / "qplayground" / "__init__.py").read_text("utf-8"))
    notes = notes_of((root / "README.md").read_text("utf-8"), version)
    check_clean(root)
    dist = root / "dist"
    print(notes)
    if not dry_run:
        shutil.rmtree(dist, ignore_errors=True)
        dist.mkdir()
    for step in STEPS:
        print(f"$ {step}", flush=True)
        if not dry_run and subprocess.run(shlex.split(step), cwd=root).returncode:
            raise RefusedError(f"This failed, so nothing was released: {step}")
    print(f"dist/{NOTES}, dist/{SUMS}")
    if not dry_run:
        check_clean(root)
        (dist / NOTES).write_text(notes + missed((root / BENCHMARK).read_text("utf-8")), "utf-8")
        (dist / SUMS).write_text(checksums(dist), "utf-8")
        print((dist / SUMS).read_text("utf-8"))


def main() -> int:
    """The exit code: 0 when all of it was done, 1 when it was refused or failed."""
    parser = argparse.ArgumentParser(description="Check, test, measure, build, and write checksums and release notes.")
    parser.add_argument("--dry-run", action="store_true", help="show the steps and the notes, and do nothing")
    try:
        release(ROOT, dry_run=parser.parse_args().dry_run)
    except RefusedError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
