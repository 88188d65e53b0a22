"""Asks an engine for memory estimates, before anything is loaded."""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace
from PySide6.QtCore import QObject, QTimer, Signal, Slot

from qplayground.core.errors import ErrorInfo
from qplayground.core.generation import GenerationRequest
from qplayground.core.memory.estimate import Estimate
from qplayground.core.memory.fit import Fit
from qplayground.core.messages.commands import EstimateMemory, PlanPlacement
from qplayground.core.messages.events import Event, Hello, MemoryEstimated, PlacementPlanned
from qplayground.core.placement import Placement
from qplayground.core.precision import Precision
from qplayground.runtime.clients.engine_client import EngineClient
from qplayground.runtime.machine.devices import weight_limits
from qplayground.runtime.machine.fitting import fit_now
from qplayground.runtime.processes.launcher import Launcher


class Planner(QObject):
    """Owner of an engine that loads nothing. Only the latest question counts; answers to others are dropped.

    Signals: `changed()` when the estimates changed; `failed(ErrorInfo)` when there are none. After `ask_plan` either
    `planned(PlacementPlanned)` or `plan_failed(ErrorInfo)`.
    """

    changed = Signal()
    failed = Signal(object)
    planned = Signal(object)
    plan_failed = Signal(object)

    def __init__(self, launcher: Launcher, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._client = EngineClient("planner", launcher, "Pick the model again.", self)
        self._client.greeted.connect(self._on_greeted)
        self._client.said.connect(self._on_said)
        self._client.failed.connect(self._on_failed)
        self._client.lost.connect(self._on_lost)
        self._gpu_count = 0
        self._question: EstimateMemory | None = None
        self._plan_question: PlanPlacement | None = None
        self._in_flight: EstimateMemory | PlanPlacement | None = None
        self._paused = self._closed = False
        self._answer: MemoryEstimated | None = None
        self._answered: EstimateMemory | None = None  # the question that `_answer` answers
        self._soon = QTimer(self, singleShot=True, interval=0)  # one question for several changes at once
        self._soon.timeout.connect(self._submit)

    # ---- queries ---------------------------------------------------------------------------------------------

    @property
    def answer(self) -> MemoryEstimated | None:
        """The latest answer to the latest question, or None."""
        return self._answer

    @property
    def tokenizer_problem(self) -> ErrorInfo | None:
        """Why the model cannot generate text, once known."""
        return None if self._answer is None else self._answer.tokenizer_problem

    def estimate(self, name: str) -> Estimate | None:
        """The estimate of one precision, or None."""
        estimates = () if self._answer is None else self._answer.estimates
        return next((estimate for estimate in estimates if estimate.precision == name), None)

    def fit(self, *names: str, credit: Mapping[str, int] | None = None, scores: bool = False) -> Fit:
        """Whether these precisions fit now, all at once. `credit`: bytes by device that are freed first.

        `scores`: a text is scored too.
        """
        known = [self.estimate(name) if self._is_answered(name) else None for name in names]
        return fit_now(known, credit, scores=scores)

    def is_about(self, path: str, placement: Placement) -> bool:
        """Whether the question is about that model with that placement."""
        asked = self._question
        return asked is not None and (asked.path, asked.placement.same_weights) == (path, placement.same_weights)

    def estimates_of(
        self,
        path: str,
        precisions: Sequence[Precision],
        placement: Placement,
        request: GenerationRequest | None = None,
    ) -> dict[str, Estimate]:
        """The known estimates of exactly these. If they are for another text, length-dependent parts are unknown."""
        if self._question is None or not self.is_about(path, placement):
            return {}
        asked = {recipe.name: recipe for recipe in self._question.precisions}
        known = {recipe.name: self.estimate(recipe.name) for recipe in precisions if asked.get(recipe.name) == recipe}
        found = {name: each for name, each in known.items() if each is not None and self._is_answered(name)}
        if self._is_answer_to(request):
            return found
        return {name: each.without_text for name, each in found.items()}

    # ---- verbs -----------------------------------------------------------------------------------------------

    def ask(
        self,
        path: str | None,
        precisions: tuple[Precision, ...],
        *,
        placement: Placement | None = None,
        request: GenerationRequest | None = None,
        context_tokens: int | None = None,
    ) -> None:
        """Ask for estimates of a model; None forgets the answer. `changed` or `failed` follows."""
        if path is None or self._question is None or path != self._question.path:
            self._answer = self._answered = None
            self.changed.emit()
        self._question = None
        if path is not None and precisions:
            self._question = EstimateMemory(
                id=0,
                path=path,
                precisions=precisions,
                placement=placement or Placement(),
                request=request or GenerationRequest(),
                context_tokens=context_tokens,
            )
            self._soon.start()

    def ask_plan(self, path: str, precisions: tuple[Precision, ...], placement: Placement) -> None:
        """Ask where the model's parts would be placed. Only the latest such question is answered."""
        self._plan_question = PlanPlacement(id=0, path=path, precisions=precisions, placement=placement)
        self._submit()

    def set_paused(self, paused: bool) -> None:
        """Postpone estimates while something is timed."""
        self._paused = paused
        if not paused and self._question is not None and not self._question.placement.is_single and self._gpu_count:
            self._question = replace(self._question)  # free GPU memory decides the placement: ask again
        if not paused and (self._is_open or self._plan_question is not None):
            self._soon.start()

    def close(self) -> None:
        """End the engine, now; later questions get no answer."""
        self._closed = True
        self._question = self._plan_question = None
        self._soon.stop()
        self._client.close()

    # ---- the engine ------------------------------------------------------------------------------------------

    @Slot()
    def _submit(self) -> None:
        question = self._plan_question or (self._question if self._is_open else None)
        if question is None or self._paused or self._closed:
            return
        if self._client.hello is None:
            self._client.begin()
        elif not self._client.is_busy:
            self._in_flight = question
            limits = weight_limits(question.placement, self._gpu_count)  # what is free now
            self._client.ask(replace(question, limits=limits))

    @Slot(object)
    def _on_greeted(self, hello: Hello) -> None:
        self._gpu_count = len(hello.machine.gpus)
        self._submit()

    @Slot(int, object)
    def _on_said(self, _command_id: int, event: Event) -> None:
        question = self._in_flight
        if not self._client.is_busy:
            self._in_flight = None
        if isinstance(event, PlacementPlanned) and question is self._plan_question:
            self._plan_question = None
            self.planned.emit(event)
        elif isinstance(event, MemoryEstimated) and isinstance(question, EstimateMemory) and question is self._question:
            self._answer, self._answered = event, question
            self.changed.emit()
        self._submit()  # another question may be waiting

    @Slot(int, object)
    def _on_failed(self, _command_id: int, error: ErrorInfo) -> None:
        question, self._in_flight = self._in_flight, None
        if question is None:
            return  # the engine is gone, and `_on_lost` reported it
        if question is self._plan_question:
            self._plan_question = None
            self.plan_failed.emit(error)
        elif question is self._question:
            self._give_up(error)
        self._submit()

    @Slot(object)
    def _on_lost(self, error: ErrorInfo) -> None:
        self._in_flight = None
        if self._plan_question is not None:
            self._plan_question = None
            self.plan_failed.emit(error)
        if self._is_open:
            self._give_up(error)

    @property
    def _is_open(self) -> bool:
        """Whether the latest question is unanswered."""
        answered = self._answer is not None and self._answer.final and self._answered is self._question
        return self._question is not None and not answered

    def _is_answered(self, name: str) -> bool:
        """Whether the precision's estimate is for the current model, placement and precision.

        The text's length may differ, until the new estimate arrives.
        """
        now, then = self._question, self._answered
        if now is None or then is None or (now.path, now.placement) != (then.path, then.placement):
            return False
        recipes = [[recipe for recipe in asked.precisions if recipe.name == name] for asked in (now, then)]
        return recipes[0] == recipes[1]

    def _is_answer_to(self, request: GenerationRequest | None) -> bool:
        """Whether the answer is for that text, with its tokens counted."""
        if self._answer is None or self._answered is None or not self._answer.final:
            return False
        return self._answered.context_tokens is None and self._answered.request == request

    def _give_up(self, error: ErrorInfo) -> None:
        self._question = self._answer = self._answered = None
        self.changed.emit()
        self.failed.emit(error)
