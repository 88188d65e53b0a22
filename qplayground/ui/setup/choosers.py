"""The widgets with the settings of a comparison."""

from typing import NamedTuple

from qplayground.ui.setup.model_bar import ModelBar
from qplayground.ui.setup.precision_panel import PrecisionPanel
from qplayground.ui.setup.prompt_box import PromptBox
from qplayground.ui.setup.run_options import RunOptions


class Choosers(NamedTuple):
    """The window's setup widgets, for code that reads several of them."""

    models: ModelBar
    precisions: PrecisionPanel
    prompt: PromptBox
    options: RunOptions
