"""When a release is refused, its notes and checksums, and its dry run."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.packaging.scripts import ROOT, load_script

script = load_script("release")

CHANGELOG = """# Changelog

- 0.2.0: not this line.

## [Unreleased]

## [0.2.0] - 2026-11-30

### Added

- A window
  on the weights.
- Quality.

## [0.1.0]

- Pick a model, compare.
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A committed project of version 0.2.0."""
    tmp_path = tmp_path / "checkout"
    tmp_path.mkdir()
    (tmp_path / "qplayground").mkdir()
    (tmp_path / "qplayground" / "__init__.py").write_text('"""It."""\n\n__version__ = "0.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "All"]):
        identity = ["-c", "user.name=A Person", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *command], cwd=tmp_path, check=True)
    return tmp_path


def test_notes_are_the_versions_own() -> None:
    added = "### Added\n\n- A window\n  on the weights.\n- Quality.\n"
    assert script.notes_of(CHANGELOG, "0.2.0") == f"# qplayground 0.2.0\n\n{added}"
    assert script.notes_of(CHANGELOG, "0.1.0") == "# qplayground 0.1.0\n\n- Pick a model, compare.\n"


def test_a_version_without_changes_is_refused() -> None:
    for changelog in (CHANGELOG, "", "## [0.3.0]\n"):
        with pytest.raises(script.RefusedError, match=r"has no section '## \[0\.3\.0\]'"):
            script.notes_of(changelog, "0.3.0")


def test_changes_that_belong_to_no_version_are_refused() -> None:
    waiting = CHANGELOG.replace("## [Unreleased]\n", "## [Unreleased]\n\n- More.\n")
    with pytest.raises(script.RefusedError, match=r"'## \[Unreleased\]', which belong to no version"):
        script.notes_of(waiting, "0.2.0")


def test_a_version_that_is_none_is_refused() -> None:
    assert script.version_of('__version__ = "1.10.0rc1"\n') == "1.10.0rc1"
    for text in ("", "__version__ = version()\n", '__version__ = "next"\n'):
        with pytest.raises(script.RefusedError, match="__version__"):
            script.version_of(text)


def test_the_programs_own_version_can_be_read() -> None:
    from qplayground import __version__

    assert script.version_of((ROOT / "qplayground" / "__init__.py").read_text("utf-8")) == __version__
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_a_dry_run_shows_the_steps_and_does_none(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "STEPS", {"check": "touch check-was-run"})
    script.release(checkout, dry_run=True)
    shown = capsys.readouterr().out
    assert "$ touch check-was-run\n" in shown and "- Quality.\n" in shown
    assert sorted(path.name for path in checkout.iterdir()) == [".git", "CHANGELOG.md", "qplayground"]


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("name", ["CHANGELOG.md", "new file"])
def test_a_tree_that_is_not_committed_is_refused(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, name: str, dry_run: bool
) -> None:
    monkeypatch.setattr(script, "STEPS", {"check": "touch check-was-run"})
    with (checkout / name).open("a") as file:
        file.write("\nchanged\n")
    with pytest.raises(script.RefusedError, match=f"not all committed .*{name}"):
        script.release(checkout, dry_run=dry_run)
    assert not (checkout / "check-was-run").exists()


def test_a_step_that_fails_ends_it(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "STEPS", {"check": "false", "test": "touch check-was-run"})
    with pytest.raises(script.RefusedError, match="nothing was released: false"):
        script.release(checkout, dry_run=False)
    assert not (checkout / "check-was-run").exists()
    assert not list((checkout / "dist").iterdir())


def test_what_is_built_is_summed_up(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one step that makes a file and a folder instead of the build, and one instead of the benchmark."""
    figures = [
        {"name": "a", "met": True, "value": 1.0, "unit": "s", "at_most": 2.0, "at_least": None},
        {"name": "b: engine / script", "met": False, "value": 0.61234, "unit": "", "at_most": None, "at_least": 0.97},
        {"name": "c", "met": False, "value": 912.3, "unit": "ms", "at_most": 500.0, "at_least": None},
    ]
    (tmp_path / "bench.json").write_text(json.dumps(figures))
    (checkout / ".gitignore").write_text("dist/\n")
    subprocess.run(["git", "add", "-A"], cwd=checkout, check=True)
    identity = ["-c", "user.name=A Person", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, "commit", "-qm", "Ignore"], cwd=checkout, check=True)
    build = "bash -c 'mkdir dist/sub; echo a > dist/one; echo b > dist/sub/two'"
    monkeypatch.setattr(script, "STEPS", {"check": "true", "bench": f"cp {tmp_path}/bench.json dist", "package": build})
    script.release(checkout, dry_run=False)
    dist = checkout / "dist"
    notes = (dist / "RELEASE_NOTES.md").read_text("utf-8")
    assert notes.startswith("# qplayground 0.2.0\n")
    assert notes.endswith("missed\n\n- b: engine / script: 0.612 (≥ 0.97)\n- c: 912 ms (≤ 500)\n")
    sums = (dist / "SHA256SUMS").read_text("utf-8")
    assert [line.split()[1] for line in sums.splitlines()] == ["RELEASE_NOTES.md", "bench.json", "one"]
    done = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=dist, capture_output=True, check=False)
    assert done.returncode == 0


def test_what_is_left_out_is_not_done_and_the_notes_say_so(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / ".gitignore").write_text("dist/\n")
    subprocess.run(["git", "add", "-A"], cwd=checkout, check=True)
    identity = ["-c", "user.name=A Person", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, "commit", "-qm", "Ignore"], cwd=checkout, check=True)
    monkeypatch.setattr(script, "STEPS", {"check": "touch dist/checked", "test": "false", "bench": "false"})
    script.release(checkout, dry_run=False, without=["test", "bench"])
    assert (checkout / "dist" / "checked").exists()
    notes = (checkout / "dist" / "RELEASE_NOTES.md").read_text("utf-8")
    assert notes.endswith("making\n\n- The tests were not run.\n- Nothing was measured.\n")


def test_what_is_built_cannot_be_left_out(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["release.py", "--dry-run", "--without", "bench,package"])
    with pytest.raises(SystemExit, match="2"):
        script.main()
    assert "package cannot be left out, only check, test, bench" in capsys.readouterr().err
