"""The options of one precision, changed as a user changes them."""

from collections.abc import Callable

import msgspec
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QAbstractButton, QApplication, QComboBox, QLabel, QLineEdit, QWidget
from pytestqt.qtbot import QtBot

from qplayground.core.dtype import Dtype
from qplayground.core.precision import READY_PRECISIONS, Precision
from qplayground.core.quantizers.bitsandbytes_4bit import FourBit
from qplayground.core.quantizers.bitsandbytes_int8 import Int8
from qplayground.ui.setup.precision_editor import PrecisionEditor

MakeEditor = Callable[[Precision, bool], PrecisionEditor]


def ready(name: str) -> Precision:
    return next(precision for precision in READY_PRECISIONS if precision.name == name)


def own(name: str) -> Precision:
    return msgspec.structs.replace(ready(name), name="mine", label="mine")


@pytest.fixture
def make(qtbot: QtBot) -> MakeEditor:
    def make(precision: Precision, is_ready: bool) -> PrecisionEditor:
        editor = PrecisionEditor(precision, ready=is_ready)
        qtbot.addWidget(editor)
        editor.resize(300, 700)
        editor.show()
        qtbot.waitExposed(editor)
        return editor

    return make


def choose(qtbot: QtBot, box: QWidget, text: str) -> None:
    """Pick an entry with the arrow keys."""
    assert isinstance(box, QComboBox)
    box.setFocus()
    for _ in range(box.count()):
        if box.currentText() != text:
            down = box.findText(text) > box.currentIndex()
            qtbot.keyClick(box, Qt.Key.Key_Down if down else Qt.Key.Key_Up)
    assert box.currentText() == text, f"{text} cannot be chosen"


def type_over(qtbot: QtBot, field: QWidget, text: str) -> None:
    assert isinstance(field, QLineEdit)
    field.setFocus()
    field.selectAll()
    qtbot.keyClick(field, Qt.Key.Key_Delete)
    qtbot.keyClicks(field, text)
    qtbot.keyClick(field, Qt.Key.Key_Return)


def threshold_text(editor: PrecisionEditor) -> str:
    field = editor.option(Int8, "threshold")
    assert isinstance(field, QLineEdit)
    return field.text()


def shown(editor: PrecisionEditor) -> set[str]:
    controls: list[QWidget] = [*editor.findChildren(QComboBox), *editor.findChildren(QLineEdit)]
    controls += editor.findChildren(QAbstractButton)
    return {control.accessibleName() or getattr(control, "text", str)() for control in controls if control.isVisible()}


@pytest.mark.parametrize(
    ("name", "controls"),
    [
        ("fp32", set()),
        ("int8", {"Format of the rest", "Outlier threshold", "Skip modules"}),
        ("nf4", {"Format of the rest", "Computes in", "Skip modules"}),
    ],
)
def test_a_ready_precision_offers_what_does_not_change_what_it_is(
    make: MakeEditor, name: str, controls: set[str]
) -> None:
    editor = make(ready(name), True)
    assert shown(editor) == controls
    assert ready(name).label in editor.fixed.text()
    assert "New precision" in editor.fixed.text()


@pytest.mark.parametrize(
    ("name", "controls"),
    [
        ("fp32", {"Format"}),
        ("int8", {"Format of the rest", "Outlier threshold", "Skip modules"}),
        ("nf4", {"Format of the rest", "Quant type", "Computes in", "Double quantization", "Skip modules"}),
    ],
)
def test_an_own_precision_offers_everything_that_its_kind_has(make: MakeEditor, name: str, controls: set[str]) -> None:
    assert shown(make(own(name), False)) == {"Name", "Kind", "Remo&ve", *controls}


@pytest.mark.parametrize("name", ["fp32", "bf16", "int8", "nf4", "nf4-dq", "fp4-dq"])
@pytest.mark.parametrize("is_ready", [True, False])
def test_what_is_shown_is_the_precision_itself(make: MakeEditor, name: str, is_ready: bool) -> None:
    precision = ready(name) if is_ready else own(name)
    assert make(precision, is_ready).draft() == precision


