"""A combo box of precision names that keeps the selection while its items stay the same."""

from collections.abc import Sequence

from PySide6.QtWidgets import QComboBox


class NameBox(QComboBox):
    """New items select the last one, without a signal: the caller redraws anyway."""

    def offer(self, names: Sequence[str]) -> None:
        """Set the items. The selection is kept if they are unchanged."""
        if list(names) == [self.itemText(place) for place in range(self.count())]:
            return
        self.blockSignals(True)
        self.clear()
        self.addItems(list(names))
        self.setCurrentIndex(len(names) - 1)
        self.blockSignals(False)
