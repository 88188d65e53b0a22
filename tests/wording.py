"""The sentences that a user reads, the longest first: `python -m tests.wording [WORDS]`.

Collected from the strings of the program and from the documents: what has four words or more. Each value in an f-string
counts as one word.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
LONGEST = 30
"""No sentence has more words than that."""
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/guide.md",
    "docs/architecture.md",
    "docs/decisions.md",
)
_LEAST_WORDS = 4


class Sentence(NamedTuple):
    """How many words it has, where it stands, and the sentence."""

    words: int
    place: str
    text: str


def of_program() -> Iterator[Sentence]:
    """Every sentence in the strings of the product and in the texts of `resources/`."""
    for path in sorted((ROOT / "qplayground").rglob("*.py")):
        for line, text in _strings(ast.parse(path.read_text("utf-8"))):
            yield from _sentences(text, f"{path.relative_to(ROOT)}:{line}")


def of_documents() -> Iterator[Sentence]:
    """Every sentence of the documents, tables and code left out."""
    for name in DOCUMENTS:
        text = (ROOT / name).read_text("utf-8")
        text = re.sub(r"```.*?```|^\|.*?$|^#.*?$", "", text, flags=re.DOTALL | re.MULTILINE)
        text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
        text = re.sub(r"^\s*(?:[-*]|\d+\.)\s", "\n\n", text, flags=re.MULTILINE)
        for paragraph in re.split(r"\n\s*\n", text):
            yield from _sentences(paragraph, name)


def _sentences(text: str, place: str) -> Iterator[Sentence]:
    for sentence in re.split(r"(?<=[.!?])\s+|\n+", " ".join(text.split(" "))):
        words = [word for word in sentence.split() if any(letter.isalnum() for letter in word)]
        if len(words) >= _LEAST_WORDS:
            yield Sentence(len(words), place, " ".join(sentence.split()))


def _strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Constants that are no docstrings, f-strings as one."""
    comments = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(_shown(part) for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in comments | parts:
            yield node.lineno, node.value


def _shown(part: ast.expr) -> str:
    return str(part.value) if isinstance(part, ast.Constant) else "X"


def main() -> int:
    """Print those of more words than asked for, and the median."""
    most = int(sys.argv[1]) if len(sys.argv) > 1 else LONGEST
    for name, found in (("program", list(of_program())), ("documents", list(of_documents()))):
        lengths = sorted(sentence.words for sentence in found)
        long = sorted((sentence for sentence in found if sentence.words > most), reverse=True)
        for sentence in long:
            print(f"{sentence.words} {sentence.place}: {sentence.text}")
        print(f"{name}: {len(found)} sentences, median {lengths[len(lengths) // 2]}, {len(long)} over {most}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
