"""The user's sentences, longest first, and the documents' reading ease: `python -m tests.wording [WORDS]`.

Sentences are strings of at least four words in the program, and the texts in `resources/` and the documents. Each value
in an f-string counts as one word. Reading ease is Flesch's, computed by textstat. 100 is very easy, 60 to 70 is plain
English, and below 30 is very hard.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import textstat

ROOT = Path(__file__).parents[1]
LONGEST = 30
"""No sentence has more words than this."""
MEDIAN = 14
"""The median sentence has at most this many words."""
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/guide.md",
    "docs/architecture.md",
    "docs/decisions.md",
)
TEXTS = tuple(sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "resources" / "tour").glob("*.md")))
"""The files whose texts the program shows to its user."""
EASY = 55
"""No document has a lower reading ease than this."""
_LEAST_WORDS = 4


class Sentence(NamedTuple):
    """Number of words, place, and text of a sentence."""

    words: int
    place: str
    text: str


def of_program() -> Iterator[Sentence]:
    """Every sentence in the product's strings and in the text files that it shows."""
    for path in sorted((ROOT / "qplayground").rglob("*.py")):
        for line, text in _strings(ast.parse(path.read_text("utf-8"))):
            yield from _sentences(text, f"{path.relative_to(ROOT)}:{line}")
    yield from of_documents(TEXTS)


def of_documents(names: Iterable[str] = DOCUMENTS) -> Iterator[Sentence]:
    """Every sentence of those documents."""
    for name in names:
        for paragraph in _paragraphs(name):
            yield from _sentences(paragraph, name)


def reading_ease(name: str) -> float:
    """Flesch's reading ease of a document."""
    return float(textstat.flesch_reading_ease("\n".join(f"{sentence.text}." for sentence in of_documents([name]))))


def _paragraphs(name: str) -> list[str]:
    """A document's paragraphs and list items, without tables, headings and code."""
    text = (ROOT / name).read_text("utf-8")
    text = re.sub(r"```.*?```|^\|.*?$|^#.*?$", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"^\s*(?:[-*]|\d+\.)\s", "\n\n", text, flags=re.MULTILINE)
    return [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text)]


def _sentences(text: str, place: str) -> Iterator[Sentence]:
    for sentence in re.split(r"(?<=[.!?])\s+|\n+", text):
        words = [word for word in sentence.split() if any(letter.isalnum() for letter in word)]
        if len(words) >= _LEAST_WORDS:
            yield Sentence(len(words), place, " ".join(sentence.split()))


def _strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """String constants except docstrings. An f-string counts as one."""
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
    """Print the sentences longer than the limit, the medians, and each document's reading ease."""
    most = int(sys.argv[1]) if len(sys.argv) > 1 else LONGEST
    for name, found in (("program", list(of_program())), ("documents", list(of_documents()))):
        lengths = sorted(sentence.words for sentence in found)
        long = sorted((sentence for sentence in found if sentence.words > most), reverse=True)
        for sentence in long:
            print(f"{sentence.words} {sentence.place}: {sentence.text}")
        print(f"{name}: {len(found)} sentences, median {lengths[len(lengths) // 2]}, {len(long)} over {most}")
    for name in DOCUMENTS:
        print(f"{name}: {len((ROOT / name).read_text('utf-8').split())} words, reading ease {reading_ease(name):.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
