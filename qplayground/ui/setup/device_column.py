"""One device of a placement: the parts of the model on it, their total size, and the room for them."""

import re
from collections.abc import Sequence

from PySide6.QtCore import QSignalBlocker, Qt, Signal, Slot
from PySide6.QtGui import QPalette, QValidator
from PySide6.QtWidgets import (
    QAbstractItemView,
    QDoubleSpinBox,
    QFrame,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QProgressBar,
)

from qplayground.core.placement import DISK, Block
from qplayground.core.units import bytes_text
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.block_bars import SHARE, BlockBars
from qplayground.ui.widgets.parts import button, heading, in_column

_GB = 1_000_000_000
_FULL = 1000
_DISK_TIP = (
    "Weights here are read from the model's own files, again for each token. Weights that are made of several "
    "tensors, such as a mixture's experts, are written into the offload folder. Free is what its disk has"
)
_AMOUNT = re.compile(r"(\d*[.,]?\d*) *([GM]?B?)|[a-z ]*", re.IGNORECASE)


class _BytesBox(QDoubleSpinBox):
    """A size in GB. Also accepts `300 MB`."""

    def validate(self, text: str, position: int) -> tuple[QValidator.State, str, int]:
        """Accept anything that can become a size."""
        found = _AMOUNT.fullmatch(text.removesuffix(self.suffix()).strip())
        return (QValidator.State.Acceptable if found else QValidator.State.Invalid, text, position)

    def valueFromText(self, text: str) -> float:
        """The size in GB."""
        found = _AMOUNT.fullmatch(text.removesuffix(self.suffix()).strip())
        if found is None or not found[1]:
            return 0.0
        return float(found[1].replace(",", ".")) * (0.001 if (found[2] or "").upper().startswith("M") else 1)


