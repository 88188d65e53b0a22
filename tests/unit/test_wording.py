"""Sentences are short and documents easy to read, within the limits in CONTRIBUTING.md."""

from collections.abc import Callable, Iterator
from statistics import median

import pytest

from tests.wording import DOCUMENTS, EASY, LONGEST, MEDIAN, Sentence, of_documents, of_program, reading_ease


@pytest.mark.parametrize("found", [of_program, of_documents])
def test_sentences_are_short(found: Callable[[], Iterator[Sentence]]) -> None:
    sentences = list(found())
    assert len(sentences) > 300
    assert [sentence for sentence in sentences if sentence.words > LONGEST] == []
    assert median(sentence.words for sentence in sentences) <= MEDIAN


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_are_easy_to_read(name: str) -> None:
    assert reading_ease(name) >= EASY
