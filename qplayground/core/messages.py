"""The wire between the window and its child processes: frozen msgspec structs, told apart by tag.

Every command has an id, and every event names the command that it belongs to (0: none), so that a late answer can be
dropped. Times are `time.monotonic` seconds, which are comparable between the processes of one machine.
"""

from enum import StrEnum
from typing import Generic, TypeVar

import msgspec

from qplayground.core.diagnosis import CudaBuild, MethodCheck
from qplayground.core.errors import ErrorInfo
from qplayground.core.estimate import ContextSize, Estimate, WeightKinds
from qplayground.core.generation import GenerationRequest
from qplayground.core.inside_messages import InsideCommand, InsideEvent
from qplayground.core.memory import PhasePeak, ProcessMemory, VramFigures
from qplayground.core.model import ModelEntry
from qplayground.core.placement import Placement, PlacementPlan
from qplayground.core.precision import Precision
from qplayground.core.quality import Evaluation, LayerError, Quality, ScoredTokens, TextSource
from qplayground.core.tokens import Token
from qplayground.core.windows import ALL_TOKENS, Windows


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


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine can say of this machine: versions, processor, accelerators.

    `cpu_threads` is how many threads torch computes with, `cpus` how many logical processors an engine may use.
    `avx512_bf16`: whether bitsandbytes has its fused 4-bit kernel here. `mps`: whether torch has Apple's GPU.
    """

    python: str
    platform: str
    cpu: str
    cpu_capability: str
    cpu_threads: int
    cpus: int | None = None
    avx512_bf16: bool = False
    ram_total_bytes: int
    versions: dict[str, str]
    gpus: tuple[str, ...] = ()
    mps: bool = False
    bfloat16: bool = True


# ---- commands, window → engine ------------------------------------------------------------------------------------


class Load(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Load a model in one precision. `request` is checked against tokenizer and context before weights are read.

    `context` is what the request's text takes, where another engine has reckoned that already; it takes a while.
    `others` are precisions of the same model whose memory is to be reckoned by the way. `limits`: bytes of weights that
    each device of this machine can take, for a placement that is worked out by itself.
    """

    id: int
    path: str
    precision: Precision
    placement: Placement = Placement()
    limits: dict[str, int] = {}
    request: GenerationRequest
    others: tuple[Precision, ...] = ()
    context: ContextSize | None = None


