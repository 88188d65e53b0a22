"""What a comparison is chosen in."""

from typing import NamedTuple

from qplayground.ui.setup.model_bar import ModelBar
from qplayground.ui.setup.precision_panel import PrecisionPanel
from qplayground.ui.setup.prompt_box import PromptBox
from qplayground.ui.setup.run_options import RunOptions


class Choosers(NamedTuple):
    """The window's own, for those who read them together."""

    models: ModelBar
    precisions: PrecisionPanel
    prompt: PromptBox
    options: RunOptions
