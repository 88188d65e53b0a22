"""What the engines of a comparison are to do."""

import msgspec

from qplayground.core.comparison.results import Mode, Run
from qplayground.core.generation import GenerationRequest
from qplayground.core.measures.quality import QualityRequest
from qplayground.core.placement import Placement
from qplayground.core.precision import Precision


class RunPlan(msgspec.Struct, frozen=True):
    """What one engine is to run. `path` is the model's folder."""

    id: str
    path: str
    precision: Precision
    engine: str

    @classmethod
    def of(cls, run: Run) -> "RunPlan":
        return cls(run.id, run.model.path, run.precision, run.engine)

    @property
    def model_key(self) -> tuple[str, str]:
        """Runs with the same one are told the same of their model by their engines."""
        return self.path, self.engine


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the engines are to do. With `quality` a text is scored, by the `reference` first; it stays known when its
    run was removed, so that others can still be compared with it.
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
        """The runs' ids as they are to be run: first the one that others are scored against."""
        first = None if self.reference is None or self.quality is None else self.reference.id
        return sorted((run.id for run in self.runs), key=lambda name: name != first)

    def find(self, run_id: str) -> RunPlan | None:
        """The run with that id, if there is one."""
        return next((run for run in self.runs if run.id == run_id), None)

    def run(self, run_id: str) -> RunPlan:
        """The run with that id. Raises KeyError when there is none."""
        found = self.find(run_id)
        if found is None:
            raise KeyError(run_id)
        return found

    def with_run(self, run: RunPlan) -> "Plan":
        """The same with that run, in the place of one with its id."""
        reference = run if self.reference is not None and self.reference.id == run.id else self.reference
        return msgspec.structs.replace(self, runs=(*self.without(run.id).runs, run), reference=reference)

    def without(self, run_id: str) -> "Plan":
        """The same without that run."""
        return msgspec.structs.replace(self, runs=tuple(run for run in self.runs if run.id != run_id))
