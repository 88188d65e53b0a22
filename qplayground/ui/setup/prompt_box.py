"""The prompt and its generation settings."""

from itertools import pairwise

from msgspec.structs import replace
from PySide6.QtCore import QRegularExpression, QSize, Qt, Signal
from PySide6.QtGui import QKeyEvent, QPalette, QRegularExpressionValidator
from PySide6.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QPlainTextEdit,
    QSizePolicy,
    QSpinBox,
    QWidget,
)

from qplayground.core.generation import MAX_NEW_TOKENS_LIMIT, GenerationRequest, GenerationSettings
from qplayground.runtime.storage.preferences import Preferences
from qplayground.ui.setup.prompt_menu import PromptMenu, TitledPrompt, example_prompts
from qplayground.ui.widgets import theme
from qplayground.ui.widgets.parts import caption, choice, flat_button, heading, in_column, in_row, selectable_label

_NO_CHAT_TEMPLATE = "This model brings no chat template."
_CHAT_TEMPLATE = "Wrap the prompt the way this model was trained to be talked to."
_ONLY_SAMPLING = "Used when sampling only."


class _Number(QDoubleSpinBox):
    """A number without trailing zeros."""

    def __init__(self, lowest: float, highest: float, step: float) -> None:
        super().__init__(decimals=6, minimum=lowest, maximum=highest, singleStep=step)

    def textFromValue(self, value: float) -> str:
        return self.locale().toString(value, "g", 6)


class _Area(QWidget):
    """Keeps a constant size hint, so that an error message takes its room from the text field."""

    def __init__(self, lines: int) -> None:
        super().__init__()
        self._lines = lines
        theme.follow_text(self, lambda: self.setMinimumHeight(self._height()))

    def _height(self) -> int:
        return self._lines * self.fontMetrics().lineSpacing()

    def sizeHint(self) -> QSize:
        return QSize(super().sizeHint().width(), self._height())

    def hasHeightForWidth(self) -> bool:
        return False


