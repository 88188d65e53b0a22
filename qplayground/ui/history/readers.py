"""The open windows with saved comparisons."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace
from PySide6.QtCore import QObject, Signal, Slot

from qplayground.core.comparison.results import Comparison, from_json
from qplayground.core.errors import ErrorCode, ErrorInfo, PlaygroundError
from qplayground.runtime.storage.history_rows import as_stopped

if TYPE_CHECKING:
    from qplayground.ui.history.comparison_window import ComparisonWindow


class Readers(QObject):
    """Owns the comparison windows. Signal: `inside_requested(ComparedModel, layer)`, forwarded from them."""

    inside_requested = Signal(object, str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.windows: list[ComparisonWindow] = []

    def open_files(self, paths: Sequence[Path]) -> ErrorInfo | None:
        """Open saved comparisons. Returns the first error, or None."""
        problems = []
        for path in paths:
            try:
                self.read([as_stopped(from_json(path.read_bytes()))])
            except OSError as error:
                hint = "Choose another file."
                problems.append(ErrorInfo(ErrorCode.BAD_FILE, f"{path.name}: {error.strerror or error}.", hint))
            except PlaygroundError as error:
                problems.append(replace(error.info, message=f"{path.name}: {error.info.message}"))
        return problems[0] if problems else None

    @Slot(object)
    def read(self, comparisons: list[Comparison]) -> None:
        """Show past comparisons in a new window."""
        from qplayground.ui.history.comparison_window import ComparisonWindow

        reader = ComparisonWindow(comparisons)
        reader.closed.connect(self._on_closed)
        reader.inside_requested.connect(self.inside_requested)
        self.windows.append(reader)
        reader.show()

    def close(self) -> None:
        """Close all windows."""
        for reader in list(self.windows):
            reader.close()

    @Slot(object)
    def _on_closed(self, reader: "ComparisonWindow") -> None:
        self.windows.remove(reader)
        reader.deleteLater()
