"""A comparison and its runs, in the shape of `compare --json` (schema 2)."""

from enum import StrEnum

import msgspec

from qplayground.core.comparison import schema_1
from qplayground.core.errors import ErrorCode, ErrorInfo, PlaygroundError, fail
from qplayground.core.generation import GenerationSettings
from qplayground.core.measures.divergence import Divergence
from qplayground.core.measures.quality import Evaluation, LayerError, Quality, ScoredTokens
from qplayground.core.measures.samples import Samples
from qplayground.core.memory.estimate import Estimate, WeightKinds
from qplayground.core.memory.process_memory import PhasePeak, VramFigures
from qplayground.core.model import DEMO_NAME, ModelSource
from qplayground.core.placement import CPU, Placement
from qplayground.core.precision import NAME_PATTERN, Precision
from qplayground.core.system.machine import Machine
from qplayground.core.tokens import Token

SCHEMA = 2
TRANSFORMERS = "transformers"
"""The engine that runs a model with transformers, in a process on this machine."""


class RunState(StrEnum):
    """Where a run stands. The last three are final, and the only ones in a finished comparison."""

    QUEUED = "queued"
    STARTING = "starting"
    LOADING = "loading"
    READY = "ready"
    GENERATING = "generating"
    SCORING = "scoring"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in (RunState.DONE, RunState.FAILED, RunState.CANCELLED)


class Mode(StrEnum):
    """How a comparison is run."""

    ONCE = "once"
    """Each precision alone, one reading."""
    BENCHMARK = "benchmark"
    """Each precision alone, several rounds, every one of the same number of tokens."""
    RACE = "race"
    """All at once, the threads divided among them: a show, whose times are not comparable."""


class LoadFigures(msgspec.Struct):
    """`seconds` from opening the checkpoint to a model that has run once; the libraries are imported before.

    `other_cpus`: how many processors other programs kept busy meanwhile, on average. `disk_share`: how much of the
    checkpoint came from the disk and not from the page cache. `kept`: the model was in memory already; the
    figures are of the load that put it there. With `samples`, `seconds` is their median.
    """

    seconds: float | None = None
    other_cpus: float | None = None
    disk_share: float | None = None
    kept: bool = False
    samples: Samples | None = None


class SpeedFigures(msgspec.Struct):
    """See messages.Generated for the formulas. In a benchmark each figure is the median of its samples.

    `samples` are of the decode speed. `other_cpus` as in the load's, the worst of a benchmark's rounds. `held_s` is in
    none of the figures.
    """

    ttft_s: float | None = None
    prefill_tokens_per_s: float | None = None
    decode_tokens_per_s: float | None = None
    other_cpus: float | None = None
    held_s: float = 0.0
    samples: Samples | None = None
    ttft_samples: Samples | None = None
    prefill_samples: Samples | None = None


class MemoryFigures(msgspec.Struct):
    """Bytes. `resident_bytes` is the whole process after loading, then after its last token, its KV cache included.

    `peak_resident_bytes` is its highest, the integrity check left out. `runtime_bytes` is the same process before the
    first weight: resident minus runtime is the model's share. `anonymous_bytes` and `file_bytes` add up to resident.
    What is `predicted` was estimated before a weight was read. `by_kind` is what the loaded model holds, `by_device`
    and `by_module` where; the latter is empty in what earlier versions saved. `vram` has torch's figures by GPU and the
    driver's; the others of VRAM are their sums, the context what the driver counts beyond torch. `vram_load_peak_bytes`
    is the load's own peak.
    """

    weight_bytes: int | None = None
    resident_bytes: int | None = None
    peak_resident_bytes: int | None = None
    runtime_bytes: int | None = None
    vram_allocated_bytes: int | None = None
    vram_peak_bytes: int | None = None
    vram_load_peak_bytes: int | None = None
    vram_reserved_bytes: int | None = None
    vram_driver_bytes: int | None = None
    vram_context_bytes: int | None = None
    vram: dict[str, VramFigures] = {}
    anonymous_bytes: int | None = None
    file_bytes: int | None = None
    by_kind: WeightKinds | None = None
    by_device: dict[str, WeightKinds] = {}
    by_module: dict[str, WeightKinds] = {}
    predicted_weight_bytes: int | None = None
    predicted_resident_bytes: int | None = None
    predicted: Estimate | None = None
    unforeseen: list[str] = []
    phases: list[PhasePeak] = []

    @property
    def ram_by_kind(self) -> WeightKinds:
        """What of the weights is in RAM."""
        if self.by_device:
            return self.by_device.get(CPU, WeightKinds())
        if self.vram_allocated_bytes is not None:
            return WeightKinds()
        return self.by_kind or WeightKinds(plain=self.weight_bytes or 0)


