"""A plan in progress: builds the next commands from what the engines have reported so far."""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from qplayground.core.capabilities import Capability
from qplayground.core.comparison.results import Mode
from qplayground.core.measures.windows import Windows
from qplayground.core.memory.estimate import ContextSize, Estimate, Verdict
from qplayground.core.messages.commands import Generate, Load, Score
from qplayground.core.messages.events import Loaded, Scored
from qplayground.core.precision import Precision
from qplayground.runtime.comparison.plan import Plan, RunPlan
from qplayground.runtime.machine.devices import weight_limits
from qplayground.runtime.machine.fitting import fit_now
from qplayground.runtime.storage.evaluation_text import BASELINES_LIMIT_BYTES, baselines_folder


class PlanState:
    """A plan and the results that later commands need. `lacks`: what each run's last engine cannot do."""

    def __init__(self, plan: Plan, lacks: Mapping[RunPlan, Mapping[Capability, str]]) -> None:
        self.plan = plan
        self._lacks = lacks
        self._estimates: dict[str, Estimate] = {}  # by run
        self._contexts: dict[tuple[str, str], ContextSize | None] = {}  # by the model's folder and engine
        self._limits: dict[str, int] | None = None
        self._reference: RunPlan | None = None  # the others are scored against this one
        self._windows: Windows | None = None  # of the text, as that one's engine scored it
        self._scored_ids: tuple[int, ...] = ()
        self._reference_place = ""

    @property
    def scores(self) -> bool:
        """Whether a text is scored."""
        return self.plan.quality is not None

    def lacks(self, run_id: str) -> dict[Capability, str]:
        """What the run's engine cannot do or report, with the reasons. Empty until an engine has said so."""
        run = self.plan.find(run_id)
        return {} if run is None else dict(self._lacks.get(run, {}))

    def load(self, run: RunPlan, command_id: int, *, offload_folder: str, gpus: int, asks_beside: bool) -> Load:
        """The command that loads the run's model, on a machine with `gpus` GPUs.

        With `asks_beside` the engine also estimates the model's other runs that have no estimate.
        """
        if self._limits is None:  # read once, so that all runs and rounds get the same limits
            self._limits = weight_limits(self.plan.placement, gpus)
        return Load(
            id=command_id,
            path=run.path,
            precision=run.precision,
            placement=replace(self.plan.placement, offload_folder=offload_folder),
            limits=self._limits,
            request=self.plan.request,
            context=self._contexts.get(run.model_key),
            others=self._unknown_beside(run) if asks_beside and Capability.PREDICTION not in self.lacks(run.id) else (),
        )

    def generate(self, command_id: int, *, together: int, cpu_threads: int) -> Generate:
        """The command that continues the prompt. In a race, `together` runs share the processor's threads."""
        threads = self.plan.placement.threads or cpu_threads
        return Generate(
            id=command_id,
            request=self.plan.request,
            benchmark=self.plan.mode is Mode.BENCHMARK,
            threads=max(1, threads // together) if self.plan.mode is Mode.RACE else threads,
        )

    def score(self, run_id: str, command_id: int) -> Score:
        """The command that scores the text; with the reference's windows if that is another run."""
        quality, wanted = self.plan.quality, self.plan.reference
        assert quality is not None and wanted is not None
        if self._reference is None:  # if the baseline cannot be scored, the first run that can replaces it
            self._reference = self.plan.run(run_id) if Capability.SCORING in self._lacks.get(wanted, {}) else wanted
        reference = self._reference
        first = run_id == reference.id
        return Score(
            id=command_id,
            source=quality.source,
            name=quality.name,
            text=quality.text,
            token_ids=() if first else self._scored_ids,
            tokens=quality.tokens,
            windows=None if first else self._windows,
            baseline=reference.precision,
            reference=reference.id,
            place="" if first else self._reference_place,
            threads=self.plan.placement.threads,
            folder=str(baselines_folder()),
            limit_bytes=BASELINES_LIMIT_BYTES,
        )

    def record_loaded(self, run: RunPlan, event: Loaded) -> None:
        """Store the context size and the estimates from a load, also for the model's other runs."""
        self._contexts[run.model_key] = event.context
        known = [*event.others, *([] if event.estimate is None else [event.estimate])]
        estimates = {estimate.precision: estimate for estimate in known}
        for other in self.plan.runs:
            if other.model_key == run.model_key and other.precision.name in estimates:
                self._estimates[other.id] = estimates[other.precision.name]

    def record_scored(self, run_id: str, event: Scored) -> None:
        """Store how the reference scored the text."""
        if self._reference is not None and run_id == self._reference.id:
            self._windows, self._scored_ids, self._reference_place = event.windows, event.token_ids, event.place

    def record_estimates(self, estimates: Mapping[str, Estimate], *, gpus: int) -> None:
        """Store known estimates that are for this text and do not depend on the models loaded now.

        They do depend on those if free GPU memory decides the placement. Then nothing is stored.
        """
        placement = self.plan.placement
        if gpus and not (placement.is_single or placement.modules):
            return
        self._estimates |= {name: each for name, each in estimates.items() if each.kv_cache_bytes is not None}

    def remove(self, run_id: str) -> None:
        """Forget the run."""
        self.plan = self.plan.without(run_id)
        self._estimates.pop(run_id, None)

    def has_room(self, run_id: str, kept: Sequence[str]) -> bool:
        """Whether the run fits beside engines that keep their models.

        False if unknown: an extra load is better than a lost run. True for a model outside its engine's process.
        """
        lacks = self.lacks(run_id)
        if not kept or Capability.MEMORY in lacks:
            return True
        # estimates are for the transformers engine only
        known = None if Capability.PREDICTION in lacks else self._estimates.get(run_id)
        found = fit_now([known], scores=self.scores)
        return found.verdict in (Verdict.FITS, Verdict.TIGHT)

    def _unknown_beside(self, run: RunPlan) -> tuple[Precision, ...]:
        known = {run.id, *self._estimates}
        beside = [other for other in self.plan.runs if other.model_key == run.model_key]
        return tuple(other.precision for other in beside if other.id not in known)
