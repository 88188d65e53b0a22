"""The prompt and its options, used as a user uses them."""

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractSpinBox, QLabel, QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from qplayground.core.generation import DEFAULT_PROMPT, GenerationRequest, GenerationSettings
from qplayground.runtime.storage.preferences import Preferences
from qplayground.ui.setup.prompt_box import PromptBox
from qplayground.ui.setup.prompt_menu import PromptMenu, example_prompts

LEFT = Qt.MouseButton.LeftButton
CONTROL = Qt.KeyboardModifier.ControlModifier


@pytest.fixture
def preferences(tmp_path: Path) -> Preferences:
    return Preferences.load(tmp_path / "preferences.json")


@pytest.fixture
def box(qtbot: QtBot, preferences: Preferences) -> PromptBox:
    box = PromptBox(preferences)
    qtbot.addWidget(box)
    box.resize(300, 420)
    with qtbot.waitExposed(box):
        box.show()
    return box


def type_number(qtbot: QtBot, spin: QAbstractSpinBox, text: str) -> None:
    spin.setFocus()
    spin.selectAll()
    qtbot.keyClicks(spin, text)
    qtbot.keyClick(spin, Qt.Key.Key_Return)


def sample(qtbot: QtBot, box: PromptBox) -> None:
    qtbot.mouseClick(box.options, LEFT)
    qtbot.keyClick(box.decoding, Qt.Key.Key_Down)


def open_menu(menu_button: PromptMenu) -> list[str]:
    """Let the menu fill itself, as it does before opening."""
    menu_button.menu().aboutToShow.emit()
    return [action.text() for action in menu_button.menu().actions()]


def test_it_starts_with_the_usual_request(box: PromptBox) -> None:
    assert box.request() == GenerationRequest()
    assert box.text.toPlainText() == DEFAULT_PROMPT
    assert not box.temperature.isVisible()


def test_it_starts_with_what_was_run_last(qtbot: QtBot, preferences: Preferences) -> None:
    request = GenerationRequest(prompt="Once", settings=GenerationSettings(max_new_tokens=7, do_sample=True, seed=3))
    preferences.remember_request(request)
    box = PromptBox(preferences)
    qtbot.addWidget(box)
    assert box.request() == request


def test_typing_changes_the_prompt(qtbot: QtBot, box: PromptBox) -> None:
    box.text.selectAll()
    with qtbot.waitSignal(box.changed):
        qtbot.keyClicks(box.text, "Two")
    qtbot.keyClick(box.text, Qt.Key.Key_Return)
    qtbot.keyClicks(box.text, "lines")
    assert box.request().prompt == "Two\nlines"


def test_each_number_reaches_the_request(qtbot: QtBot, box: PromptBox) -> None:
    sample(qtbot, box)
    for spin, text in (
        (box.max_new_tokens, "7"),
        (box.temperature, "1.25"),
        (box.top_p, "0.5"),
        (box.top_k, "12"),
        (box.repetition_penalty, "1.1"),
    ):
        with qtbot.waitSignal(box.changed):
            type_number(qtbot, spin, text)
    box.seed.selectAll()
    with qtbot.waitSignal(box.changed):
        qtbot.keyClicks(box.seed, "x9223372036854775807")  # letters are not accepted
    assert box.request().settings == GenerationSettings(
        max_new_tokens=7, do_sample=True, temperature=1.25, top_p=0.5, top_k=12, repetition_penalty=1.1, seed=2**63 - 1
    )


def test_an_emptied_seed_is_zero(qtbot: QtBot, box: PromptBox) -> None:
    sample(qtbot, box)
    box.seed.selectAll()
    qtbot.keyClick(box.seed, Qt.Key.Key_Delete)
    assert box.request().settings.seed == 0


def test_options_open_and_close_by_mouse_and_key(qtbot: QtBot, box: PromptBox) -> None:
    qtbot.mouseClick(box.options, LEFT)
    assert box.temperature.isVisible()
    assert box.repetition_penalty.isVisible()
    qtbot.keyClick(box.options, Qt.Key.Key_Space)
    assert not box.temperature.isVisible()