class Generate(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Continue the prompt with the loaded model.

    `benchmark`: every new token counts, end tokens never come, a warm-up is thrown away, nothing is said before the end
    and nothing is read of each token. `threads` is how many the engine computes with, by default all of its machine's.
    """

    id: int
    request: GenerationRequest
    benchmark: bool = False
    threads: int | None = None


class Score(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Score a text with the loaded model, as the `baseline` or against what is kept of it in `folder`.

    `text` is what `source` stands for, but the prompt's, whose `token_ids` come from the baseline's engine. About
    `tokens` of it are scored; `windows` says which, where the baseline's engine has chosen them. `place` is where
    the baseline was scored, as its engine said. `threads` as in Generate.
    """

    id: int
    source: TextSource
    name: str
    text: str = ""
    token_ids: tuple[int, ...] = ()
    tokens: int = ALL_TOKENS
    windows: Windows | None = None
    place: str = ""
    threads: int | None = None
    baseline: Precision
    folder: str
    limit_bytes: int


class EstimateMemory(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Reckon what each precision of a model will take, without its weights.

    `context_tokens` is how many tokens the KV cache will hold; by default those of the request's prompt and answer.
    `limits` as in Load.
    """

    id: int
    path: str
    precisions: tuple[Precision, ...]
    placement: Placement = Placement()
    limits: dict[str, int] = {}
    request: GenerationRequest = GenerationRequest()
    context_tokens: int | None = None


class PlanPlacement(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Say where the parts of a model would be in each precision, without its weights. `limits` as in Load."""

    id: int
    path: str
    precisions: tuple[Precision, ...]
    placement: Placement = Placement()
    limits: dict[str, int] = {}


class CheckUp(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Try each of these quantized precisions on a small matrix, on every device of this machine.

    `skip` are pairs of a device and a precision's name that are known already.
    """

    id: int
    precisions: tuple[Precision, ...]
    skip: tuple[tuple[str, str], ...] = ()


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """Stop generating after the token in work. A load is not cancelled: its engine is ended."""

    id: int


class PrepareDemo(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A job: turn the demo model's GGUF file into a safetensors folder at `target`, all or nothing."""

    id: int
    gguf_path: str
    target: str


class Download(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A job: fetch a model from the hub into the Hugging Face cache. `repo_id` is `owner/name` or `name`."""

    id: int
    repo_id: str
    causal_architectures: tuple[str, ...] = ()


class FetchOutline(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A job: bring config, tokenizer and weight headers of a model on the hub into the folder `target`."""

    id: int
    repo_id: str
    target: str
    causal_architectures: tuple[str, ...] = ()


Command = (
    Load
    | Generate
    | Score
    | EstimateMemory
    | PlanPlacement
    | CheckUp
    | InsideCommand
    | Cancel
    | PrepareDemo
    | Download
    | FetchOutline
)

# ---- events, engine → window --------------------------------------------------------------------------------------


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The engine can take commands. `memory` is what it holds before any model."""

    pid: int
    time_s: float
    machine: Machine
    memory: ProcessMemory
    causal_architectures: tuple[str, ...] = ()
    command_id: int = 0


class PhaseStarted(msgspec.Struct, frozen=True, tag=True):
    """The engine went over to another phase."""

    command_id: int
    phase: Phase
    time_s: float


class Progressed(msgspec.Struct, frozen=True, tag=True):
    """How far the phase in work has come, in bytes unless `unit` says otherwise. A total of 0: not known."""

    command_id: int
    label: str
    done: int
    total: int
    unit: str = "bytes"


class Loaded(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Every weight is in memory and the model has run once.

    `weight_bytes` counts the tensors held after that first forward, scales included, tied ones once.
    `by_kind` says what they are, `by_module` where. `estimate` is what they were reckoned to be before any weight was
    read, `others` the same of the other precisions that were asked for; `unforeseen` names the modules that hold
    something else than was reckoned. `device_map` says where each module is, `by_device` what each device holds,
    `vram` what torch has of each GPU, with the load's peak.
    `runtime_memory` is what the process held, libraries warm, before the first weight. `other_cpus` is how many
    processors other programs kept busy meanwhile, on average. `disk_share` is how much of the checkpoint came from the
    disk and not from the system's page cache, None where the system does not tell.
    """

    command_id: int
    seconds: float
    other_cpus: float | None = None
    disk_share: float | None = None
    device_map: dict[str, str]
    weight_bytes: int
    by_kind: WeightKinds = WeightKinds()
    by_module: dict[str, WeightKinds] = {}
    by_device: dict[str, WeightKinds] = {}
    estimate: Estimate | None = None
    others: tuple[Estimate, ...] = ()
    context: ContextSize | None = None
    unforeseen: tuple[str, ...] = ()
    quantized_modules: int
    runtime_memory: ProcessMemory
    memory: ProcessMemory
    vram: dict[str, VramFigures] = {}


class MemoryEstimated(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One estimate for each precision that was asked for, in that order.

    `context_tokens` is the length that their KV cache was reckoned for. `final` is False for what is said at once,
    before the tokenizer is read: its memory, and the prompt's length, are not in it yet.
    """

    command_id: int
    estimates: tuple[Estimate, ...]
    context_tokens: int
    final: bool = True


class PlacementPlanned(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One plan for each precision that was asked for, in that order."""

    command_id: int
    plans: tuple[PlacementPlan, ...]


class PromptRead(msgspec.Struct, frozen=True, tag=True):
    """The prompt as token ids, special tokens and chat template included."""

    command_id: int
    token_ids: tuple[int, ...]


class TokensGenerated(msgspec.Struct, frozen=True, tag=True):
    """One or more tokens, in order. They come in batches: each message wakes the window, which the engine pays for."""

    command_id: int
    tokens: tuple[Token, ...]


class Generated(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The continuation is complete. `finish_reason` is `length`, `stop` (an end token) or `cancelled`.

    `ttft_s` runs from the call of generate to the first token; `prefill_tokens_per_s` is the prompt's tokens over the
    time until the model has read them; `decode_tokens_per_s` is (n-1) / (t_last - t_first), absent under two tokens.
    `memory` was read after the last token, while the KV cache was still held.
    `peak_resident_bytes` is the highest of all phases but the integrity check, `phases` has each one's own.
    Reading each token's probability took `held_s` in all, which is in none of these. `other_cpus` is how many
    processors other programs kept busy meanwhile, on average.
    """

    command_id: int
    text: str
    finish_reason: str
    ttft_s: float | None
    prefill_tokens_per_s: float | None
    decode_tokens_per_s: float | None
    held_s: float = 0.0
    other_cpus: float | None = None
    memory: ProcessMemory
    peak_resident_bytes: int
    phases: tuple[PhasePeak, ...] = ()
    weight_bytes: int
    vram: dict[str, VramFigures] = {}


class Scored(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A text was scored, or it says in its `note` why not. `reused`: it had been, and was kept. `layers` are those of a
    quantized model.

    The baseline's engine says what was scored: `evaluation`, and for the candidates `windows`, its `place` and the
    prompt's ids.
    """

    command_id: int
    quality: Quality
    tokens: ScoredTokens | None = None
    windows: Windows | None = None
    token_ids: tuple[int, ...] = ()
    evaluation: Evaluation | None = None
    phases: tuple[PhasePeak, ...] = ()
    layers: tuple[LayerError, ...] = ()
    reused: bool = False
    place: str = ""


class CudaFound(msgspec.Struct, frozen=True, tag=True):
    """What torch and bitsandbytes were built for; the first answer to CheckUp."""

    command_id: int
    cuda: CudaBuild


class CheckStarted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """This is tried now, by precision's name and device, after `done` of `total`. Its MethodChecked follows."""

    command_id: int
    precision: str
    device: str
    done: int
    total: int


class MethodChecked(msgspec.Struct, frozen=True, tag=True):
    """How it went."""

    command_id: int
    check: MethodCheck


class CheckedUp(msgspec.Struct, frozen=True, tag=True):
    """All that CheckUp asked for was tried."""

    command_id: int


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The command could not be carried out."""

    command_id: int
    error: ErrorInfo


class JobDone(msgspec.Struct, frozen=True, tag=True):
    """A job (a download, the preparation of the demo model) reached its end; `entry` is the model it made."""

    command_id: int
    entry: ModelEntry


Event = (
    Hello
    | PhaseStarted
    | Progressed
    | Loaded
    | MemoryEstimated
    | PlacementPlanned
    | PromptRead
    | TokensGenerated
    | Generated
    | Scored
    | CudaFound
    | CheckStarted
    | MethodChecked
    | CheckedUp
    | InsideEvent
    | Failed
    | JobDone
)

T = TypeVar("T")


class Codec(Generic[T]):
    """msgpack bytes of one family of messages. Decoding anything else raises msgspec.ValidationError or DecodeError."""

    def __init__(self, family: object) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(family)

    def encode(self, message: T) -> bytes:
        return self._encoder.encode(message)

    def decode(self, data: bytes) -> T:
        return self._decoder.decode(data)


COMMANDS: Codec[Command] = Codec(Command)
EVENTS: Codec[Event] = Codec(Event)
