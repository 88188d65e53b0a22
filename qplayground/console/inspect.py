"""What quantizing costs a model's layers, without a window."""

from PySide6.QtCore import Slot

from qplayground.console.task import ConsoleTask
from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorCode, PlaygroundError, fail
from qplayground.core.inside import BLOCK_SIZES, LayerRow, LeftOut, QuantizationParams
from qplayground.core.messages.events import Progressed
from qplayground.core.model import ModelEntry
from qplayground.core.quantizers.installed import missing
from qplayground.core.quantizers.registry import OWNERS, available_methods
from qplayground.runtime.comparison.session import Session
from qplayground.runtime.inside.survey import LayerSurvey
from qplayground.runtime.models.library import Library

WHOLE_TENSOR = "tensor"
"""The block size that is none."""
_TELLINGS = 10


class ConsoleInspect(ConsoleTask):
    """Surveys layers. What was measured is then in `rows`, what was not in `left_out`."""

    def __init__(self, session: Session, library: Library, survey: LayerSurvey) -> None:
        super().__init__(session, library)
        self._survey = survey
        self._params: tuple[QuantizationParams, ...] = ()
        self._modules: tuple[str, ...] = ()
        self._told = 0
        self.entry: ModelEntry | None = None
        self.rows: list[LayerRow] = []
        self.left_out: tuple[LeftOut, ...] = ()
        survey.measured.connect(self._on_measured)
        survey.progressed.connect(self._on_progressed)
        survey.succeeded.connect(self._on_succeeded)
        survey.failed.connect(self.give_up)

    def run(self, model: str, params: tuple[QuantizationParams, ...], modules: tuple[str, ...] = ()) -> None:
        """Run Qt's loop until all is measured. Raises PlaygroundError for what is wrong with the question."""
        self._params, self._modules = params, modules
        self.run_task(model, needs_machine=False)

    def work(self, entry: ModelEntry) -> None:
        """Survey. The engine says of a model that is quantized already why nothing of it can be measured."""
        self.entry = entry
        path = entry.inside_path or entry.checked_path()
        self.say(f"Measuring {entry.title} …")
        self._survey.start(path, self._params, self._modules)

    def interrupt(self) -> None:
        """End the survey, or whatever comes before it."""
        self._survey.cancel()
        super().interrupt()

    @Slot(object)
    def _on_measured(self, row: LayerRow) -> None:
        self.rows.append(row)

    @Slot(object)
    def _on_progressed(self, progress: Progressed) -> None:
        """Ten times in all: a model has hundreds of layers."""
        told = _TELLINGS * progress.done // progress.total if progress.total else 0
        if told > self._told:
            self._told = told
            self.say(f"  {progress.done:,} of {progress.total:,} {progress.unit}")

    @Slot(object)
    def _on_succeeded(self, left_out: tuple[LeftOut, ...]) -> None:
        self.left_out = left_out
        self.finish()


def parse_params(methods: str, block_sizes: str, *, double_quant: bool, dtype: Dtype) -> tuple[QuantizationParams, ...]:
    """Every method with every block size, each once, and with `double_quant` each of blocks both ways.

    Both are comma-separated. Raises PlaygroundError(BAD_SETTINGS) for a word that is none, and for no word at all.
    """
    sizes = [_block_size(word) for word in _words(block_sizes, "block size", "64,256,4096")]
    found = [
        QuantizationParams(method=_method(word), block_size=size, double_quant=twice, dtype=dtype).checked()
        for word in _words(methods, "method", "nf4,fp4,int8")
        for size in sizes
        for twice in ((False, True) if double_quant else (False,))
    ]
    return tuple(dict.fromkeys(found))


def _words(text: str, what: str, example: str) -> list[str]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise fail(ErrorCode.BAD_SETTINGS, f"No {what} is named.", f"Give one or more, such as {example}.")
    return words


def _method(word: str) -> str:
    if word not in OWNERS:
        known = ", ".join(method.name for method in available_methods())
        raise fail(ErrorCode.BAD_SETTINGS, f"There is no method named {word!r}.", f"Known ones: {known}.")
    error = missing(OWNERS[word]())
    if error is not None:
        raise PlaygroundError(error)
    return word


def _block_size(word: str) -> int | None:
    if word == WHOLE_TENSOR:
        return None
    known = {str(size): size for size in BLOCK_SIZES}
    if word not in known:
        hint = f"Choose from {', '.join(known)} and {WHOLE_TENSOR}."
        raise fail(ErrorCode.BAD_SETTINGS, f"{word!r} is no block size.", hint)
    return known[word]