def test_sampling_fields_are_for_sampling_and_the_penalty_for_both(qtbot: QtBot, box: PromptBox) -> None:
    qtbot.mouseClick(box.options, LEFT)
    sampling = (box.temperature, box.top_p, box.top_k, box.seed)
    assert not any(field.isEnabled() for field in sampling)
    assert all(field.toolTip() for field in sampling)
    assert box.repetition_penalty.isEnabled()
    with qtbot.waitSignal(box.changed):
        qtbot.keyClick(box.decoding, Qt.Key.Key_Down)
    assert all(field.isEnabled() for field in sampling)
    assert box.request().settings.do_sample


@pytest.mark.parametrize(
    "settings",
    [
        GenerationSettings(max_new_tokens=100_000, do_sample=True, temperature=100, top_p=1, top_k=1_000_000, seed=7),
        GenerationSettings(temperature=0.0625, top_p=0.999, top_k=0, repetition_penalty=1.05, seed=2**40),
        GenerationSettings(temperature=1e-6),
    ],
)
def test_a_request_comes_back_as_it_was_set(box: PromptBox, settings: GenerationSettings) -> None:
    request = GenerationRequest(prompt="Zażółć\n\n  🙂\t", settings=settings)
    box.set_request(request)
    assert box.request() == request


def test_what_is_out_of_range_can_be_typed_and_is_not_hidden(qtbot: QtBot, box: PromptBox) -> None:
    sample(qtbot, box)
    type_number(qtbot, box.temperature, "0")
    assert "temperature" in (box.request().settings.problem() or "")


def test_the_chat_template_is_offered_where_the_model_has_one(qtbot: QtBot, box: PromptBox) -> None:
    qtbot.mouseClick(box.options, LEFT)
    assert not box.chat_template.isEnabled()
    assert "no chat template" in box.chat_template.toolTip()
    box.set_chat_template_available(True)
    with qtbot.waitSignal(box.changed):
        qtbot.keyClick(box.chat_template, Qt.Key.Key_Space)
    assert box.request().settings.chat_template
    with qtbot.waitSignal(box.changed):
        box.set_chat_template_available(False)
    assert not box.request().settings.chat_template
    assert not box.chat_template.isChecked()
    box.set_chat_template_available(True)
    assert box.request().settings.chat_template
    assert box.chat_template.isChecked()


def test_ctrl_return_submits_from_every_field_and_changes_nothing(qtbot: QtBot, box: PromptBox) -> None:
    sample(qtbot, box)
    before = box.request()
    fields = (
        box.text, box.max_new_tokens, box.decoding, box.options, box.temperature, box.top_p, box.top_k, box.seed,
        box.repetition_penalty,
    )  # fmt: skip
    for field in fields:
        for key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            with qtbot.waitSignal(box.submitted):
                qtbot.keyClick(field, key, CONTROL)
    assert box.request() == before
    with qtbot.assertNotEmitted(box.submitted):
        qtbot.keyClick(box.text, Qt.Key.Key_Return)


def test_a_number_half_typed_counts_when_submitting(qtbot: QtBot, box: PromptBox) -> None:
    box.max_new_tokens.selectAll()
    qtbot.keyClicks(box.max_new_tokens, "9")
    with qtbot.waitSignal(box.submitted):
        qtbot.keyClick(box.max_new_tokens, Qt.Key.Key_Return, CONTROL)
    assert box.request().settings.max_new_tokens == 9


def test_examples_replace_the_prompt_and_can_be_undone(qtbot: QtBot, box: PromptBox) -> None:
    titles = open_menu(box.examples)
    assert titles == [example.title for example in example_prompts()]
    action = box.examples.menu().actions()[3]
    with qtbot.waitSignal(box.changed):
        action.trigger()
    assert box.request().prompt == example_prompts()[3].prompt
    assert action.toolTip() == example_prompts()[3].prompt
    qtbot.keyClick(box.text, Qt.Key.Key_Z, CONTROL)
    assert box.request().prompt == DEFAULT_PROMPT


