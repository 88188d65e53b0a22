"""The guide from `docs/guide.md`, with its pictures and a list of its sections. Works offline."""

from typing import Any

from PySide6.QtCore import QSize, Qt, QUrl, Slot
from PySide6.QtGui import QImage, QTextBlock, QTextDocument
from PySide6.QtWidgets import QDialog, QListWidget, QTextBrowser, QWidget

from qplayground.core.system.resources import document
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.parts import in_row

_SIZE = QSize(1080, 680)
_PICTURE_WIDTH = 740
_SECTIONS_WIDTH = 190
_SECTION_LEVEL = 2


class GuideDialog(QDialog):
    """Sections on the left, the guide on the right. Clicking a section or an internal link scrolls to it."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Guide")
        self.text = _Page(openLinks=False)
        self.text.setAccessibleName("The guide")
        self.text.setMarkdown(document("guide.md").read_text("utf-8"))
        self.text.document().setDocumentMargin(2 * theme.GRID)
        self.sections = QListWidget()
        self.sections.setAccessibleName("Sections of the guide")
        self.sections.setFixedWidth(_SECTIONS_WIDTH)
        self.sections.addItems([block.text() for block in self._headings()])
        in_row(self.sections, self.text, within=self, grows=self.text, margins=theme.GRID)
        self.sections.currentRowChanged.connect(self._show_section)
        self.text.anchorClicked.connect(self._on_link)
        self.text.setFocus()  # a focused list would select its first section
        self.resize(_SIZE)

    def _headings(self) -> list[QTextBlock]:
        found, block = [], self.text.document().begin()
        while block.isValid():
            if block.blockFormat().headingLevel() == _SECTION_LEVEL:
                found.append(block)
            block = block.next()
        return found

    @Slot(int)
    def _show_section(self, place: int) -> None:
        top = self.text.document().documentLayout().blockBoundingRect(self._headings()[place]).top()
        self.text.verticalScrollBar().setValue(int(top))

    @Slot(QUrl)
    def _on_link(self, url: QUrl) -> None:
        anchors = [block.text().lower().replace(" ", "-") for block in self._headings()]
        if url.fragment() in anchors:
            self.sections.setCurrentRow(anchors.index(url.fragment()))


class _Page(QTextBrowser):
    """Scales the guide's pictures so that they are readable beside the sections."""

    def loadResource(self, kind: int, name: QUrl | str) -> Any:
        """Load a picture of the guide. Nothing else is loaded."""
        if kind != QTextDocument.ResourceType.ImageResource.value:
            return None
        path = name.path() if isinstance(name, QUrl) else name
        image = QImage.fromData(document(path).read_bytes())
        ratio = self.devicePixelRatioF()
        image = image.scaledToWidth(round(_PICTURE_WIDTH * ratio), Qt.TransformationMode.SmoothTransformation)
        image.setDevicePixelRatio(ratio)
        return image
