"""The options of one precision, shown in place below its row."""

from typing import assert_never

import msgspec
from PySide6.QtCore import Signal
from PySide6.QtGui import QPalette, QStandardItemModel, QWheelEvent
from PySide6.QtWidgets import QCheckBox, QComboBox, QGridLayout, QLabel, QLineEdit, QWidget

from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorCode, PlaygroundError, fail
from qplayground.core.precision import Precision
from qplayground.core.quantizers.base import Choice, Number, Option, Quantizer, Switch
from qplayground.core.quantizers.registry import FAMILIES, Quantization
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.parts import button, caption, in_row, note, selectable_label

NO_BFLOAT16 = "This machine cannot compute in bfloat16, so float16 is used instead."
_KINDS = (("Not quantized", None), *((family.title, family) for family in FAMILIES))
_FORMAT_PLAIN = "Holds every weight, and the KV cache."
_FORMAT_QUANTIZED = (
    "Holds what is not quantized: embeddings, norms, the output head. The KV cache as well, "
    "which is why quantizing does not shrink it."
)
_SKIP = "Module names, separated by commas, that stay unquantized; added to the ones transformers always skips."
_READY_NOTE = (
    "The options that give {label} its name are fixed. “New precision…” makes a copy in which everything can be set."
)
_READY_PLAIN_NOTE = (
    "{label} holds every weight, and the KV cache, in {dtype}: there is nothing to set. "
    "“New precision…” makes a copy in which everything can be set."
)


class _Choice(QComboBox):
    """A combo box that ignores the mouse wheel, so that scrolling the list changes nothing."""

    def __init__(self, items: tuple[tuple[str, object], ...]) -> None:
        super().__init__()
        for text, value in items:
            self.addItem(text, value)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(6)

    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()

    def value(self) -> object:
        return self.currentData()

    def choose(self, value: object) -> None:
        values = [self.itemData(index) for index in range(self.count())]
        self.setCurrentIndex(values.index(value))


