"""The effect of a threshold on a layer, in figures."""

from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QFormLayout, QLabel, QWidget

from qplayground.core.inside import ThresholdTrial
from qplayground.core.units import bytes_text, ratio_text, seconds_text, share_text
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.parts import selectable_label


class ThresholdFigures(QWidget):
    """Figures of one trial. Greyed out while a new threshold is being tried."""

    def __init__(self) -> None:
        super().__init__()
        self._trial: ThresholdTrial | None = None
        self._error_without: float | None = None
        self._form = QFormLayout(self)
        self._form.setContentsMargins(theme.GRID, 0, 0, theme.GRID)
        self._form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.columns = self._figure(
            "In 16 bits", "Input columns that reach the threshold, as bitsandbytes counted them on the prompt"
        )
        self.extra = self._figure(
            "Extra memory", "16-bit weights of these columns, which are there while the layer computes"
        )
        self.error = self._figure(
            "Output's error",
            "‖Y − exact‖ / ‖exact‖ of the layer's output on the prompt; then the same with every column in 8 bits",
        )
        self.time = self._figure(
            "Time",
            "One forward of the layer on the prompt, the median of several (lowest … highest). Then the same with "
            "every column in 8 bits, measured in turns. Where the ranges overlap, there is no clear difference.",
        )

    def _figure(self, title: str, tip: str) -> QLabel:
        name = QLabel(title)
        name.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        label = selectable_label(title)
        label.setFont(theme.tabular(label.font()))
        for each in (name, label):
            each.setToolTip(tip)
        self._form.addRow(name, label)
        return label

    @property
    def labels(self) -> tuple[QLabel, ...]:
        """The labels of the figures."""
        return (self.columns, self.extra, self.error, self.time)

    def fade(self) -> None:
        """Grey out the figures until the new threshold was tried."""
        self._trial = None
        for label in self.labels:
            label.setEnabled(False)

    def show_trial(self, trial: ThresholdTrial | None, error_without: float | None) -> None:
        """Show a trial's figures. `error_without`: the output's error without outliers, if known."""
        self._trial, self._error_without = trial, error_without
        for label in self.labels:
            label.setEnabled(trial is not None)
            label.setText("–")
        if trial is None:
            return
        self.columns.setText(f"{trial.columns:,} of {trial.of_columns:,} columns")
        self.extra.setText(bytes_text(trial.extra_bytes))
        own = _time_text(trial.seconds, trial.seconds_range)
        if trial.columns == 0:  # without outliers both are the same
            self.error.setText(share_text(trial.relative_error))
            self.time.setText(own)
            return
        beside = "" if error_without is None else f"; {share_text(error_without)} with all in 8 bits"
        self.error.setText(f"{share_text(trial.relative_error)}{beside}")
        told = ratio_text(trial.seconds / trial.seconds_without) if trial.times_differ else "no clear difference"
        self.time.setText(f"{own}; {_time_text(trial.seconds_without, trial.without_range)} with all in 8 bits: {told}")

    def table(self) -> list[list[object]]:
        """The figures, for saving; empty while greyed out."""
        trial = self._trial
        if trial is None:
            return []
        error_without = trial.relative_error if trial.threshold == 0 else self._error_without
        rows: list[tuple[object, object]] = [
            ("layer", trial.module),
            ("threshold", trial.threshold),
            ("columns in 16 bits", trial.columns),
            ("of columns", trial.of_columns),
            ("extra bytes", trial.extra_bytes),
            ("error of the output", trial.relative_error),
            ("error with all in 8 bits", "" if error_without is None else error_without),
            ("seconds", trial.seconds),
            ("lowest", trial.seconds_range[0]),
            ("highest", trial.seconds_range[1]),
            ("seconds with all in 8 bits", trial.seconds_without),
            ("lowest with all in 8 bits", trial.without_range[0]),
            ("highest with all in 8 bits", trial.without_range[1]),
            ("median of", trial.repeats),
        ]
        headings, values = zip(*rows, strict=True)
        return [list(headings), list(values)]


def _time_text(median: float, span: tuple[float, float]) -> str:
    lowest, highest = map(seconds_text, span)
    return f"{seconds_text(median)} ({lowest} … {highest})"
