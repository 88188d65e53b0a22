"""What child processes tell."""

from enum import StrEnum

import msgspec

from qplayground.core.capabilities import Capability
from qplayground.core.diagnosis.diagnosis import CudaBuild, MethodCheck
from qplayground.core.errors import ErrorInfo
from qplayground.core.measures.quality import Evaluation, LayerError, Quality, ScoredTokens
from qplayground.core.measures.windows import Windows
from qplayground.core.memory.estimate import ContextSize, Estimate, WeightKinds
from qplayground.core.memory.process_memory import PhasePeak, ProcessMemory, VramFigures
from qplayground.core.messages.base import Answer, LastAnswer
from qplayground.core.messages.inside import InsideEvent
from qplayground.core.model import ModelEntry, ModelTypes
from qplayground.core.placement import PlacementPlan
from qplayground.core.system.machine import Machine
from qplayground.core.tokens import Token


class Phase(StrEnum):
    """What an engine is busy with; the timeline marks these."""

    START = "start"
    LOAD = "load"
    QUANTIZE = "quantize"
    COPY = "copy"
    WARM_UP = "warm-up"
    CHECK = "check"
    PREFILL = "prefill"
    DECODE = "decode"
    SCORE = "score"
    UNLOAD = "unload"
    """From the order to end until the process is gone; the window's side says so, not the engine."""


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The engine can take commands. `memory` is what it holds before any model.

    `lacks` names the capabilities that it does not have, each with the reason as a sentence for people. What it lacks
    is None or empty in its events, and a command for it is answered by Failed with that sentence.
    """

    pid: int
    time_s: float
    machine: Machine
    memory: ProcessMemory | None
    model_types: ModelTypes | None = None
    lacks: dict[Capability, str] = {}
    command_id: int = 0


class PhaseStarted(Answer, frozen=True):
    """The engine went over to another phase."""

    phase: Phase
    time_s: float


class Progressed(Answer, frozen=True):
    """How far the phase in work has come, in bytes unless `unit` says otherwise. A total of 0: not known."""

    label: str
    done: int
    total: int
    unit: str = "bytes"


class Loaded(LastAnswer, frozen=True, kw_only=True):
    """Every weight is in memory and the model has run once.

    `weight_bytes` counts the tensors held after that first forward, scales included, tied ones once.
    `by_kind` says what they are, `by_module` where. `estimate` is what they were estimated to be before any weight was
    read, `others` the same of the other precisions that were asked for; `unforeseen` names the modules that hold
    something else than was estimated. `skips` is the list of modules that transformers was told to leave alone, empty
    for its own; `attention` the implementation of attention that it was told to use instead of the one that the model
    asks for. `device_map` says where each module is, `by_device` what each device holds, `vram` what torch has of each
    GPU, with the load's peak.
    `runtime_memory` is what the process held, libraries warm, before the first weight. `other_cpus` is how many
    processors other programs kept busy meanwhile, on average. `disk_share` is how much of the checkpoint came from the
    disk and not from the system's page cache, None where the system does not tell.

    Without the capability of weights, of memory, of placement their fields are None or empty.
    """

    seconds: float
    other_cpus: float | None = None
    disk_share: float | None = None
    device_map: dict[str, str]
    weight_bytes: int | None
    by_kind: WeightKinds | None = None
    by_module: dict[str, WeightKinds] = {}
    by_device: dict[str, WeightKinds] = {}
    estimate: Estimate | None = None
    others: tuple[Estimate, ...] = ()
    context: ContextSize | None = None
    unforeseen: tuple[str, ...] = ()
    skips: tuple[str, ...] = ()
    attention: str = ""
    quantized_modules: int | None
    runtime_memory: ProcessMemory | None
    memory: ProcessMemory | None
    vram: dict[str, VramFigures] = {}


class LoadEstimated(Answer, frozen=True):
    """What the model that is being loaded will take, said before its first weight is read."""

    estimate: Estimate


class MemoryEstimated(Answer, frozen=True, kw_only=True):
    """One estimate for each precision that was asked for, in that order.

    `context_tokens` is the length that their KV cache was estimated for. `final` is False for what is said at once,
    before the tokenizer is read: its memory, and the prompt's length, are not in it yet. With a `tokenizer_problem` the
    weights can be loaded, and no text can be written with them.
    """

    estimates: tuple[Estimate, ...]
    context_tokens: int
    final: bool = True
    tokenizer_problem: ErrorInfo | None = None


class PlacementPlanned(LastAnswer, frozen=True, kw_only=True):
    """One plan for each precision that was asked for, in that order."""

    plans: tuple[PlacementPlan, ...]


class PromptRead(Answer, frozen=True):
    """The prompt as token ids, special tokens and chat template included.

    `in_parts`: the chat template was given the prompt in a list of parts, since it takes no plain text.
    """

    token_ids: tuple[int, ...]
    in_parts: bool = False


class TokensGenerated(Answer, frozen=True):
    """One or more tokens, in order. They come in batches: each message wakes the window, which the engine pays for."""

    tokens: tuple[Token, ...]


class Generated(LastAnswer, frozen=True, kw_only=True):
    """The continuation is complete. `finish_reason` is `length`, `stop` (an end token) or `cancelled`.

    `ttft_s` runs from the call of generate to the first token; `prefill_tokens_per_s` is the prompt's tokens over the
    time until the model has read them; `decode_tokens_per_s` is (n-1) / (t_last - t_first), absent under two tokens.
    `memory` was read after the last token, while the KV cache was still held.
    `peak_resident_bytes` is the highest of all phases but the integrity check, `phases` has each one's own.
    Reading each token's probability took `held_s` in all, which is in none of these. `other_cpus` is how many
    processors other programs kept busy meanwhile, on average. Memory and weights are None where the engine lacks them.
    """

    text: str
    finish_reason: str
    ttft_s: float | None
    prefill_tokens_per_s: float | None
    decode_tokens_per_s: float | None
    held_s: float = 0.0
    other_cpus: float | None = None
    memory: ProcessMemory | None
    peak_resident_bytes: int | None
    phases: tuple[PhasePeak, ...] = ()
    weight_bytes: int | None
    vram: dict[str, VramFigures] = {}


class Scored(LastAnswer, frozen=True, kw_only=True):
    """A text was scored, or it says in its `note` why not. `reused`: it had been, and was kept. `layers` are those of a
    quantized model.

    The baseline's engine says what was scored: `evaluation`, and for the candidates `windows`, its `place` and the
    prompt's ids.
    """

    quality: Quality
    tokens: ScoredTokens | None = None
    windows: Windows | None = None
    token_ids: tuple[int, ...] = ()
    evaluation: Evaluation | None = None
    phases: tuple[PhasePeak, ...] = ()
    layers: tuple[LayerError, ...] = ()
    reused: bool = False
    place: str = ""


class CudaFound(Answer, frozen=True):
    """What torch and bitsandbytes were built for; the first answer to CheckUp."""

    cuda: CudaBuild


class CheckStarted(Answer, frozen=True, kw_only=True):
    """This is tried now, by precision's name and device, after `done` of `total`. Its MethodChecked follows."""

    precision: str
    device: str
    done: int
    total: int


class MethodChecked(Answer, frozen=True):
    """How it went."""

    check: MethodCheck


class CheckedUp(LastAnswer, frozen=True):
    """All that CheckUp asked for was tried."""


class Failed(LastAnswer, frozen=True):
    """The command could not be carried out."""

    error: ErrorInfo


class JobDone(LastAnswer, frozen=True):
    """A job (a download, the preparation of the demo model) reached its end; `entry` is the model it made."""

    entry: ModelEntry


RunEvent = (
    PhaseStarted | Progressed | LoadEstimated | Loaded | PromptRead | TokensGenerated | Generated | Scored | Failed
)
"""What answers the commands of a comparison's runs."""

Event = (
    RunEvent
    | Hello
    | MemoryEstimated
    | PlacementPlanned
    | CudaFound
    | CheckStarted
    | MethodChecked
    | CheckedUp
    | InsideEvent
    | JobDone
)
