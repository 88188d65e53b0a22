"""The frozen program has no pip, so no sentence tells its user to install a library."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "qplayground"
FILES = sorted(path for path in PROGRAM.rglob("*.py") if path.name != "frozen.py")
OF_PIP = re.compile(r"\bpip\b|constraints\.txt|python3? -m|([Uu]n|[Rr]e)install|Install (a build|PySide6|the versions)")


def sentences_of_pip(source: str) -> Iterator[str]:
    """Sentences about pip that are not, directly or by name, in the first argument of `remedy`."""
    nodes = list(ast.walk(ast.parse(source)))
    fine = {
        node
        for call in nodes
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "remedy"
        for node in ast.walk(call.args[0])
    }
    names = [node for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
    for_remedy = {name.id for name in names if name in fine} - {name.id for name in names if name not in fine}
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in for_remedy:
            fine.update(ast.walk(node.value))
        elif isinstance(node, ast.Expr):  # a docstring
            fine.add(node.value)
    for node in nodes:
        told = node.value if isinstance(node, ast.Constant) and node not in fine else None
        if isinstance(told, str) and OF_PIP.search(told):
            yield told


@pytest.mark.parametrize("path", FILES, ids=[path.relative_to(PROGRAM).as_posix() for path in FILES])
def test_what_pip_can_mend_is_told_where_there_is_a_pip(path: Path) -> None:
    assert list(sentences_of_pip(path.read_text(encoding="utf-8"))) == []