def test_every_option_explains_itself_to_eyes_and_ears(make: MakeEditor) -> None:
    editor = make(own("nf4"), False)
    texts = {label.text() for label in editor.findChildren(QLabel) if label.isVisible()}
    for control in (
        *(editor.name, editor.kind, editor.dtype, editor.skip_modules),
        *(editor.option(FourBit, option.name) for option in FourBit.options),
    ):
        assert control.accessibleName()
        assert control.accessibleDescription() in texts
        assert control.focusPolicy() & Qt.FocusPolicy.TabFocus
    assert any("KV cache" in text for text in texts)


def test_labels_lead_to_their_fields(make: MakeEditor) -> None:
    editor = make(own("int8"), False)
    buddies = {label.buddy() for label in editor.findChildren(QLabel) if label.buddy() and "&" in label.text()}
    assert {editor.name, editor.kind, editor.dtype, editor.option(Int8, "threshold"), editor.skip_modules} <= buddies


def test_each_option_of_four_bit_is_proposed_as_it_is_changed(qtbot: QtBot, make: MakeEditor) -> None:
    editor = make(own("nf4"), False)
    edits: list[Precision] = []
    editor.edited.connect(edits.append)

    choose(qtbot, editor.dtype, "float32")
    assert edits.pop() == msgspec.structs.replace(own("nf4"), dtype=Dtype.FLOAT32)
    choose(qtbot, editor.dtype, "bfloat16")
    choose(qtbot, editor.option(FourBit, "quant_type"), "fp4")
    assert edits.pop().quantization == FourBit(quant_type="fp4")
    choose(qtbot, editor.option(FourBit, "compute_dtype"), "float16")
    assert edits.pop().quantization == FourBit(quant_type="fp4", compute_dtype=Dtype.FLOAT16)
    qtbot.keyClick(editor.option(FourBit, "double_quantization"), Qt.Key.Key_Space)
    type_over(qtbot, editor.skip_modules, " layers.1, q_proj,,layers.1 ,")
    assert edits.pop().skip_modules == ("layers.1", "q_proj")


def test_double_quantization_is_ticked_by_mouse_and_key(qtbot: QtBot, make: MakeEditor) -> None:
    editor = make(own("nf4"), False)
    with qtbot.waitSignal(editor.edited) as edit:
        qtbot.keyClick(editor.option(FourBit, "double_quantization"), Qt.Key.Key_Space)
    assert edit.args[0].quantization == FourBit(double_quantization=True)


@pytest.mark.parametrize(("text", "threshold"), [("0", 0.0), ("4.5", 4.5), ("4,5", 4.5), (" 7 ", 7.0)])
def test_the_outlier_threshold_is_a_number(qtbot: QtBot, make: MakeEditor, text: str, threshold: float) -> None:
    editor = make(ready("int8"), True)
    with qtbot.waitSignal(editor.edited) as edit:
        type_over(qtbot, editor.option(Int8, "threshold"), text)
    assert edit.args[0] == msgspec.structs.replace(ready("int8"), quantization=Int8(threshold=threshold))


@pytest.mark.parametrize("text", ["", "six", "-1", "nan", "inf", "1e9"])
def test_what_is_no_threshold_is_said_in_place_and_not_lost(qtbot: QtBot, make: MakeEditor, text: str) -> None:
    editor = make(ready("int8"), True)
    with qtbot.assertNotEmitted(editor.edited), qtbot.waitSignal(editor.error_shown):
        type_over(qtbot, editor.option(Int8, "threshold"), text)
    assert "threshold" in editor.error.text()
    assert editor.error.isVisible()
    assert threshold_text(editor) == text
    with qtbot.waitSignal(editor.edited):
        type_over(qtbot, editor.option(Int8, "threshold"), "5")
    assert not editor.error.isVisible()