class DeviceColumn(QFrame):
    """One device's list of parts. Signals: `limit_changed()`; `selection_changed()`; `move_here_requested(device)`."""

    limit_changed = Signal()
    selection_changed = Signal()
    move_here_requested = Signal(str)

    def __init__(self, device: str, title: str, free_bytes: int | None = None) -> None:
        super().__init__()
        self.device = device
        self._free_bytes = free_bytes
        self._held_bytes = self._rewritten_bytes = 0
        self._is_limited = True
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.sum = QLabel(textFormat=Qt.TextFormat.PlainText)
        self.sum.setFont(theme.tabular(self.sum.font()))
        self.sum.setAccessibleName(f"Sum on {title}")
        if device == DISK:
            self.sum.setToolTip(_DISK_TIP)
        self.fill = QProgressBar(maximum=_FULL, textVisible=False)
        self.fill.setFixedHeight(theme.GRID)
        self.fill.setAccessibleName(f"Weights on {title} against what is free or allowed")
        self.limit = _BytesBox(decimals=2, maximum=100_000, suffix=" GB of weights at most")
        self.limit.setSpecialValueText("what is free")
        self.limit.setToolTip(
            "The most bytes of weights that automatic placement puts here. The engine takes more: libraries, "
            "KV cache and working memory come on top."
        )
        self.limit.setAccessibleName(f"Limit of {title}")
        self.limit.valueChanged.connect(self.limit_changed)
        self.parts = QListWidget()
        self.parts.setUniformItemSizes(True)
        self.parts.setAccessibleName(f"Parts on {title}")
        self.parts.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.parts.setItemDelegate(BlockBars(self.parts))
        self.parts.setFont(theme.tabular(self.parts.font()))
        self.parts.itemSelectionChanged.connect(self.selection_changed)
        self.move_here = button("Move the selection here", self._on_move_here)
        self.move_here.setEnabled(False)
        self.move_here.setAccessibleName(f"Move the selection to {title}")
        shown = (heading(title), self.sum, self.fill, self.limit, self.parts, self.move_here)
        in_column(*shown, within=self, spacing=theme.HALF_GRID, margins=theme.GRID)
        self.fill.setVisible(device != DISK)
        self.show_limit(True)

    @property
    def limit_bytes(self) -> int | None:
        """The limit that was set. None: the free memory is the limit."""
        return round(self.limit.value() * _GB) if self.limit.value() else None

    def show_limit(self, shown: bool) -> None:
        """Show or hide the limit. It has no effect if parts are placed by hand, and never for the disk."""
        self.limit.setVisible(shown and self.device != DISK)

    def set_limit(self, num_bytes: int | None) -> None:
        """Show a limit, without a signal."""
        with QSignalBlocker(self.limit):
            self.limit.setValue((num_bytes or 0) / _GB)

    def set_free(self, num_bytes: int | None) -> None:
        """Set the free bytes of the device, or of the offload folder's disk."""
        if num_bytes != self._free_bytes:
            self._free_bytes = num_bytes
            self._show_sum()

    @property
    def is_overfull(self) -> bool:
        """Whether more is placed here than fits.

        For the disk only written parts count, because the rest is read from the model's own files.
        """
        limit = self.limit_bytes if self._is_limited else None
        room = self._free_bytes if limit is None else limit
        needed = self._rewritten_bytes if self.device == DISK else self._held_bytes
        return room is not None and needed > room

    def show_parts(
        self,
        blocks: Sequence[Block],
        largest_bytes: int,
        *,
        plain: bool,
        limited: bool = True,
        rewritten_bytes: int = 0,
    ) -> None:
        """Show the parts on this device, each with a bar relative to the model's largest part.

        `plain`: unquantized on this device, although the precision quantizes. `limited`: the limit applies.
        `rewritten_bytes`: how many bytes of them are written to the offload folder.
        """
        chosen = set(self.selected())
        with QSignalBlocker(self.parts):
            self.parts.clear()
            for block in blocks:
                num_bytes = block.plain_bytes if plain else block.num_bytes
                amount = bytes_text(num_bytes)
                item = QListWidgetItem(f"{block.name} · {amount}")
                item.setData(Qt.ItemDataRole.UserRole, block.name)
                tied = f", one weight with {block.tied}" if block.tied else ""
                if block.tied:
                    item.setText(f"{block.name} · shares {block.tied}")
                elif largest_bytes:
                    item.setData(SHARE, num_bytes / largest_bytes)
                item.setToolTip(theme.literal(f"{block.name}: {amount}{', unquantized here' if plain else ''}{tied}"))
                self.parts.addItem(item)
                item.setSelected(block.name in chosen)
        self._held_bytes = sum(block.plain_bytes if plain else block.num_bytes for block in blocks)
        self._is_limited, self._rewritten_bytes = limited, rewritten_bytes
        self._show_sum()

    def selected(self) -> list[str]:
        """The names of the selected parts."""
        return [str(item.data(Qt.ItemDataRole.UserRole)) for item in self.parts.selectedItems()]

    def _show_sum(self) -> None:
        held, limit = self._held_bytes, self.limit_bytes if self._is_limited else None
        room = self._free_bytes if limit is None else limit
        word = "free" if limit is None else "allowed"
        room_text = f", {bytes_text(room)} {word}" if room is not None else ""
        written = f", {bytes_text(self._rewritten_bytes)} to write" if self._rewritten_bytes else ""
        self.sum.setText(f"{bytes_text(held)} of weights{written}{room_text}")
        too_much = self.is_overfull
        self.sum.setForegroundRole(QPalette.ColorRole.BrightText if too_much else QPalette.ColorRole.WindowText)
        self.fill.setValue(_FULL if too_much else round(_FULL * held / room) if room else 0)
        colors = QPalette(self.palette())
        if too_much:
            for role in (QPalette.ColorRole.Highlight, QPalette.ColorRole.Accent):
                colors.setColor(role, colors.color(QPalette.ColorRole.BrightText))
        self.fill.setPalette(colors)

    @Slot()
    def _on_move_here(self) -> None:
        self.move_here_requested.emit(self.device)
