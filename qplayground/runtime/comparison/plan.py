"""What the engines of a comparison have to do."""

import msgspec

from qplayground.core.comparison.results import Mode, Run
from qplayground.core.generation import GenerationRequest
from qplayground.core.measures.quality import QualityRequest
from qplayground.core.placement import Placement
from qplayground.core.precision import Precision


class RunPlan(msgspec.Struct, frozen=True):
    """One engine's run. `path` is the model's folder."""

    id: str
    path: str
    precision: Precision
    engine: str

    @classmethod
    def of(cls, run: Run) -> "RunPlan":
        return cls(run.id, run.model.path, run.precision, run.engine)

    @property
    def model_key(self) -> tuple[str, str]:
        """Engines report the same facts about the model of all runs with the same key."""
        return self.path, self.engine


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All runs of a comparison. With `quality` a text is scored, by the `reference` first.

    The reference stays after its run is removed, so that others can still be compared with it.
    """

    runs: tuple[RunPlan, ...]
    placement: Placement
    request: GenerationRequest
    mode: Mode
    rounds: int
    quality: QualityRequest | None = None
    reference: RunPlan | None = None

    @property
    def order(self) -> list[str]:
        """The runs' ids in the order to run them: the scoring reference first."""
        first = None if self.reference is None or self.quality is None else self.reference.id
        return sorted((run.id for run in self.runs), key=lambda name: name != first)

    def find(self, run_id: str) -> RunPlan | None:
        """The run with that id, or None."""
        return next((run for run in self.runs if run.id == run_id), None)

    def run(self, run_id: str) -> RunPlan:
        """The run with that id. Raises KeyError if there is none."""
        found = self.find(run_id)
        if found is None:
            raise KeyError(run_id)
        return found

    def with_run(self, run: RunPlan) -> "Plan":
        """A copy with that run added, or replaced if its id exists."""
        reference = run if self.reference is not None and self.reference.id == run.id else self.reference
        return msgspec.structs.replace(self, runs=(*self.without(run.id).runs, run), reference=reference)

    def without(self, run_id: str) -> "Plan":
        """A copy without that run."""
        return msgspec.structs.replace(self, runs=tuple(run for run in self.runs if run.id != run_id))
