"""Where a command's results go."""

from pathlib import Path

import pytest

from qplayground.console.output import write_result
from qplayground.core.errors import PlaygroundError


def test_the_table_is_shown_where_the_file_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(PlaygroundError, match="cannot be written"):
        write_result(str(tmp_path / "gone" / "result.json"), b"{}", "the table")
    assert capsys.readouterr().out == "the table\n"