def test_the_examples_are_eight_or_more_different_short_prompts() -> None:
    examples = example_prompts()
    assert len(examples) >= 8
    assert (
        len({example.title for example in examples}) == len({example.prompt for example in examples}) == len(examples)
    )
    for example in examples:
        assert 0 < len(example.prompt) <= 200
        assert GenerationRequest(prompt=example.prompt).error() is None


def test_recent_prompts_are_read_when_the_menu_opens(qtbot: QtBot, box: PromptBox, preferences: Preferences) -> None:
    assert open_menu(box.recent) == ["None yet"]
    assert not box.recent.menu().actions()[0].isEnabled()
    long = "black & white\n" + "word " * 40
    preferences.remember_prompt(long)
    preferences.remember_prompt("short")
    texts = open_menu(box.recent)
    assert texts[0] == "short"
    assert texts[1].startswith("black && white word word")
    assert len(texts[1]) < 60
    box.recent.menu().actions()[1].trigger()
    assert box.request().prompt == long


def test_the_menus_open_by_keyboard(qtbot: QtBot, box: PromptBox) -> None:
    for button in (box.examples, box.recent):
        assert button.focusPolicy() & Qt.FocusPolicy.TabFocus
        with qtbot.waitSignal(button.menu().aboutToShow):
            button.menu().popup(button.mapToGlobal(button.rect().bottomLeft()))
        button.menu().close()


def test_an_error_stands_under_the_prompt_until_something_changes(qtbot: QtBot, box: PromptBox) -> None:
    assert not box.error.isVisible()
    box.show_error("The prompt is empty. Type a few words for the model to continue.")
    assert box.error.isVisible()
    assert box.error.text().startswith("The prompt is empty.")
    qtbot.keyClicks(box.text, "x")
    assert not box.error.isVisible()
    box.show_error("Again.")
    box.show_error("")
    assert not box.error.isVisible()


def test_an_error_moves_nothing_but_the_prompt(qtbot: QtBot, preferences: Preferences) -> None:
    window = QWidget()
    column = QVBoxLayout(window)
    above, box, below = QLabel("above"), PromptBox(preferences), QLabel("below")
    for widget in (above, box, below):
        column.addWidget(widget, 1)
    qtbot.addWidget(window)
    window.resize(300, 500)
    with qtbot.waitExposed(window):
        window.show()
    still = (above, box, below, box.max_new_tokens, box.decoding, box.options, box.examples)
    before, text = [widget.geometry() for widget in still], box.text.geometry()
    box.show_error("The prompt has 2,201 tokens; with 50 new ones that is more than the model's 2,048. " * 2)
    qtbot.waitUntil(lambda: box.text.height() < text.height())
    assert [widget.geometry() for widget in still] == before
    assert box.error.height() >= box.error.heightForWidth(box.error.width())


def test_everything_is_reachable_by_tab_in_reading_order(qtbot: QtBot, box: PromptBox) -> None:
    qtbot.mouseClick(box.options, LEFT)
    expected = [
        box.text, box.examples, box.recent, box.max_new_tokens, box.decoding, box.options, box.temperature, box.top_p,
        box.seed, box.top_k, box.repetition_penalty, box.chat_template,
    ]  # fmt: skip
    visited: list[QWidget] = []
    widget: QWidget | None = box.text
    for _ in range(100):
        if widget is None:
            break
        if widget in expected and widget not in visited:
            visited.append(widget)
        widget = widget.nextInFocusChain()
    assert visited == expected
    assert box.text.tabChangesFocus()
    for control in expected:
        assert control.accessibleName()
        assert control.focusPolicy() & Qt.FocusPolicy.TabFocus


def test_it_fits_three_hundred_pixels(qtbot: QtBot, box: PromptBox) -> None:
    qtbot.mouseClick(box.options, LEFT)
    assert box.minimumSizeHint().width() <= 300
