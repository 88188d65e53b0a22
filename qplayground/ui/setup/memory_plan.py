"""The estimated memory of each precision for the picked model, shown in the list before anything is loaded."""

from collections.abc import Sequence

from PySide6.QtCore import QObject, Qt, QTimer, Slot
from PySide6.QtWidgets import QMessageBox

from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.memory.estimate import Estimate, Verdict
from qplayground.core.memory.fit import Fit
from qplayground.core.precision import Precision
from qplayground.core.quantizers.installed import missing
from qplayground.core.units import bytes_text
from qplayground.runtime.clients.planner import Planner
from qplayground.runtime.comparison.session import Session
from qplayground.ui.setup.choosers import Choosers

_REFRESH_MS = 2000
_CONSEQUENCE = "Loading it anyway can slow the whole machine down, or end programs."
_Role = QMessageBox.ButtonRole
_LEAVE_OUT, _ANYWAY = _Role.AcceptRole, _Role.DestructiveRole
_WAYS = {_LEAVE_OUT: "Leave out", _ANYWAY: "Load anyway"}
_WORDS = {Verdict.TIGHT: "tight", Verdict.WONT_FIT: "won't fit"}


class MemoryPlan(QObject):
    """Queries the planner when model, precisions, device, prompt or length change, and shows its answers."""

    def __init__(self, planner: Planner, session: Session, choosers: Choosers) -> None:
        super().__init__(choosers.precisions)
        self._planner = planner
        self._session = session
        self._models, self._precisions, self._prompt, self._options = choosers
        self._models.model_changed.connect(self.ask)
        self._models.device.placement_changed.connect(self.ask)
        self._precisions.precisions_changed.connect(self.ask)
        self._prompt.changed.connect(self.ask)
        self._options.quality.currentIndexChanged.connect(self._show)
        session.busy_changed.connect(planner.set_paused)
        planner.changed.connect(self._show)
        planner.failed.connect(self._on_failed)
        timer = QTimer(self, interval=_REFRESH_MS)  # the available memory changes by itself
        timer.timeout.connect(self._on_timeout)
        timer.start()

    @Slot()
    def ask(self) -> None:
        """Query the planner about the current settings."""
        entry = self._models.current()
        path = None if entry is None else entry.outline_path
        self._planner.ask(
            path,
            self._precisions.precisions(),
            placement=self._models.device.placement,
            request=self._prompt.request(),
        )

    def loadable(self, wanted: Sequence[Precision]) -> tuple[Precision, ...] | None:
        """Tell which precisions cannot be loaded, and ask whether to go on without them. None: cancelled."""
        entry = self._models.current()
        path = "" if entry is None else entry.outline_path or ""
        known = self._planner.estimates_of(path, wanted, self._models.device.placement)
        refused = {name: found.problem for name, found in known.items() if found.problem is not None}
        if not refused:
            return tuple(wanted)
        rest = tuple(precision for precision in wanted if precision.name not in refused)
        text = "\n".join(f"{name} cannot be loaded: {problem}" for name, problem in refused.items())
        return rest if self._asked("Compare", text, [_LEAVE_OUT] if rest else []) is _LEAVE_OUT else None

    def confirm_race(self, wanted: Sequence[Precision]) -> bool:
        """Ask whether to go on if the models do not fit in memory together."""
        fit = self._fit(*wanted)
        if fit.verdict is not Verdict.WONT_FIT:
            return True
        needed, available = bytes_text(fit.needed_bytes), bytes_text(fit.available_bytes)
        sentence = f"A race needs all models in memory at once: {needed}, and {available} are available."
        text = f"{sentence}\nTick fewer precisions, or run them one after another. {_CONSEQUENCE}"
        return self._asked("Memory", text, [_ANYWAY], str(fit)) is _ANYWAY

    def confirm(self, wanted: Sequence[Precision]) -> tuple[Precision, ...] | None:
        """Ask what to do with precisions that do not fit. Returns those to run. None: cancelled."""
        too_large = {
            precision.name: fit for precision in wanted if (fit := self._fit(precision)).verdict is Verdict.WONT_FIT
        }
        if not too_large:
            return tuple(wanted)
        lines = [
            f"{name} needs {bytes_text(fit.needed_bytes)}, and {bytes_text(fit.available_bytes)} are available."
            for name, fit in too_large.items()
        ]
        details = "\n\n".join(f"{name}\n{fit}" for name, fit in too_large.items())
        rest = tuple(precision for precision in wanted if precision.name not in too_large)
        ways = [_LEAVE_OUT, _ANYWAY] if rest else [_ANYWAY]
        chosen = self._asked("Memory", "\n".join([*lines, _CONSEQUENCE]), ways, details)
        return {_LEAVE_OUT: rest, _ANYWAY: tuple(wanted)}.get(chosen)

    def _asked(self, title: str, text: str, ways: Sequence[_Role], details: str = "") -> _Role:
        """The role of the button that the user chose; any role outside `ways` means cancelled."""
        box = QMessageBox(QMessageBox.Icon.Warning, title, text, parent=self._precisions.window())
        box.setTextFormat(Qt.TextFormat.PlainText)
        box.setDetailedText(details)
        buttons = {way: box.addButton(_WAYS[way], way) for way in ways}
        cancel = box.addButton(QMessageBox.StandardButton.Cancel)
        box.setDefaultButton(buttons.get(_LEAVE_OUT, cancel))
        box.exec()
        return box.buttonRole(box.clickedButton())

    def _fit(self, *precisions: Precision) -> Fit:
        names = (precision.name for precision in precisions)
        return self._planner.fit(*names, credit=self._session.held_bytes, scores=self._options.scores)

    @Slot()
    def _on_timeout(self) -> None:
        if self._planner.answer is not None and not self._session.is_busy:
            self._show()

    @Slot()
    def _show(self) -> None:
        for precision in self._precisions.precisions():
            estimate = self._planner.estimate(precision.name)
            if estimate is None:
                self._precisions.set_size_text(precision.name, "")
            elif estimate.problem is not None:
                is_missing = estimate.problem.code is ErrorCode.MISSING_PACKAGE and missing(precision.quantization)
                text = "not installed" if is_missing else "won't load"
                self._precisions.set_size_text(precision.name, text, str(estimate.problem), warns=not is_missing)
            else:
                fit = self._fit(precision)
                problem = self._planner.tokenizer_problem
                verdict = "won't run" if problem is not None else _WORDS.get(fit.verdict)
                words = [word for word in (verdict, "note" if estimate.caution else None) if word]
                text = " · ".join([bytes_text(estimate.weight_bytes), *words])
                details = self._details(estimate, fit)
                if problem is not None:
                    details = f"{problem}\n\n{details}"
                warns = problem is not None or fit.verdict is Verdict.WONT_FIT
                self._precisions.set_size_text(precision.name, text, details, warns=warns)

    def _details(self, estimate: Estimate, fit: Fit) -> str:
        answer = self._planner.answer
        assert answer is not None
        kinds = estimate.by_kind
        parts = ", ".join(
            f"{bytes_text(num_bytes)} {what}"
            for what, num_bytes in (
                ("quantized", kinds.quantized),
                ("their scales", kinds.scales),
                ("left alone", kinds.plain),
                ("buffers", kinds.buffers),
            )
            if num_bytes
        )
        resident, peak = bytes_text(estimate.resident_bytes), bytes_text(estimate.load_peak_bytes)
        lines = [
            f"{bytes_text(estimate.weight_bytes)} of weights" + (f": {parts}" if kinds.quantized else ""),
            f"KV cache unknown: {estimate.unknown}"
            if estimate.unknown
            else f"{bytes_text(estimate.kv_cache_bytes)} KV cache for {answer.context_tokens:,} tokens",
            f"{resident} RAM of its engine after the text, {peak} at most while it loads, libraries included",
            "",
            f"{_WORDS.get(fit.verdict, str(fit.verdict))}:",
            str(fit),
        ]
        return "\n".join([*lines, *(["", estimate.caution] if estimate.caution else [])])

    @Slot(object)
    def _on_failed(self, error: ErrorInfo) -> None:
        for precision in self._precisions.precisions():
            self._precisions.set_size_text(precision.name, "unknown", str(error))
