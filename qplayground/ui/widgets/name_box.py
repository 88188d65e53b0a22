"""A box that offers the precisions that there is something of, and keeps the choice while they stay the same."""

from collections.abc import Sequence

from PySide6.QtWidgets import QComboBox


class NameBox(QComboBox):
    """Offering others chooses the last one, and says nothing: whoever offers draws anew anyway."""

    def offer(self, names: Sequence[str]) -> None:
        """Offer these; the choice stays where they are the ones that are offered already."""
        if list(names) == [self.itemText(place) for place in range(self.count())]:
            return
        self.blockSignals(True)
        self.clear()
        self.addItems(list(names))
        self.setCurrentIndex(len(names) - 1)
        self.blockSignals(False)
