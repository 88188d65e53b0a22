"""The command line's arguments, and the messages about wrong ones."""

import pytest

from qplayground.console.arguments import COMMANDS, build_parser


@pytest.mark.parametrize("command", COMMANDS)
def test_the_usage_of_a_command_is_its_own(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args([command, "--no-such-thing"])
    assert capsys.readouterr().err.startswith(("usage: qplayground [-h]", f"usage: qplayground {command} [-h]"))
    with pytest.raises(SystemExit):
        build_parser().parse_args([command, "--help"])
    assert capsys.readouterr().out.startswith(f"usage: qplayground {command} [-h]")
