"""What the window asks of its child processes."""

from qplayground.core.generation import GenerationRequest
from qplayground.core.measures.quality import TextSource
from qplayground.core.measures.windows import ALL_TOKENS, Windows
from qplayground.core.memory.estimate import ContextSize
from qplayground.core.messages.base import Request
from qplayground.core.messages.inside import InsideCommand
from qplayground.core.model import ModelTypes
from qplayground.core.placement import Placement
from qplayground.core.precision import Precision


class Load(Request, frozen=True, kw_only=True):
    """Load a model in one precision. `request` is checked against tokenizer and context before weights are read.

    `context` is what the request's text takes, where another engine has estimated that already; it takes a while.
    `others` are precisions of the same model whose memory is to be estimated by the way. `limits`: bytes of weights
    that each device of this machine can take, for a placement that is worked out by itself.
    """

    path: str
    precision: Precision
    placement: Placement = Placement()
    limits: dict[str, int] = {}
    request: GenerationRequest
    others: tuple[Precision, ...] = ()
    context: ContextSize | None = None


class Generate(Request, frozen=True, kw_only=True):
    """Continue the prompt with the loaded model.

    `benchmark`: every new token counts, end tokens never come, a warm-up is thrown away, nothing is said before the end
    and nothing is read of each token. `threads` is how many the engine computes with, by default all of its machine's.
    """

    request: GenerationRequest
    benchmark: bool = False
    threads: int | None = None


class Score(Request, frozen=True, kw_only=True):
    """Score a text with the loaded model, as the `baseline` or against what is kept of it in `folder`. The baseline's
    run has the id `reference`.

    `text` is what `source` stands for, but the prompt's, whose `token_ids` come from the baseline's engine. About
    `tokens` of it are scored; `windows` says which, where the baseline's engine has chosen them. `place` is where
    the baseline was scored, as its engine said. `threads` as in Generate.
    """

    source: TextSource
    name: str
    text: str = ""
    token_ids: tuple[int, ...] = ()
    tokens: int = ALL_TOKENS
    windows: Windows | None = None
    place: str = ""
    threads: int | None = None
    baseline: Precision
    reference: str
    folder: str
    limit_bytes: int


class EstimateMemory(Request, frozen=True, kw_only=True):
    """Reckon what each precision of a model will take, without its weights.

    `context_tokens` is how many tokens the KV cache will hold; by default those of the request's prompt and answer.
    `limits` as in Load.
    """

    path: str
    precisions: tuple[Precision, ...]
    placement: Placement = Placement()
    limits: dict[str, int] = {}
    request: GenerationRequest = GenerationRequest()
    context_tokens: int | None = None


class PlanPlacement(Request, frozen=True, kw_only=True):
    """Say where the parts of a model would be in each precision, without its weights. `limits` as in Load."""

    path: str
    precisions: tuple[Precision, ...]
    placement: Placement = Placement()
    limits: dict[str, int] = {}


class CheckUp(Request, frozen=True, kw_only=True):
    """Try each of these quantized precisions on a small matrix, on every device of this machine.

    `skip` are pairs of a device and a precision's name that are known already.
    """

    precisions: tuple[Precision, ...]
    skip: tuple[tuple[str, str], ...] = ()


class Cancel(Request, frozen=True):
    """Give the command in work an early end: generating after its token, scoring, measuring, a threshold's trial.

    A load is not cancelled: its engine is ended.
    """


class PrepareDemo(Request, frozen=True, kw_only=True):
    """A job: turn the demo model's GGUF file into a safetensors folder at `target`, all or nothing."""

    gguf_path: str
    target: str


class Download(Request, frozen=True, kw_only=True):
    """A job: fetch a model from the hub into the Hugging Face cache. `repo_id` is `owner/name` or `name`."""

    repo_id: str
    model_types: ModelTypes | None = None


class FetchOutline(Request, frozen=True, kw_only=True):
    """A job: bring config, tokenizer and weight headers of a model on the hub into the folder `target`."""

    repo_id: str
    target: str
    model_types: ModelTypes | None = None


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
