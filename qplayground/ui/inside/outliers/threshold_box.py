"""The outlier threshold: a slider, a number field, and a button for LLM.int8()'s default."""

import math

from PySide6.QtCore import QSignalBlocker, Qt, Signal, Slot
from PySide6.QtWidgets import QDoubleSpinBox, QLabel, QSlider, QToolButton, QWidget

from qplayground.ui.charts.inside.outliers import DEFAULT_THRESHOLD
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.parts import in_row

_STEPS = 1000
_PLACES = 2
"""Decimal places."""
_MOST = 99_999.0
"""Above float16's maximum of 65,504."""


class ThresholdBox(QWidget):
    """Owns the threshold. Signal: `changed(float)`, also if the value stays the same."""

    changed = Signal(float)

    def __init__(self) -> None:
        super().__init__()
        self.value = self.top = DEFAULT_THRESHOLD
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, _STEPS)
        self.slider.setMinimumWidth(12 * theme.GRID)
        self.slider.setAccessibleName("Threshold, finer at its lower end")
        self.slider.valueChanged.connect(self._on_slider_moved)
        self.spin = QDoubleSpinBox(decimals=_PLACES, minimum=0, maximum=_MOST, singleStep=0.1)
        self.spin.setAccessibleName("Threshold")
        self.spin.setToolTip("Magnitudes from here on are outliers; 0 turns outliers off")
        self.spin.valueChanged.connect(self._set)
        self.default = QToolButton()
        self.default.setText(f"{DEFAULT_THRESHOLD}")
        self.default.setToolTip("LLM.int8()'s default")
        self.default.clicked.connect(self._on_default)
        in_row(QLabel("Threshold"), self.slider, self.spin, self.default, within=self, grows=self.slider, spacing=-1)

    def set_largest(self, magnitude: float) -> None:
        """Set the slider's maximum: this magnitude or the default, whichever is larger. The threshold is kept."""
        self.top = max(math.ceil(magnitude * 10**_PLACES) / 10**_PLACES, DEFAULT_THRESHOLD)
        self._show()

    @Slot(float)
    def drag(self, threshold: float) -> None:
        """Set the threshold to a value dragged on a chart."""
        self._set(round(threshold, _PLACES))

    @Slot()
    def _on_default(self) -> None:
        self._set(DEFAULT_THRESHOLD)

    @Slot(int)
    def _on_slider_moved(self, place: int) -> None:
        """Quadratic scale: the useful values are small, while a few magnitudes are very large."""
        self._set(round(self.top * (place / _STEPS) ** 2, _PLACES))

    @Slot(float)
    def _set(self, threshold: float) -> None:
        self.value = threshold
        self._show()
        self.changed.emit(threshold)

    def _show(self) -> None:
        with QSignalBlocker(self.slider), QSignalBlocker(self.spin):
            self.slider.setValue(min(_STEPS, round(_STEPS * math.sqrt(self.value / self.top))))
            self.spin.setValue(self.value)
