"""Make a release: check, test, measure, build, and write checksums and notes.

    python packaging/release.py              everything, into dist/
    python packaging/release.py --dry-run    print the steps, and whether they would start
    python packaging/release.py --without test,bench    try the other steps; the notes say what was left out

The version is `__version__` in qplayground/__init__.py. The notes are its section of CHANGELOG.md, plus the benchmark's
missed targets. Nothing is tagged or uploaded, so that a person can look at dist/ first.
"""

import argparse
import hashlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BENCHMARK = "dist/bench.json"
STEPS = {
    "check": "make check",
    "test": "make test-all",
    "bench": f"make bench ARGUMENTS='--record-misses --json {BENCHMARK} --markdown dist/bench.md'",
    "wheel": f"{sys.executable} -m build --outdir dist",
    "package": "make package",
}
LEAVABLE = {
    "check": "Format, lint, types and import contracts were not checked.",
    "test": "The tests were not run.",
    "bench": "Nothing was measured.",
}
"""The steps that can be left out, and what the notes then say."""
SUMS, NOTES = "SHA256SUMS", "RELEASE_NOTES.md"


class RefusedError(Exception):
    """The release does not start. The message says why and what to do."""


def version_of(init: str) -> str:
    """The version in the package's `__init__.py`. Raises RefusedError if there is none."""
    found = re.search(r'^__version__ = "(\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?)"$', init, re.MULTILINE)
    if found is None:
        raise RefusedError('qplayground/__init__.py has no line like __version__ = "1.2.3".')
    return found[1]


def notes_of(changelog: str, version: str) -> str:
    """The changelog's section for a version, as Markdown.

    Raises RefusedError if there is none, or if some changes have no version yet.
    """
    parts = re.split(r"^## \[(.+?)\].*\n", changelog, flags=re.MULTILINE)[1:]
    changes = {name: text.strip() for name, text in zip(parts[::2], parts[1::2], strict=True)}
    if not changes.get(version):
        raise RefusedError(f"CHANGELOG.md has no section '## [{version}]'. Write what is new in {version}.")
    unreleased = next((name for name, text in changes.items() if text and not re.match(r"\d+\.\d+\.\d+", name)), None)
    if unreleased is not None:
        raise RefusedError(
            f"CHANGELOG.md has changes under '## [{unreleased}]', which belong to no version. "
            f"Raise __version__ and call the section by it."
        )
    return f"# qplayground {version}\n\n{changes[version]}\n"


def missed(benchmark: str) -> str:
    """A section on the missed targets, as Markdown. Empty if there are none."""
    figures = [figure for figure in json.loads(benchmark) if not figure["met"]]
    lines = [
        f"- {figure['name']}: {figure['value']:.3g} {figure['unit']}".rstrip() + _target(figure) for figure in figures
    ]
    return "\n".join(["\n## Targets of the benchmark that were missed\n", *lines, ""]) if lines else ""


def left_out(without: Collection[str]) -> str:
    """A section on the steps that were left out, as Markdown. Empty if there are none."""
    lines = [f"- {sentence}" for name, sentence in LEAVABLE.items() if name in without]
    return "\n".join(["\n## Left out of this release's making\n", *lines, ""]) if lines else ""


def _target(figure: dict[str, Any]) -> str:
    """The target, in brackets."""
    if figure["at_most"] is not None:
        return f" (≤ {figure['at_most']:g})"
    return f" (≥ {figure['at_least']:g})"


def check_clean(folder: Path) -> None:
    """Raises RefusedError if something is not committed."""
    done = subprocess.run(
        ["git", "status", "--porcelain"], cwd=folder, capture_output=True, encoding="utf-8", check=False
    )
    if done.returncode:
        raise RefusedError(f"git does not know this folder: {done.stderr.strip()}")
    if done.stdout:
        names = ", ".join(line[3:] for line in done.stdout.splitlines()[:5])
        raise RefusedError(f"What would be released is not all committed ({names}). Commit it, or throw it away.")


def checksums(folder: Path) -> str:
    """The SHA-256 of each file directly in a folder, in the format of `sha256sum --check`.

    Subfolders are left out: they are not uploaded as they are. The frozen program is one.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != SUMS)
    lines = []
    for path in files:
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
    return "".join(lines)


def release(root: Path, *, dry_run: bool, without: Collection[str] = ()) -> None:
    """Run all steps for the checkout in `root`, except those in `without` (keys of LEAVABLE).

    Raises RefusedError before the first step, or if a step fails.
    """
    version = version_of((root / "qplayground" / "__init__.py").read_text("utf-8"))
    notes = notes_of((root / "CHANGELOG.md").read_text("utf-8"), version) + left_out(without)
    check_clean(root)
    dist = root / "dist"
    print(notes)
    if not dry_run:
        shutil.rmtree(dist, ignore_errors=True)
        dist.mkdir()
    for name, step in STEPS.items():
        if name in without:
            continue
        print(f"$ {step}", flush=True)
        if not dry_run and subprocess.run(shlex.split(step), cwd=root).returncode:
            raise RefusedError(f"This failed, so nothing was released: {step}")
    print(f"dist/{NOTES}, dist/{SUMS}")
    if not dry_run:
        check_clean(root)
        if "bench" not in without:
            notes += missed((root / BENCHMARK).read_text("utf-8"))
        (dist / NOTES).write_text(notes, "utf-8")
        (dist / SUMS).write_text(checksums(dist), "utf-8")
        print((dist / SUMS).read_text("utf-8"))


def main() -> int:
    """The exit code: 0 if everything was done, 1 if it was refused or failed."""
    parser = argparse.ArgumentParser(description="Check, test, measure, build, and write checksums and release notes.")
    parser.add_argument("--dry-run", action="store_true", help="show the steps and the notes, and do nothing")
    parser.add_argument(
        "--without",
        default="",
        metavar="LIST",
        help=f"leave steps out, comma-separated: {', '.join(LEAVABLE)}; the notes say which",
    )
    arguments = parser.parse_args()
    without = [name.strip() for name in arguments.without.split(",") if name.strip()]
    if unknown := sorted(set(without) - set(LEAVABLE)):
        parser.error(f"{', '.join(unknown)} cannot be left out, only {', '.join(LEAVABLE)}")
    try:
        release(ROOT, dry_run=arguments.dry_run, without=without)
    except RefusedError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
