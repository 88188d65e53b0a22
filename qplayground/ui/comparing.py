"""Starts comparisons, repeats single runs and adds precisions."""

from collections.abc import Callable
from functools import partial

from PySide6.QtCore import QObject, Slot

from qplayground.core.comparison.results import Comparison, Mode
from qplayground.core.errors import PROMPT_ERRORS, ErrorInfo, PlaygroundError
from qplayground.core.generation import GenerationRequest
from qplayground.core.memory.estimate import Estimate
from qplayground.core.model import ModelEntry
from qplayground.core.precision import Precision
from qplayground.runtime.clients.planner import Planner
from qplayground.runtime.comparison.request import ComparisonRequest
from qplayground.runtime.comparison.session import Session
from qplayground.runtime.storage.preferences import Preferences
from qplayground.ui.setup.choosers import Choosers
from qplayground.ui.setup.memory_plan import MemoryPlan


class Comparing(QObject):
    """Reads the user's choices, asks about what does not fit, and shows errors beside the control they concern."""

    def __init__(
        self, session: Session, planner: Planner, preferences: Preferences, choosers: Choosers, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._planner = planner
        self._preferences = preferences
        self._models, self._precisions, self._prompt, self._options = choosers
        self.plan = MemoryPlan(planner, session, choosers)
        session.comparison_finished.connect(self._on_finished)

    @Slot()
    def compare(self) -> None:
        """Compare the ticked precisions on the prompt."""
        entry = self._models.current()
        if entry is None or not self._models.compare.isEnabled():
            return
        self._models.show_error(None)
        self._prompt.show_error("")
        self._say_what_forbids(partial(self._compare, entry))

    def _compare(self, entry: ModelEntry) -> None:
        request, quality = self._prompt.request(), self._options.quality_request()
        wanted, device = self._confirmed(self._precisions.selected()), self._models.device
        if wanted is None:
            return
        placement = device.placement
        self._session.compare(
            entry,
            ComparisonRequest(
                precisions=wanted,
                request=request,
                placement=placement,
                placement_name=device.placement_name,
                mode=self._options.mode,
                rounds=self._options.rounds,
                baseline=self._chosen_baseline(),
                quality=quality,
            ),
            self._planner.estimates_of(entry.outline_path or "", wanted, placement, request),
        )
        self._preferences.remember_request(self._prompt.request_as_ticked())
        self._preferences.set_last_model(entry.id)
        self._preferences.set_last_placement(placement)

    @Slot(str)
    def run_again(self, name: str) -> None:
        """Run one precision of the comparison again."""
        comparison = self._session.comparison
        if comparison is not None and self._confirmed_beside(comparison, comparison.run(name).precision):
            self._session.run_again(name, self._shown(comparison, comparison.run(name).precision))

    @Slot(object)
    def add(self, precision: Precision) -> None:
        """Run one more precision."""
        comparison = self._session.comparison
        if comparison is not None and self._confirmed_beside(comparison, precision):
            self._say_what_forbids(lambda: self._session.add(precision, self._shown(comparison, precision)))

    def _confirmed(self, wanted: tuple[Precision, ...]) -> tuple[Precision, ...] | None:
        """The precisions to run, after asking about those that cannot be loaded or do not fit. None: cancelled."""
        loadable = self.plan.loadable(wanted)
        if loadable is None:
            return None
        if self._options.mode is Mode.RACE:
            return loadable if self.plan.confirm_race(loadable) else None
        return self.plan.confirm(loadable)

    def _confirmed_beside(self, comparison: Comparison, precision: Precision) -> bool:
        """Like `_confirmed`, for one run. Asks nothing if the estimates are for another model or placement."""
        if not self._planner.is_about(comparison.runs[0].model.path, comparison.placement):
            return True
        loadable = self.plan.loadable([precision])
        return bool(loadable and self.plan.confirm(loadable))

    def _chosen_baseline(self) -> str | None:
        """The baseline of the last comparison, if it is ticked."""
        chosen = self._session.chosen_baseline
        return chosen if any(precision.name == chosen for precision in self._precisions.selected()) else None

    def _shown(self, comparison: Comparison, precision: Precision) -> Estimate | None:
        """The estimate shown in the list, if it is for this comparison's model and devices."""
        path = comparison.runs[0].model.path
        request = GenerationRequest(prompt=comparison.prompt, settings=comparison.settings)
        return self._planner.estimates_of(path, [precision], comparison.placement, request).get(precision.name)

    def _say_what_forbids(self, work: Callable[[], None]) -> None:
        try:
            work()
        except PlaygroundError as error:
            self._show(error.info)

    def _show(self, error: ErrorInfo) -> None:
        if error.code in PROMPT_ERRORS:
            self._prompt.show_error(str(error))
        else:
            self._models.show_error(error)

    @Slot(object)
    def _on_finished(self, comparison: Comparison) -> None:
        for run in comparison.runs:
            if run.error is not None and run.error.code in PROMPT_ERRORS:
                self._prompt.show_error(str(run.error))
