"""The figures of one run, each with its relation to the baseline's."""

from PySide6.QtCore import Qt
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QGridLayout, QLabel, QWidget

from qplayground.core.comparison.caveats import spoilt
from qplayground.core.comparison.memory_segments import memory_sentences
from qplayground.core.comparison.metrics import BY_KEY, Metric, beside_text, figure_text, range_text
from qplayground.core.comparison.results import Comparison, Run
from qplayground.core.messages.events import Phase
from qplayground.core.units import bytes_text
from qplayground.ui.widgets import theme

_KEYS = (
    "decode_tokens_per_s",
    "ttft_s",
    "load_s",
    "weight_bytes",
    "resident_bytes",
    "peak_resident_bytes",
    "vram_allocated_bytes",
    "vram_peak_bytes",
)
_PEAK = "peak_resident_bytes"
_ONLY_ON_GPU = ("vram_allocated_bytes", "vram_peak_bytes")


class RunFigures(QWidget):
    """A row per metric: its name, its value with the range of a benchmark's readings below, and its ratio."""

    def __init__(self) -> None:
        super().__init__()
        self.labels: dict[str, QLabel] = {}
        self.ratios: dict[str, QLabel] = {}
        self.names: dict[str, QLabel] = {}
        self.setFont(theme.tabular(theme.small(self.font())))  # set once for all labels inside
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(theme.GRID)
        grid.setVerticalSpacing(0)
        grid.setColumnStretch(1, 1)
        grid.setColumnMinimumWidth(2, theme.GRID * 5)
        for row, metric in enumerate(BY_KEY[key] for key in _KEYS):
            self._add_row(grid, row, metric)

    def _add_row(self, grid: QGridLayout, row: int, metric: Metric) -> None:
        name, value, beside = QLabel(metric.title), QLabel("–"), QLabel()
        name.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        beside.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        value.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        value.setAccessibleName(metric.title)
        beside.setAccessibleName(f"{metric.title}, beside the baseline's")
        for place, label in enumerate((name, value, beside)):
            label.setToolTip(metric.description)
            side = Qt.AlignmentFlag.AlignRight if place else Qt.AlignmentFlag.AlignLeft
            label.setAlignment(side | Qt.AlignmentFlag.AlignTop)
            spans = 2 if label is name and metric.key == _PEAK else 1  # long name, single-line value
            grid.addWidget(label, row, place, 1, spans)
        self.names[metric.key], self.labels[metric.key], self.ratios[metric.key] = name, value, beside

    def show_run(self, comparison: Comparison, run: Run) -> None:
        """Show the run's figures and their relation to the baseline's. Disturbed figures are marked and muted."""
        doubtful = spoilt(comparison, run)
        for key, label in self.labels.items():
            metric = BY_KEY[key]
            spread = range_text(metric, run)
            label.setText(figure_text(metric, run, comparison) + (f"\n{spread}" if spread else ""))
            role = QPalette.ColorRole.PlaceholderText if key in doubtful else QPalette.ColorRole.WindowText
            label.setForegroundRole(role)
            label.setToolTip(theme.literal(metric.description + _detail(metric, run)))  # a file may hold markup
            if key == _PEAK:
                self._show_peak(metric, run)
            self.ratios[key].setText(beside_text(metric, run, comparison))
        for key in _ONLY_ON_GPU:
            for label in (self.names[key], self.labels[key], self.ratios[key]):
                label.setVisible(run.memory.vram_allocated_bytes is not None)

    def _show_peak(self, metric: Metric, run: Run) -> None:
        """The tool tip mentions scoring, because it raises the memory curve above this peak."""
        tip = theme.literal(metric.description + _detail(metric, run) + _scoring_detail(run))
        for label in (self.names[_PEAK], self.labels[_PEAK], self.ratios[_PEAK]):
            label.setToolTip(tip)


def _scoring_detail(run: Run) -> str:
    peak = next((phase.peak_resident_bytes for phase in run.memory.phases if phase.name == Phase.SCORE), None)
    return "" if peak is None else f"\nWhile it was scored, it had {bytes_text(peak)} at most."


def _detail(metric: Metric, run: Run) -> str:
    """Additional text for this figure's tool tip."""
    reason = metric.reason_missing(run)
    if reason:
        return f"\n{reason}"
    if metric.key == "load_s":
        return _load_detail(run)
    if metric.key == "resident_bytes":
        return "".join(f"\n{sentence}" for sentence in memory_sentences(run.memory))
    return ""


def _load_detail(run: Run) -> str:
    share = run.load.disk_share
    kept = "\nIt was in memory already. This is the time of that earlier load." if run.load.kept else ""
    if share is None:
        return kept
    return f"{kept}\n{100 * share:.0f} % of the checkpoint came from the disk, the rest from the system's page cache."
