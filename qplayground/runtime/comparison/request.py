"""What the user asks of a comparison, and the checks whether it can run."""

from datetime import datetime
from uuid import uuid4

import msgspec

from qplayground.core.commentary.known_problems import undriven_gpu
from qplayground.core.comparison.results import ComparedModel, Comparison, Mode, Run
from qplayground.core.errors import ErrorCode, PlaygroundError, fail
from qplayground.core.generation import GenerationRequest
from qplayground.core.measures.quality import QualityRequest
from qplayground.core.model import ModelEntry
from qplayground.core.placement import CPU, DISK, MPS, Placement, computes_on_gpu, devices_in_order
from qplayground.core.precision import READY_PRECISIONS, Precision, widest
from qplayground.core.quantizers.installed import missing
from qplayground.core.system.machine import Machine
from qplayground.core.text import is_text
from qplayground.runtime.machine.gpus import list_gpus, undriven_gpus

ROUNDS_LIMIT = 100
_READY = frozenset(precision.name for precision in READY_PRECISIONS)


def check_names(precisions: tuple[Precision, ...]) -> list[str]:
    """The precisions' names. Raises PlaygroundError(BAD_PRECISION) for an impossible or duplicate one."""
    names = [precision.checked().name for precision in precisions]
    if len(set(names)) != len(names):
        raise fail(ErrorCode.BAD_PRECISION, "A precision is named twice.", "Name each one once.")
    return names


def needs_machine(placement: Placement, precisions: tuple[Precision, ...]) -> bool:
    """Whether an engine must describe the machine first: a named device, or bfloat16 on its GPU, may be missing."""
    if placement not in (Placement(), Placement(device=CPU)):
        return True
    asks_bfloat16 = any(precision != _without_bfloat16(precision) for precision in precisions)
    return asks_bfloat16 and _may_be_on_gpu(placement) and bool(list_gpus())


def as_run_on(machine: Machine, placement: Placement, precisions: tuple[Precision, ...]) -> tuple[Precision, ...]:
    """The precisions as the window lists them: ready-made ones use float16 if torch finds no bfloat16 on the GPU."""
    if machine.bfloat16 or not _may_be_on_gpu(placement):
        return precisions
    return tuple(map(_without_bfloat16, precisions))


def _without_bfloat16(precision: Precision) -> Precision:
    """The precision without bfloat16, if it is ready-made. A user's own stays unchanged."""
    return precision.without_bfloat16() if precision.name in _READY else precision


def _may_be_on_gpu(placement: Placement) -> bool:
    return computes_on_gpu(placement.modules.values()) if placement.modules else placement.device != CPU


def check_devices(placement: Placement, machine: Machine) -> None:
    """Raise PlaygroundError: BAD_DEVICE for a GPU, BAD_SETTINGS for threads that the machine does not have."""
    named = {*placement.modules.values(), *placement.max_memory, *([placement.device] if placement.is_single else [])}
    gpus = {f"cuda:{number}" for number in range(len(machine.gpus))} | ({MPS} if machine.mps else set())
    for device in devices_in_order(named - {CPU, DISK} - gpus):
        there = ", ".join(devices_in_order(gpus)) or "no GPU that torch can use"
        sentence = f"There is no device {device}: this machine has {there}."
        undriven = undriven_gpu(undriven_gpus())
        hint = "Choose another." if undriven is None else f"{undriven.message} {undriven.hint}"
        raise fail(ErrorCode.BAD_DEVICE, sentence, hint)
    cpus = machine.cpus
    if placement.threads is not None and cpus is not None and placement.threads > cpus:
        sentence = f"{placement.threads} threads are more than this machine's {cpus} processors."
        raise fail(ErrorCode.BAD_SETTINGS, sentence, f"Ask for {cpus} at most.")


class ComparisonRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything but the model. `rounds` counts only in a benchmark.

    `baseline` names one of the precisions; None means the widest. `quality`: the text to score, if any.
    `placement_name`: the name under which the placement was saved, if any.
    """

    precisions: tuple[Precision, ...]
    request: GenerationRequest
    placement: Placement = Placement()
    placement_name: str = ""
    mode: Mode = Mode.ONCE
    rounds: int = 1
    baseline: str | None = None
    quality: QualityRequest | None = None

    def check(self) -> None:
        """Raise PlaygroundError for the first problem that does not depend on the model."""
        if not self.precisions:
            raise fail(ErrorCode.BAD_PRECISION, "No precision is ticked.", "Tick one or more.")
        error = self.request.error()
        if error is not None:
            raise error
        self.placement.checked()
        if not is_text(self.request.prompt):
            raise fail(ErrorCode.BAD_SETTINGS, "The prompt is not valid text.", "Type it again.")
        names = check_names(self.precisions)
        for precision in self.precisions:
            problem = missing(precision.quantization)
            if problem is not None:
                raise PlaygroundError(problem)
        if self.baseline is not None and self.baseline not in names:
            raise fail(
                ErrorCode.BAD_PRECISION,
                f"The baseline {self.baseline!r} is not among the precisions that are compared.",
                f"Choose from {', '.join(names)}.",
            )
        if self.mode is Mode.BENCHMARK:
            self._check_benchmark()

    def comparison(self, model: ModelEntry, machine: Machine | None, now: datetime) -> Comparison:
        """The comparison as it begins. Raises PlaygroundError for an unusable model."""
        compared = ComparedModel(
            model.id,
            model.source,
            model.architecture,
            model.parameters,
            model.checked_path(),
            model.provenance,
            model.context_tokens,
        )
        return Comparison(
            id=uuid4().hex,
            environment=machine,
            prompt=self.request.prompt,
            settings=self.request.settings,
            device=self.placement.device,
            placement=self.placement,
            placement_name=self.placement_name,
            mode=self.mode,
            rounds=self.rounds if self.mode is Mode.BENCHMARK else 1,
            baseline=self.baseline or self._widest,
            started_at=now.isoformat(timespec="seconds"),
            runs=[Run(id=each.name, model=compared, precision=each) for each in self.precisions],
        )

    @property
    def _widest(self) -> str | None:
        place = widest(self.precisions)
        return None if place is None else self.precisions[place].name

    def _check_benchmark(self) -> None:
        if self.request.settings.do_sample:
            raise fail(ErrorCode.BAD_SETTINGS, "A benchmark is greedy.", "Turn sampling off.")
        if not 1 <= self.rounds <= ROUNDS_LIMIT:
            raise fail(ErrorCode.BAD_SETTINGS, f"A benchmark has 1 to {ROUNDS_LIMIT} rounds.", "Change the number.")