class PromptBox(QWidget):
    """Edits a GenerationRequest. It validates nothing: `show_error` shows the error found by others.

    Signals: `changed()` when the request changes, `submitted()` on Ctrl+Return in any field.
    """

    changed = Signal()
    submitted = Signal()

    def __init__(self, preferences: Preferences) -> None:
        super().__init__()
        self._preferences = preferences
        self._chat_template_available = False
        self._chat_template_wanted = False
        self._build()
        self.set_request(preferences.last_request or GenerationRequest())
        self.set_chat_template_available(False)
        self._bind()

    # ---- build ----------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        head, text = self._build_heading(), self._build_text()
        below = (self._build_length(), self._build_options())
        in_column(head, text, *below, within=self, grows=text, spacing=theme.GRID, margins=theme.GRID)
        order = (
            self.text, self.examples, self.recent, self.max_new_tokens, self.decoding, self.options, self.temperature,
            self.top_p, self.seed, self.top_k, self.repetition_penalty, self.chat_template,
        )  # fmt: skip
        for before, after in pairwise(order):
            self.setTabOrder(before, after)

    def _build_heading(self) -> QHBoxLayout:
        self.text = QPlainTextEdit(tabChangesFocus=True, placeholderText="Type a few words for the model to continue.")
        self.text.setAccessibleName("Prompt")
        title = heading("&Prompt")
        title.setBuddy(self.text)
        self.examples = PromptMenu("Examp&les", "Prompts to start from", example_prompts)
        self.recent = PromptMenu("Recen&t", "Prompts that were run before", self._recent_prompts)
        return in_row(title, None, self.examples, self.recent)

    def _build_text(self) -> QWidget:
        theme.follow_text(self.text, lambda: self.text.setMinimumHeight(3 * self.text.fontMetrics().lineSpacing()))
        self.error = selectable_label("What is wrong with the prompt or its options", QPalette.ColorRole.BrightText)
        self.error.hide()
        area = _Area(8)
        in_column(self.text, self.error, within=area, grows=self.text, spacing=theme.HALF_GRID)
        return area

    def _build_length(self) -> QGridLayout:
        self.max_new_tokens = QSpinBox(minimum=1, maximum=MAX_NEW_TOKENS_LIMIT)
        self.decoding = choice("Decoding", [("Greedy", False), ("Sampling", True)])
        self.decoding.setToolTip("Greedy always takes the likeliest token; sampling draws one.")
        self.options = flat_button("&Options", "Sampling, repetition penalty, chat template", checkable=True)
        self.options.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.options.setAccessibleName("Options")
        grid = QGridLayout()
        grid.setHorizontalSpacing(theme.GRID)
        grid.setVerticalSpacing(theme.HALF_GRID)
        grid.setColumnStretch(1, 1)
        _labelled(grid, 0, 0, "Ma&x new tokens", self.max_new_tokens)
        _labelled(grid, 1, 0, "Decodin&g", self.decoding)
        grid.addWidget(self.options, 1, 2)
        return grid

    def _build_options(self) -> QWidget:
        self.temperature = _Number(0, 100, 0.1)
        self.top_p = _Number(0, 1, 0.05)
        self.top_k = QSpinBox(maximum=1_000_000)
        self.top_k.setSpecialValueText("off")
        self.seed = QLineEdit()
        self.seed.setValidator(QRegularExpressionValidator(QRegularExpression("[0-9]{1,19}"), self.seed))
        self.repetition_penalty = _Number(0, 100, 0.05)
        self.repetition_penalty.setToolTip("1 is off. Applies to greedy decoding as well.")
        self.chat_template = QCheckBox("Chat template")
        self.chat_template.setAccessibleName("Chat template")
        self._options_area = QWidget()
        self._options_area.hide()
        grid = QGridLayout(self._options_area)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(theme.GRID)
        grid.setVerticalSpacing(theme.HALF_GRID)
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(3, 1)
        _labelled(grid, 0, 0, "Temperature", self.temperature)
        _labelled(grid, 0, 2, "Top-p", self.top_p)
        _labelled(grid, 1, 0, "Seed", self.seed)
        _labelled(grid, 1, 2, "Top-k", self.top_k)
        _labelled(grid, 2, 0, "Repetition penalty", self.repetition_penalty, label_columns=2, columns=2)
        grid.addWidget(self.chat_template, 3, 0, 1, 4)
        return self._options_area

    # ---- model → widget -------------------------------------------------------------------------------------------

    def set_request(self, request: GenerationRequest) -> None:
        """Show a request."""
        settings = request.settings
        if self.text.toPlainText() != request.prompt:
            self.text.setPlainText(request.prompt)
        self.max_new_tokens.setValue(settings.max_new_tokens)
        self.decoding.setCurrentIndex(self.decoding.findData(settings.do_sample))
        self.temperature.setValue(settings.temperature)
        self.top_p.setValue(settings.top_p)
        self.top_k.setValue(settings.top_k)
        self.seed.setText(str(settings.seed))
        self.repetition_penalty.setValue(settings.repetition_penalty)
        self._chat_template_wanted = settings.chat_template
        self._show_chat_template()
        self._show_sampling()

    def set_chat_template_available(self, available: bool) -> None:
        """Enable the chat template, or show why it is unavailable. The user's choice is kept for other models."""
        before = self.request()
        self._chat_template_available = available
        self._show_chat_template()
        if self.request() != before:
            self._on_changed()

    def show_error(self, text: str) -> None:
        """Show an error below the prompt until the request changes. Empty: hide it."""
        self.error.setText(text)
        self.error.setToolTip(theme.literal(text))
        self.error.setVisible(bool(text))

    def _show_chat_template(self) -> None:
        self.chat_template.setEnabled(self._chat_template_available)
        self.chat_template.setChecked(self._chat_template_available and self._chat_template_wanted)
        tooltip = _CHAT_TEMPLATE if self._chat_template_available else _NO_CHAT_TEMPLATE
        self.chat_template.setToolTip(tooltip)
        self.chat_template.setAccessibleDescription(tooltip)

    def _show_sampling(self) -> None:
        sampling = bool(self.decoding.currentData())
        for field in (self.temperature, self.top_p, self.top_k, self.seed):
            field.setEnabled(sampling)
            field.setToolTip("" if sampling else _ONLY_SAMPLING)

    def _show_options(self, opened: bool) -> None:
        self._options_area.setVisible(opened)
        self.options.setArrowType(Qt.ArrowType.DownArrow if opened else Qt.ArrowType.RightArrow)

    def _recent_prompts(self) -> list[TitledPrompt]:
        return [TitledPrompt(prompt, prompt) for prompt in self._preferences.recent_prompts]

    # ---- widget → model -------------------------------------------------------------------------------------------

    def request(self) -> GenerationRequest:
        """The request as entered, valid or not; see GenerationRequest.error."""
        as_ticked = self.request_as_ticked()
        template = self._chat_template_available and self._chat_template_wanted
        return replace(as_ticked, settings=replace(as_ticked.settings, chat_template=template))

    def request_as_ticked(self) -> GenerationRequest:
        """The request with the chat template as ticked, even if the picked model has none."""
        return GenerationRequest(
            prompt=self.text.toPlainText(),
            settings=GenerationSettings(
                max_new_tokens=self.max_new_tokens.value(),
                do_sample=bool(self.decoding.currentData()),
                temperature=self.temperature.value(),
                top_p=self.top_p.value(),
                top_k=self.top_k.value(),
                repetition_penalty=self.repetition_penalty.value(),
                seed=int(self.seed.text() or 0),
                chat_template=self._chat_template_wanted,
            ),
        )

    def keyPressEvent(self, event: QKeyEvent) -> None:
        # Not a QShortcut, because it would be ambiguous with the window's action on the same keys; neither would run.
        enter = event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        if enter and event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self.submitted.emit()
        else:
            super().keyPressEvent(event)

    def _bind(self) -> None:
        self._show_options(False)
        self.options.toggled.connect(self._show_options)
        self.examples.chosen.connect(self._on_chosen)
        self.recent.chosen.connect(self._on_chosen)
        self.text.textChanged.connect(self._on_changed)
        self.decoding.currentIndexChanged.connect(self._show_sampling)
        self.decoding.currentIndexChanged.connect(self._on_changed)
        self.seed.textChanged.connect(self._on_changed)
        self.chat_template.clicked.connect(self._on_chat_template_clicked)
        for number in (self.max_new_tokens, self.top_k, self.temperature, self.top_p, self.repetition_penalty):
            number.valueChanged.connect(self._on_changed)

    def _on_chosen(self, prompt: str) -> None:
        # Inserted as an edit, so that Ctrl+Z restores the previous text.
        cursor = self.text.textCursor()
        cursor.select(cursor.SelectionType.Document)
        cursor.insertText(prompt)
        self.text.setFocus()

    def _on_changed(self) -> None:
        self.show_error("")
        self.changed.emit()

    def _on_chat_template_clicked(self, checked: bool) -> None:
        self._chat_template_wanted = checked
        self._on_changed()


def _labelled(
    grid: QGridLayout, row: int, column: int, text: str, field: QWidget, *, label_columns: int = 1, columns: int = 1
) -> None:
    field.setAccessibleName(text.replace("&", ""))
    field.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    grid.addWidget(caption(text, field), row, column, 1, label_columns)
    grid.addWidget(field, row, column + label_columns, 1, columns)