def test_what_is_no_name_or_module_is_said_in_place(qtbot: QtBot, make: MakeEditor) -> None:
    editor = make(own("int8"), False)
    with qtbot.assertNotEmitted(editor.edited):
        type_over(qtbot, editor.name, "My name")
        assert "'My name' is not a usable name" in editor.error.text()
        type_over(qtbot, editor.skip_modules, "layers 1")  # a second mistake keeps the text of the first
        choose(qtbot, editor.dtype, "float32")
    assert (editor.name.text(), editor.skip_modules.text()) == ("My name", "layers 1")
    type_over(qtbot, editor.name, "my-name")
    assert editor.error.text().startswith("'layers 1' is not a module name.")
    with qtbot.waitSignal(editor.edited) as edit:
        type_over(qtbot, editor.skip_modules, "layers.1")
    assert edit.args[0] == Precision(
        name="my-name", label="my-name", dtype=Dtype.FLOAT32, quantization=Int8(), skip_modules=("layers.1",)
    )


def test_going_to_another_kind_and_back_loses_nothing(qtbot: QtBot, make: MakeEditor) -> None:
    before = msgspec.structs.replace(
        own("int8"), quantization=Int8(threshold=2.5), skip_modules=("a", "b"), dtype=Dtype.FLOAT16
    )
    editor = make(before, False)
    editor.edited.connect(lambda edited: editor.set_precision(edited, edited=False))
    choose(qtbot, editor.kind, "4-bit")
    assert editor.draft().quantization == FourBit()
    choose(qtbot, editor.kind, "Not quantized")
    assert editor.draft() == Precision(name="mine", label="mine", dtype=Dtype.FLOAT16)
    choose(qtbot, editor.kind, "8-bit, LLM.int8()")
    assert editor.draft() == before


def test_leaving_a_field_unchanged_proposes_nothing(qtbot: QtBot, make: MakeEditor) -> None:
    editor = make(own("int8"), False)
    with qtbot.assertNotEmitted(editor.edited):
        for field in (editor.name, editor.option(Int8, "threshold"), editor.skip_modules):
            field.setFocus()
            qtbot.keyClick(field, Qt.Key.Key_Return)


def test_the_wheel_changes_no_choice(qtbot: QtBot, make: MakeEditor) -> None:
    editor = make(own("nf4"), False)
    event = QWheelEvent(
        QPointF(5, 5), QPointF(5, 5), QPoint(0, 0), QPoint(0, -120), Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    with qtbot.assertNotEmitted(editor.edited):
        QApplication.sendEvent(editor.kind, event)
    assert editor.draft() == own("nf4")


def test_reset_is_for_edited_ready_precisions_and_remove_for_own_ones(qtbot: QtBot, make: MakeEditor) -> None:
    editor = make(ready("int8"), True)
    assert not editor.reset.isVisible()
    assert not editor.remove.isVisible()
    editor.set_precision(msgspec.structs.replace(ready("int8"), dtype=Dtype.FLOAT32), edited=True)
    with qtbot.waitSignal(editor.reset_requested):
        qtbot.mouseClick(editor.reset, Qt.MouseButton.LeftButton)
    mine = make(own("int8"), False)
    assert not mine.reset.isVisible()
    with qtbot.waitSignal(mine.remove_requested):
        qtbot.mouseClick(mine.remove, Qt.MouseButton.LeftButton)


def test_without_bfloat16_a_ready_quantized_precision_cannot_ask_for_it(qtbot: QtBot, make: MakeEditor) -> None:
    editor = make(ready("nf4").without_bfloat16(), True)
    editor.set_bfloat16_available(False)
    with pytest.raises(AssertionError, match="cannot be chosen"):
        choose(qtbot, editor.option(FourBit, "compute_dtype"), "bfloat16")
    editor.set_bfloat16_available(True)
    choose(qtbot, editor.option(FourBit, "compute_dtype"), "bfloat16")
    mine = make(own("nf4"), False)
    mine.set_bfloat16_available(False)
    choose(qtbot, mine.dtype, "float32")
    choose(qtbot, mine.dtype, "bfloat16")