class PrecisionEditor(QWidget):
    """Edits one Precision and proposes the result. The owner of the precisions saves it or shows an error.

    Signals: `edited(Precision)` after a valid change, `reset_requested()` (built-in precisions), `remove_requested()`
    (the user's own), `error_shown()`.
    """

    edited = Signal(object)
    reset_requested = Signal()
    remove_requested = Signal()
    error_shown = Signal()

    def __init__(self, precision: Precision, *, ready: bool) -> None:
        super().__init__()
        self._precision = precision
        self._ready = ready
        self._rows: dict[QWidget, tuple[QLabel, QLabel]] = {}
        # A grid, because QFormLayout gives wrapped text below its fields too little height.
        self._form = QGridLayout(self)
        self._form.setContentsMargins(theme.GRID * 3, theme.HALF_GRID, theme.GRID, theme.HALF_GRID)
        self._form.setHorizontalSpacing(theme.GRID)
        self._form.setVerticalSpacing(theme.HALF_GRID)
        self._form.setColumnStretch(1, 1)
        self._build()
        self._bind()
        self.set_precision(precision, edited=False)

    # ---- build ----------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        dtypes = tuple((dtype.value, dtype) for dtype in Dtype)
        self.name = QLineEdit()
        self.kind = _Choice(_KINDS)
        self.dtype = _Choice(dtypes)
        self._options = {
            family: {option.name: _control(option, family()) for option in family.options} for family in FAMILIES
        }
        self.skip_modules = QLineEdit(placeholderText="none")
        self.fixed = note("")
        self._form.addWidget(self.fixed, 0, 0, 1, 2)
        self.fixed.setVisible(self._ready)
        self._add("N&ame", self.name, "Also its name on the command line.")
        self._add("&Kind", self.kind, "Whether the linear layers are quantized, and to what.")
        self._add("Fo&rmat", self.dtype, _FORMAT_PLAIN)
        for family in FAMILIES:
            for option in family.options:
                label = "" if isinstance(option, Switch) else option.label
                self._add(label, self.option(family, option.name), option.explanation)
        self._add("Skip mod&ules", self.skip_modules, _SKIP)
        self.error = selectable_label("What is wrong with these options", QPalette.ColorRole.BrightText)
        self._form.addWidget(self.error, self._form.rowCount(), 0, 1, 2)
        self.reset = button("R&eset", self.reset_requested, "Restore this precision's original options")
        self.remove = button("Remo&ve", self.remove_requested, "Forget this precision")
        for each in (self.reset, self.remove):
            each.setAccessibleDescription(each.toolTip())
            each.setAutoDefault(False)
        buttons = in_row(None, self.reset, self.remove)
        self._form.addLayout(buttons, self._form.rowCount(), 0, 1, 2)
        self.remove.setVisible(not self._ready)

    def _add(self, label: str, control: QWidget, explanation: str) -> None:
        row = self._form.rowCount()
        text = caption(label, control)
        self._form.addWidget(text, row, 0)
        self._form.addWidget(control, row, 1 if label else 0, 1, 1 if label else 2)
        below = note(explanation)
        self._form.addWidget(below, row + 1, 0, 1, 2)
        name = label or (control.text() if isinstance(control, QCheckBox) else "")
        control.setAccessibleName(name.replace("&", ""))
        control.setAccessibleDescription(explanation)
        self._rows[control] = (text, below)

    def controls(self) -> list[QWidget]:
        """Every control that changes the precision, from top to bottom."""
        options = [control for controls in self._options.values() for control in controls.values()]
        return [self.name, self.kind, self.dtype, *options, self.skip_modules]

    def option(self, family: type[Quantization], name: str) -> QWidget:
        """The control of a family's option."""
        return self._options[family][name]

    # ---- model → widget -------------------------------------------------------------------------------------------

    def set_precision(self, precision: Precision, *, edited: bool) -> None:
        """Show a precision. Options of other kinds keep their last input. `edited`: offer a reset."""
        self._precision = precision
        self.show_error("")
        fixed = _READY_NOTE if precision.is_quantized else _READY_PLAIN_NOTE
        self.fixed.setText(fixed.format(label=precision.label, dtype=precision.dtype))
        self.name.setText(precision.name)
        self.kind.choose(type(precision.quantization) if precision.quantization else None)
        self.dtype.choose(precision.dtype)
        if precision.quantization is not None:
            for name, control in self._options[type(precision.quantization)].items():
                _show(control, getattr(precision.quantization, name))
            self.skip_modules.setText(", ".join(precision.skip_modules))
        self.reset.setVisible(self._ready and edited)
        self._show_rows()

    def discard(self) -> None:
        """Discard pending input and show the saved options again."""
        self.set_precision(self._precision, edited=not self.reset.isHidden())

    def set_bfloat16_available(self, available: bool) -> None:
        """Offer bfloat16, or disable it where built-in quantized precisions have it replaced on this machine."""
        replaced = self._ready and self._precision.is_quantized and not available
        for choice in self.controls():
            model = choice.model() if isinstance(choice, _Choice) else None
            place = choice.findData(Dtype.BFLOAT16) if isinstance(choice, _Choice) else -1
            if isinstance(model, QStandardItemModel) and place >= 0:
                item = model.item(place)
                item.setEnabled(not replaced)
                item.setToolTip(NO_BFLOAT16 if replaced else "")

    def show_error(self, text: str) -> None:
        """Show why the input is invalid. The input stays but is not saved. Empty: hide the message."""
        self.error.setText(text)
        self.error.setVisible(bool(text))
        if text:
            self.error_shown.emit()

    def _show_rows(self) -> None:
        kind = self.kind.value()
        visible: dict[QWidget, bool] = {
            self.name: not self._ready,
            self.kind: not self._ready,
            self.dtype: kind is not None or not self._ready,
            self.skip_modules: kind is not None,
        }
        for family in FAMILIES:
            for option in family.options:
                visible[self.option(family, option.name)] = kind is family and not (option.is_fixed and self._ready)
        for control, labels in self._rows.items():
            for widget in (control, *labels):
                widget.setVisible(visible[control])
        text, below = self._rows[self.dtype]
        text.setText("Fo&rmat of the rest" if kind else "Fo&rmat")
        below.setText(_FORMAT_QUANTIZED if kind else _FORMAT_PLAIN)
        self.dtype.setAccessibleName(text.text().replace("&", ""))
        self.dtype.setAccessibleDescription(below.text())

    # ---- widget → model -------------------------------------------------------------------------------------------

    def _bind(self) -> None:
        for control in self.controls():
            if isinstance(control, _Choice):
                control.activated.connect(self._on_edited)
            elif isinstance(control, QCheckBox):
                control.clicked.connect(self._on_edited)
            elif isinstance(control, QLineEdit):
                control.editingFinished.connect(self._on_edited)

    def draft(self) -> Precision:
        """The precision as entered. Raises PlaygroundError(BAD_PRECISION) if it is invalid."""
        name = self._precision.name if self._ready else self.name.text().strip()
        quantization = self._quantization()
        return Precision(
            name=name,
            label=self._precision.label if name == self._precision.name else name,
            dtype=msgspec.convert(self.dtype.value(), Dtype),
            quantization=quantization,
            skip_modules=self._modules() if quantization else (),
        ).checked()

    def _quantization(self) -> Quantization | None:
        family = next((family for family in FAMILIES if family is self.kind.value()), None)
        if family is None:
            return None
        values = {option.name: _value(option, self.option(family, option.name)) for option in family.options}
        return msgspec.convert(values, family)

    def _modules(self) -> tuple[str, ...]:
        names = (name.strip() for name in self.skip_modules.text().split(","))
        return tuple(dict.fromkeys(name for name in names if name))

    def _on_edited(self) -> None:
        self._show_rows()
        try:
            draft = self.draft()
        except PlaygroundError as error:
            self.show_error(str(error))
            return
        self.show_error("")
        if draft != self._precision:
            self.edited.emit(draft)


def _control(option: Option, defaults: Quantizer) -> QWidget:
    """The control of an option, set to its default."""
    control: QWidget
    match option:
        case Number():
            control = QLineEdit()
        case Choice():
            control = _Choice(tuple((value, value) for value in option.values))
        case Switch():
            control = QCheckBox(option.label)
        case _:
            assert_never(option)
    _show(control, getattr(defaults, option.name))
    return control


def _show(control: QWidget, value: object) -> None:
    if isinstance(control, _Choice):
        control.choose(value)
    elif isinstance(control, QCheckBox):
        control.setChecked(bool(value))
    elif isinstance(control, QLineEdit):
        control.setText(f"{value:g}")


def _value(option: Option, control: QWidget) -> object:
    """The entered value. Raises PlaygroundError(BAD_PRECISION) if it should be a number and is not."""
    if isinstance(control, _Choice):
        return control.value()
    if isinstance(control, QCheckBox):
        return control.isChecked()
    assert isinstance(option, Number) and isinstance(control, QLineEdit)
    text = control.text()
    try:
        return float(text.strip().replace(",", "."))
    except ValueError:
        what = option.label.replace("&", "").lower()
        raise fail(ErrorCode.BAD_PRECISION, f"The {what} must be a number, not {text!r}.", option.wrong) from None
