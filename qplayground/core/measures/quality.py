"""What a precision costs in accuracy: a model's probabilities for the tokens of a text, beside another's.

The measures are llama.cpp's (`tools/perplexity`): perplexity and its paired ratio, Kullback-Leibler divergence
of the next-token distributions, how often both put the same token first, and the change of the right token's
probability.
"""

import math
from collections.abc import Sequence
from enum import StrEnum
from statistics import fmean

import msgspec

from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.measures.floats import Floats
from qplayground.core.measures.windows import MIN_SCORED, QUICK_TOKENS

SCORING_STOPPED = ErrorInfo(ErrorCode.UNSUPPORTED, "Scoring was stopped.", "Run it again.")
"""The note of a run whose text is whole and was to be scored."""


class TextSource(StrEnum):
    """Which text is scored."""

    OFF = "off"
    BUILTIN = "builtin"
    PROMPT = "prompt"
    """The prompt with the baseline's continuation."""
    FILE = "file"


class QualityRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be scored. `tokens`: about how many, or ALL_TOKENS. `text` is the file's or the built-in one's."""

    source: TextSource
    name: str
    text: str = ""
    tokens: int = QUICK_TOKENS


class ScoredTokens(msgspec.Struct, frozen=True, kw_only=True):
    """What one model thought of each scored token, in the text's order.

    `nll`: negative log-probability of the token, in nats; `top`, `top_ids`: the token that it put first, and with what
    probability, `top_p`; `kld`: the divergence of its distribution from the reference's, in nats, and `same_top`:
    1 where both put the same token first; both empty without a reference.
    """

    nll: Floats
    top: tuple[str, ...]
    top_ids: tuple[int, ...]
    top_p: Floats
    kld: Floats = Floats(b"")
    same_top: bytes = b""

    @property
    def is_sound(self) -> bool:
        """Whether there is one value of each kind a token; a file can say anything."""
        data = (self.nll.data, self.top_p.data, self.kld.data)
        if any(len(values) % 4 for values in data):
            return False
        compared = {len(self.kld), len(self.same_top)}
        return len(self.nll) == len(self.top) == len(self.top_ids) == len(self.top_p) and compared in (
            {0},
            {len(self.nll)},
        )

    @property
    def probabilities(self) -> list[float]:
        """Of the right tokens."""
        return [math.exp(-value) for value in self.nll.values]


class LayerError(msgspec.Struct, frozen=True, array_like=True):
    """What quantizing costs one layer, relative to the exact one: its weights, and its outputs on the text."""

    name: str
    weights: float
    outputs: float


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """The text that was scored. `positions` and `pieces` are those of the scored tokens in the tokenized text."""

    text: str
    text_sha256: str
    text_tokens: int
    window: int
    stride: int
    positions: tuple[int, ...] = ()
    pieces: tuple[str, ...] = ()


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """What scoring gave for one run.

    `seconds` is what scoring its windows took, next to nothing where that had been kept. `perplexity_se` and the like
    are standard errors. What compares is against `reference`, the precision whose probabilities were kept, as
    `reference_dtype`; keeping them so changes `storage_kld` by itself, and `rounding_kld` is what rounding the
    reference's own logits to this run's dtype gives. Under MIN_SCORED tokens nothing is summed up. `limited_by_disk`:
    fewer tokens were scored than were asked for, since no more could be kept. `note` says what is missing and why.
    """

    text: str
    text_sha256: str = ""
    window: int = 0
    stride: int = 0
    scored_tokens: int = 0
    seconds: float = 0.0
    reference: str | None = None
    reference_dtype: str | None = None
    storage_kld: float | None = None
    rounding_kld: float | None = None
    perplexity: float | None = None
    perplexity_se: float | None = None
    ppl_ratio: float | None = None
    ppl_ratio_se: float | None = None
    mean_kld: float | None = None
    mean_kld_se: float | None = None
    median_kld: float | None = None
    p90_kld: float | None = None
    p95_kld: float | None = None
    p99_kld: float | None = None
    p999_kld: float | None = None
    max_kld: float | None = None
    same_top1: float | None = None
    same_top1_se: float | None = None
    mean_delta_p: float | None = None
    mean_delta_p_se: float | None = None
    rms_delta_p: float | None = None
    p1_delta_p: float | None = None
    median_delta_p: float | None = None
    p99_delta_p: float | None = None
    limited_by_disk: bool = False
    note: ErrorInfo | None = None

    @property
    def was_stopped(self) -> bool:
        """Whether somebody stopped it, before it was over or begun."""
        return self.note == SCORING_STOPPED


def perplexity_figures(nll: Sequence[float]) -> dict[str, float]:
    """exp of the mean, and its standard error by the delta method. Nothing under MIN_SCORED tokens."""
    if len(nll) < MIN_SCORED:
        return {}
    perplexity = math.exp(fmean(nll))
    return {"perplexity": perplexity, "perplexity_se": perplexity * _standard_error(nll)}


def comparison_figures(candidate: ScoredTokens, reference: ScoredTokens) -> dict[str, float]:
    """What compares two models on the same tokens. Nothing under MIN_SCORED tokens.

    The ratio of perplexities is paired: its error is that of the differences token by token, which is far smaller
    than either perplexity's own.
    """
    nll, base = candidate.nll.values, reference.nll.values
    if len(nll) < MIN_SCORED or len(nll) != len(base):
        return {}
    differences = [one - other for one, other in zip(nll, base, strict=True)]
    ratio = math.exp(fmean(differences))
    kld = sorted(candidate.kld.values)
    same = sum(candidate.same_top) / len(nll)
    changes = [one - other for one, other in zip(candidate.probabilities, reference.probabilities, strict=True)]
    ordered = sorted(changes)
    return {
        "ppl_ratio": ratio,
        "ppl_ratio_se": ratio * _standard_error(differences),
        "mean_kld": fmean(kld),
        "mean_kld_se": _standard_error(kld),
        "median_kld": percentile(kld, 50),
        "p90_kld": percentile(kld, 90),
        "p95_kld": percentile(kld, 95),
        "p99_kld": percentile(kld, 99),
        "p999_kld": percentile(kld, 99.9),
        "max_kld": kld[-1],
        "same_top1": same,
        "same_top1_se": math.sqrt(same * (1 - same) / (len(nll) - 1)),
        "mean_delta_p": fmean(changes),
        "mean_delta_p_se": _standard_error(changes),
        "rms_delta_p": math.sqrt(fmean(change * change for change in changes)),
        "p1_delta_p": percentile(ordered, 1),
        "median_delta_p": percentile(ordered, 50),
        "p99_delta_p": percentile(ordered, 99),
    }


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Of values in ascending order, linear between neighbours (numpy's default)."""
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def _standard_error(values: Sequence[float]) -> float:
    """Of the mean: the sample's standard deviation over the root of its size."""
    mean = fmean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))
