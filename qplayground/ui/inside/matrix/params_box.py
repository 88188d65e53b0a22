"""The quantization parameters of a matrix, and the resulting figures."""

from PySide6.QtCore import QSignalBlocker, Qt, Signal, Slot
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QCheckBox, QComboBox, QLabel, QProgressBar, QToolButton, QWidget

from qplayground.core.dtype import Dtype
from qplayground.core.inside import QuantizationParams, QuantizedMatrix
from qplayground.core.quantizers.base import Method
from qplayground.core.quantizers.registry import METHODS, available_methods
from qplayground.core.units import share_text, significant
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.parts import held, in_column, in_row, selectable_label

_WHOLE = "whole tensor"
_BUSY_WIDTH = 60
_TIPS = (
    "All that is stored for it, codes, scales and code tables, times 8, divided by the number of weights",
    "The length of the error over the length of the matrix, as vectors: ‖Q − W‖ / ‖W‖",
    "Signal to noise: −20 log10 of the relative error; 6 dB halve the error",
)
"""For the bits, the error and the SNR."""


class ParamsBox(QWidget):
    """Signals: `changed(QuantizationParams)` after a user's change; `worst_requested(row, column)`."""

    changed = Signal(object)
    worst_requested = Signal(int, int)

    def __init__(self) -> None:
        super().__init__()
        self._quantized: QuantizedMatrix | None = None
        self._sizes: tuple[int | None, ...] = ()
        self.method = QComboBox()
        self.method.setAccessibleName("Method")
        for method in available_methods():
            self.method.addItem(method.label, method.name)
        self.block_size = QComboBox()
        self.block_size.setAccessibleName("Weights that share a scale")
        self.double_quant = QCheckBox("&Double quantization")
        self.dtype = QComboBox()
        self.dtype.setAccessibleName("Type that the weights come back in")
        self.dtype.setToolTip(
            "The type that the weights are cast to before they are quantized, and that they come back in"
        )
        for dtype in Dtype:
            self.dtype.addItem(str(dtype), dtype)
        self.busy = QProgressBar(minimum=0, maximum=0, textVisible=False)
        self.busy.setFixedWidth(_BUSY_WIDTH)
        self.busy.setAccessibleName("The engine is at work")
        kept = self.busy.sizePolicy()
        kept.setRetainSizeWhenHidden(True)
        self.busy.setSizePolicy(kept)
        self.busy.hide()
        self.rest = QLabel(textFormat=Qt.TextFormat.PlainText, wordWrap=True)
        self.rest.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        self.rest.hide()
        self.bits, self.error, self.snr = map(self._figure, _TIPS)
        self.worst = QToolButton(autoRaise=True)
        self.worst.setToolTip("The largest magnitude of an error, |Q − W|, and where it is; click to show that weight")
        self.worst.clicked.connect(self._on_worst)
        self._build()
        self.set_params(QuantizationParams())
        self.show_quantized(None)
        for box in (self.method, self.block_size, self.dtype):
            box.currentIndexChanged.connect(self._on_changed)
        self.double_quant.toggled.connect(self._on_changed)

    def _build(self) -> None:
        method, blocks, dtype = QLabel("&Method"), QLabel("in &blocks of"), QLabel("&Type")
        for label, box in ((method, self.method), (blocks, self.block_size), (dtype, self.dtype)):
            label.setBuddy(box)
        parts = (method, self.method, blocks, self.block_size, self.double_quant, dtype, self.dtype, None, self.busy)
        params = in_row(*parts, spacing=theme.GRID)
        self._figures = held(in_row(self.bits, self.error, self.snr, self.worst, None, spacing=2 * theme.GRID))
        in_column(params, self.rest, self._figures, within=self, spacing=theme.HALF_GRID)

    def _figure(self, tip: str) -> QLabel:
        label = selectable_label(wraps=False)
        label.setFont(theme.tabular(label.font()))
        label.setToolTip(tip)
        return label

    # ---- public methods --------------------------------------------------------------------------------------

    def params(self) -> QuantizationParams:
        """The current parameters."""
        return QuantizationParams(
            method=self._method.name,
            block_size=self.block_size.currentData(),
            double_quant=self.double_quant.isChecked(),
            dtype=Dtype(self.dtype.currentData()),
        ).checked()

    def set_params(self, params: QuantizationParams) -> None:
        """Set the parameters without a signal. Those without meaning for the method are kept."""
        with QSignalBlocker(self):
            self.method.setCurrentIndex(self.method.findData(params.method))
            self._show_what_counts()
            if params.kind.has_blocks:
                self.block_size.setCurrentIndex(params.kind.block_sizes.index(params.block_size))
                self.double_quant.setChecked(params.double_quant)
            self.dtype.setCurrentIndex(self.dtype.findData(params.dtype))

    def show_quantized(self, quantized: QuantizedMatrix | None) -> None:
        """Show the figures of the result. None: unknown."""
        self._quantized = quantized
        figures = None if quantized is None else quantized.figures
        self.worst.setEnabled(figures is not None)
        if figures is None:
            self.bits.setText("bits a weight –")
            self.error.setText("relative error –")
            self.snr.setText("SNR –")
            self.worst.setText("largest error –")
        else:
            self.bits.setText(f"{significant(figures.bits_per_weight, 4)} bits a weight")
            self.error.setText(f"relative error {share_text(figures.relative_error)}")
            exact = figures.snr_db is None
            self.snr.setText("no error" if exact else f"SNR {significant(figures.snr_db or 0.0)} dB")
            row, column = figures.worst
            self.worst.setText(f"largest error {significant(figures.max_abs_error)} in row {row:,}, column {column:,}")

    def show_rest(self, reason: str) -> None:
        """Disable the parameters and show why. An empty reason enables them."""
        for box in (self.method, self.block_size, self.double_quant, self.dtype):
            box.setEnabled(not reason)
        self.rest.setText(reason)
        self.rest.setVisible(bool(reason))
        self._figures.setVisible(not reason)
        if not reason:
            self._show_what_counts()

    def set_state(self, *, busy: bool, of_these: bool) -> None:
        """Show whether the engine works. Figures that are not `of_these` parameters are greyed out."""
        self.busy.setVisible(busy)
        self._figures.setEnabled(of_these)

    # ---- widget → model --------------------------------------------------------------------------------------

    @property
    def _method(self) -> Method:
        return METHODS[self.method.currentData()]

    def _show_what_counts(self) -> None:
        method = self._method
        if method.has_blocks and method.block_sizes != self._sizes:
            chosen, self._sizes = self.block_size.currentData(), method.block_sizes
            with QSignalBlocker(self.block_size):
                self.block_size.clear()
                for size in self._sizes:
                    self.block_size.addItem(_WHOLE if size is None else f"{size:,} weights", size)
                self.block_size.setCurrentIndex(self._sizes.index(chosen) if chosen in self._sizes else 0)
        self.block_size.setEnabled(method.has_blocks)
        self.block_size.setToolTip("" if method.has_blocks else "This method keeps one scale a row.")
        self.double_quant.setEnabled(bool(method.double))
        if method.double:
            self.double_quant.setToolTip(method.double)

    @Slot()
    def _on_changed(self) -> None:
        self._show_what_counts()
        self.changed.emit(self.params())

    @Slot()
    def _on_worst(self) -> None:
        if self._quantized is not None and self._quantized.figures is not None:
            self.worst_requested.emit(*self._quantized.figures.worst)
