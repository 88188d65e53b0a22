"""The guide in its window: every section and picture of the file, and links to the right place."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, Qt, QUrl
from PySide6.QtGui import QImage, QTextDocument
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from qplayground.ui.dialogs.guide_dialog import GuideDialog

GUIDE = Path(__file__).parents[2] / "docs" / "guide.md"


@pytest.fixture
def guide(qtbot: QtBot) -> Iterator[GuideDialog]:
    parent = QWidget()
    qtbot.addWidget(parent)
    dialog = GuideDialog(parent)
    dialog.show()
    yield dialog


def top_line(guide: GuideDialog) -> str:
    """The first visible text, below the margin above it."""
    return guide.text.cursorForPosition(QPoint(40, guide.text.fontMetrics().height())).block().text()


def test_its_sections_are_those_of_the_file(guide: GuideDialog) -> None:
    headings = re.findall(r"^## (.+)$", GUIDE.read_text("utf-8"), re.MULTILINE)
    assert [guide.sections.item(row).text() for row in range(guide.sections.count())] == headings


def test_a_section_is_scrolled_to_the_top(guide: GuideDialog) -> None:
    for row in range(3):
        guide.sections.setCurrentRow(row)
        assert top_line(guide) == guide.sections.item(row).text()


def test_a_link_leads_to_its_section(guide: GuideDialog) -> None:
    guide.text.anchorClicked.emit(QUrl("#glossary"))
    assert guide.sections.currentItem().text() == "Glossary"
    assert guide.text.verticalScrollBar().value() > 0


def test_every_link_of_the_file_leads_somewhere(guide: GuideDialog) -> None:
    for anchor in re.findall(r"\]\(#([\w-]+)\)", GUIDE.read_text("utf-8")):
        guide.sections.setCurrentRow(0)
        guide.text.anchorClicked.emit(QUrl(f"#{anchor}"))
        assert guide.sections.currentRow() > 0, anchor


def test_every_picture_of_the_file_is_shown_and_none_is_wider_than_the_page(guide: GuideDialog) -> None:
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", GUIDE.read_text("utf-8"))
    assert pictures
    kind = QTextDocument.ResourceType.ImageResource
    for path in pictures:
        image = guide.text.document().resource(kind, QUrl(path))
        assert isinstance(image, QImage) and not image.isNull(), path
        assert image.width() / image.devicePixelRatio() <= guide.text.viewport().width(), path
    assert guide.text.horizontalScrollBarPolicy() is not Qt.ScrollBarPolicy.ScrollBarAlwaysOn
    assert guide.text.horizontalScrollBar().maximum() == 0