class ComparedModel(msgspec.Struct, frozen=True):
    """A model that is compared. `context_tokens`: the length of the texts that it was made for, where it is known."""

    id: str
    source: str
    architecture: str | None
    parameters: int | None
    path: str
    provenance: str = ""
    context_tokens: int | None = None

    @property
    def title(self) -> str:
        """The model as people call it."""
        return f"{DEMO_NAME} (demo)" if self.source == ModelSource.DEMO else self.id


class Run(msgspec.Struct, kw_only=True):
    """One model in one precision, held by one engine, continuing the prompt. Owned and changed by the session alone.

    `id` tells it from the other runs of its comparison, and is what it is called; with one model, the precision's name.
    `requested_map` is the placement that was shown before the comparison began, or else estimated
    before the load; `device_map` is what it came to; with a `caution`. `skips` and `attention` are what else
    transformers was told.
    `prompt_in_parts`: its chat template takes a turn's content as a list of parts and no plain text.
    `lacks`: what its engine cannot do or say, by the name of the capability, with the reason as a sentence.
    `beside` is how many others wrote at the same time. `quality` is there when a text was scored, and `scored` has what
    it was made of; `layer_errors` are those of a quantized model.
    """

    id: str
    model: ComparedModel
    precision: Precision
    engine: str = TRANSFORMERS
    lacks: dict[str, str] = {}
    state: RunState = RunState.QUEUED
    error: ErrorInfo | None = None
    requested_map: dict[str, str] = {}
    device_map: dict[str, str] = {}
    caution: str = ""
    skips: tuple[str, ...] = ()
    attention: str = ""
    text: str = ""
    prompt_tokens: int | None = None
    prompt_in_parts: bool = False
    token_ids: list[int] = []
    tokens: list[Token] = []
    finish_reason: str | None = None
    beside: int = 0
    quality: Quality | None = None
    scored: ScoredTokens | None = None
    layer_errors: list[LayerError] = []
    divergence: Divergence | None = None
    load: LoadFigures = msgspec.field(default_factory=LoadFigures)
    speed: SpeedFigures = msgspec.field(default_factory=SpeedFigures)
    memory: MemoryFigures = msgspec.field(default_factory=MemoryFigures)

    @property
    def is_at_rest(self) -> bool:
        """Whether it is over, or between two rounds of a benchmark: it has figures, and nothing of it is timed now."""
        return self.state.is_final or (self.state is RunState.QUEUED and self.speed.ttft_samples is not None)


class Comparison(msgspec.Struct, kw_only=True):
    """Runs that continue the same prompt, each with a model, a precision and an engine of its own.

    `started_at` is in ISO 8601, UTC; `id` tells it from every other one. `baseline` is a run's id. `evaluation` is the
    text that was scored, if one was. `placement` is what was asked for, `placement_name` what it was saved under, if it
    was, `device` the same in a word.
    """

    schema: int = SCHEMA
    id: str = ""
    environment: Machine | None
    prompt: str
    settings: GenerationSettings
    device: str = "auto"
    placement: Placement = Placement()
    placement_name: str = ""
    mode: Mode = Mode.ONCE
    rounds: int = 1
    baseline: str | None
    evaluation: Evaluation | None = None
    started_at: str = ""
    runs: list[Run]

    def run(self, run_id: str) -> Run:
        """The run with that id. Raises KeyError when there is none."""
        found = self.find(run_id)
        if found is None:
            raise KeyError(run_id)
        return found

    def find(self, run_id: str | None) -> Run | None:
        """The run with that id, if there is one."""
        return next((run for run in self.runs if run.id == run_id), None)

    @property
    def models(self) -> list[ComparedModel]:
        """Its models, each once, in the order of the runs."""
        return list(dict.fromkeys(run.model for run in self.runs))

    @property
    def title(self) -> str:
        """Its models as people call them."""
        return ", ".join(model.title for model in self.models)

    @property
    def baseline_run(self) -> Run | None:
        """The run that the others are compared with."""
        return self.find(self.baseline)

    @property
    def placed(self) -> str:
        """Where it was asked to be, `fast (by hand, 1 thread)`; empty where nothing but auto was asked for."""
        asked = self.placement
        if asked.same_weights == Placement():
            asked = msgspec.structs.replace(asked, device=self.device)  # all that earlier versions saved
        if asked == Placement():
            return ""
        return f"{self.placement_name} ({asked})" if self.placement_name else str(asked)

    @property
    def lead(self) -> str:
        """What stands before each text: the prompt, set apart where the text is a chat's answer to it."""
        return f"{self.prompt}\n\n" if self.settings.chat_template else self.prompt

    @property
    def is_finished(self) -> bool:
        return all(run.state.is_final for run in self.runs)


