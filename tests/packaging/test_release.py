"""When a release is refused, what its notes and checksums are, and what its dry run does."""

import subprocess
from pathlib import Path

import pytest

from tests.packaging.scripts import ROOT, load_script

script = load_script("release")

README = """# Something

- 0.2.0: not this line.

## Changes

- 0.1.0: pick a model, compare: the text; the command line.
- 0.2.0: a window
  on the weights; quality.

## After

- 0.2.0: nor this one.
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A committed project of version 0.2.0."""
    (tmp_path / "qplayground").mkdir()
    (tmp_path / "qplayground" / "__init__.py").write_text('"""It."""\n\n__version__ = "0.2.0"\n')
    (tmp_path / "README.md").write_text(README)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "All"]):
        identity = ["-c", "user.name=A Person", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *command], cwd=tmp_path, check=True)
    return tmp_path


def test_notes_are_the_versions_own() -> None:
    assert script.notes_of(README, "0.2.0") == "# qplayground 0.2.0\n\n- A window on the weights.\n- Quality.\n"
    assert script.notes_of(README, "0.1.0").endswith("\n- Pick a model, compare: the text.\n- The command line.\n")


def test_a_version_without_changes_is_refused() -> None:
    for readme in (README, "", "## Changes\n", "## Changes\n\n- 0.3.0:\n"):
        with pytest.raises(script.RefusedError, match=r"have no line '- 0\.3\.0: …'"):
            script.notes_of(readme, "0.3.0")


def test_changes_that_belong_to_no_version_are_refused() -> None:
    waiting = README.replace("\n## After", "- Since then: more.\n\n## After")
    with pytest.raises(script.RefusedError, match="'- Since then: …', which belongs to no version"):
        script.notes_of(waiting, "0.2.0")


def test_a_version_that_is_none_is_refused() -> None:
    assert script.version_of('__version__ = "1.10.0rc1"\n') == "1.10.0rc1"
    for text in ("", "__version__ = version()\n", '__version__ = "next"\n'):
        with pytest.raises(script.RefusedError, match="__version__"):
            script.version_of(text)


def test_the_programs_own_version_can_be_read() -> None:
    from qplayground import __version__

    assert script.version_of((ROOT / "qplayground" / "__init__.py").read_text("utf-8")) == __version__
    assert f"- {__version__}: " in (ROOT / "README.md").read_text("utf-8")


def test_a_dry_run_shows_the_steps_and_does_none(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "STEPS", ("touch check-was-run",))
    script.release(checkout, dry_run=True)
    shown = capsys.readouterr().out
    assert "$ touch check-was-run\n" in shown and " -m build " in shown and "- Quality.\n" in shown
    assert sorted(path.name for path in checkout.iterdir()) == [".git", "README.md", "qplayground"]


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("name", ["README.md", "new file"])
def test_a_tree_that_is_not_committed_is_refused(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, name: str, dry_run: bool
) -> None:
    monkeypatch.setattr(script, "STEPS", ("touch check-was-run",))
    with (checkout / name).open("a") as file:
        file.write("\nchanged\n")
    with pytest.raises(script.RefusedError, match=f"not all committed .*{name}"):
        script.release(checkout, dry_run=dry_run)
    assert not (checkout / "check-was-run").exists()


def test_a_step_that_fails_ends_it(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "STEPS", ("false", "touch check-was-run"))
    with pytest.raises(script.RefusedError, match="nothing was released: false"):
        script.release(checkout, dry_run=False)
    assert sorted(path.name for path in checkout.iterdir()) == [".git", "README.md", "qplayground"]


def test_what_is_built_is_summed_up(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a step in place of the build that makes two files."""
    (checkout / ".gitignore").write_text("dist/\n")
    subprocess.run(["git", "add", "-A"], cwd=checkout, check=True)
    identity = ["-c", "user.name=A Person", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, "commit", "-qm", "Ignore"], cwd=checkout, check=True)
    monkeypatch.setattr(script, "STEPS", ("true",))
    monkeypatch.setattr(script, "BUILD", ("bash", "-c", 'mkdir -p "$1/sub"; echo a > "$1/one"; echo b > "$1/sub/two"'))
    script.release(checkout, dry_run=False)
    dist = checkout / "dist"
    assert (dist / "RELEASE_NOTES.md").read_text("utf-8").startswith("# qplayground 0.2.0\n")
    sums = (dist / "SHA256SUMS").read_text("utf-8")
    assert [line.split()[1] for line in sums.splitlines()] == ["RELEASE_NOTES.md", "one", "sub/two"]
    done = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=dist, capture_output=True, check=False)
    assert done.returncode == 0
