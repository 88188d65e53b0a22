"""Which commands are read from the documents, and that each is run and its failure reported."""

import shlex
from pathlib import Path

import pytest

from qplayground.console.arguments import build_parser
from tests.packaging.scripts import ROOT, load_script

script = load_script("readme_commands")


def test_commands_are_read_with_what_a_shell_would_remember() -> None:
    text = (
        "```\nmake run     # this opens it\n```\n\n```\na picture ── of boxes\n```\n\n"
        '```sh\n. .venv/bin/activate  # first\nqplayground compare \\\n  --prompt "a # b"\n```\n'
    )
    first, second = script.read_blocks(text)
    assert (first.settings, first.commands, first.installs) == ([], ["make run"], True)
    assert second.settings == [". .venv/bin/activate"] and not second.installs
    assert [shlex.split(command) for command in second.commands] == [["qplayground", "compare", "--prompt", "a # b"]]


def test_a_block_that_is_commands_only_in_part_is_refused() -> None:
    with pytest.raises(script.NotCommandsError, match="and then look"):
        script.read_blocks("```\nmake run\nand then look\n```\n")
    with pytest.raises(script.NotCommandsError, match="system libraries"):
        script.system_command("nothing")


def test_a_command_is_run_once_and_after_the_settings_of_the_documents_before() -> None:
    first = "```\nmake run\nmake test\n```\n\n```\n. .venv/bin/activate\nqplayground doctor\n```\n"
    second = "```\nmake test\n```\n\n```\nqplayground models\nqplayground doctor\n```\n"
    blocks = script.all_blocks([first, second])
    assert [(block.settings, block.commands) for block in blocks] == [
        ([], ["make run", "make test"]),
        ([". .venv/bin/activate"], ["qplayground doctor"]),
        ([". .venv/bin/activate"], ["qplayground models"]),
    ]


def test_the_documents_have_their_commands() -> None:
    texts = [(ROOT / name).read_text("utf-8") for name in script.DOCUMENTS]
    commands = [command for block in script.all_blocks(texts) for command in block.commands]
    assert {"make run", "make test", "python3 -m venv .venv", "qplayground doctor", "make check"} <= set(commands)
    assert script.system_command(texts[0]) == "apt-get install $(cat packaging/debian-packages.txt)"
    known = build_parser().format_help()
    for command in commands:
        if command.startswith("qplayground "):
            assert f"    {command.split()[1]} " in known


def test_each_is_run_and_what_fails_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = script.Place(tmp_path)
    blocks = [script.Block(["export A=1"], ['test "$A" = 1', "echo why; exit 3", 'test "$PYTEST_ADDOPTS" = some'])]
    assert script.run_all(place, blocks, "some") == 1
    told = capsys.readouterr().out.splitlines()
    told = [line for line in told if line]
    assert [line.split()[0] for line in told] == ["ok", "FAILED", "why", "ok", "2"]
    assert "FAILED 3" in told[1] and told[-1] == "2 passed, 1 failed"