class _Version(msgspec.Struct):
    schema: int


def to_json(comparison: Comparison) -> bytes:
    """The comparison as indented UTF-8 JSON."""
    return msgspec.json.format(msgspec.json.encode(comparison), indent=2)


def from_json(data: bytes) -> Comparison:
    """Read what `to_json` wrote. Raises PlaygroundError(BAD_FILE), naming the field, for anything else."""
    hint = "The file is unchanged. Open another one."
    version = SCHEMA
    try:
        version = _version(data)
        if version > SCHEMA:
            raise fail(
                ErrorCode.BAD_FILE,
                f"The comparison was written by a newer version of the program (its field schema is {version}, and "
                f"this version knows {SCHEMA}).",
                "Update qplayground to open it. The file is unchanged.",
            )
        comparison = msgspec.json.decode(schema_1.upgraded(data) if version == 1 else data, type=Comparison)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        where = _where(error) if version != 1 else schema_1.as_written(_where(error))
        raise fail(ErrorCode.BAD_FILE, f"This is not a whole comparison: {where}.", hint, str(error)) from error
    problem = _contradiction(comparison)
    if problem:
        problem = problem if version != 1 else schema_1.as_written(problem)
        raise fail(ErrorCode.BAD_FILE, f"This is not a whole comparison: {problem}", hint)
    return comparison


def _version(data: bytes) -> int:
    try:
        return msgspec.json.decode(data, type=_Version).schema
    except msgspec.ValidationError as error:  # well-formed, and something else
        raise fail(
            ErrorCode.BAD_FILE,
            "This is not a comparison that qplayground saved.",
            "Open another file. This one is unchanged.",
            str(error),
        ) from error


def _contradiction(comparison: Comparison) -> str:
    names = [run.id for run in comparison.runs]
    if not names or len(set(names)) != len(names):
        return "its field runs names none, or one twice."
    if comparison.baseline is not None and comparison.baseline not in names:
        return "its field baseline names no run."
    settings = comparison.settings.problem()
    if settings:
        return f"in its field settings: {settings}"
    for index, run in enumerate(comparison.runs):
        for samples in (run.load.samples, run.speed.samples, run.speed.ttft_samples, run.speed.prefill_samples):
            if samples is not None and (not samples.values or samples != Samples.of(samples.values)):
                return f"its field runs[{index}] has samples that do not agree with their sum."
        if run.text and not run.token_ids:
            return f"its field runs[{index}].token_ids lacks the tokens of its text."
        if run.scored is not None and not run.scored.is_sound:
            return f"its field runs[{index}].scored has values that do not go together."
        if not all(token.is_sound for token in run.tokens):
            return f"its field runs[{index}].tokens has a probability or a time that cannot be."
        if not NAME_PATTERN.fullmatch(run.id):  # becomes a file's name
            return f"its field runs[{index}].id cannot be a name."
        try:
            run.precision.checked()
        except PlaygroundError as error:
            return f"in its field runs[{index}].precision: {error.info.message}"
    return ""


def _where(error: Exception) -> str:
    problem, _, place = str(error).partition(" - at `$")
    field = place.rstrip("`").lstrip(".")
    return f"in its field {field}: {problem}" if field else problem
