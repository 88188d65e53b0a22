"""Scores each token: sums over the vocabulary, and the collected results."""

import math
from array import array
from functools import cache
from typing import NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from qplayground.core.dtype import Dtype
from qplayground.core.measures.floats import Floats
from qplayground.core.measures.quality import ScoredTokens
from qplayground.core.measures.windows import ROUNDED_ROWS, ROWS
from qplayground.engines.transformers.text.tokenizing import decode

_ROUNDED = (Dtype.BFLOAT16, Dtype.FLOAT16)


class Rows(NamedTuple):
    """Consecutive scored tokens, one per row.

    `log_p`: log-probabilities of the vocabulary, [rows, vocabulary], float32. Valid until the next rows are requested.
    `nll`: negative log-probabilities of the right tokens.
    `top_ids`, `top_p`: the likeliest tokens and their probabilities.
    """

    log_p: torch.Tensor
    nll: list[float]
    top_ids: list[int]
    top_p: list[float]


class VocabularySums:
    """Sums over the vocabulary for up to `rows` tokens at a time.

    Its buffers are allocated once. Fresh buffers would cost more in page faults than the sums do.
    """

    def __init__(self, vocabulary: int, device: torch.device, rows: int = ROWS) -> None:
        self._log_p, self._terms, self._p, self._d = (
            torch.empty((rows, vocabulary), dtype=torch.float32, device=device) for _ in range(4)
        )

    def of(self, logits: torch.Tensor, right: torch.Tensor) -> Rows:
        """Scores of `logits`, [rows, vocabulary], which predict the tokens `right`, [rows]."""
        count = len(logits)
        log_p = self._log_p[:count]
        if logits.dtype != torch.float32:
            logits = log_p.copy_(logits)
        top = _likeliest(logits)
        torch.sub(logits, logits.gather(-1, top), out=log_p)
        # Not log_softmax, which is 1e-6 off here. The sum is in float64, as small changes of a probability count.
        total = torch.exp(log_p, out=self._terms[:count]).sum(-1, keepdim=True, dtype=torch.float64)
        log_p.sub_(total.log().float())
        nll = [-value for value in log_p.gather(-1, right.unsqueeze(-1)).flatten().tolist()]
        return Rows(log_p, nll, top.flatten().tolist(), total.reciprocal().flatten().tolist())

    def divergences(self, reference: torch.Tensor, other: torch.Tensor) -> list[float]:
        """Kullback-Leibler divergence of each row of log-probabilities from the reference's, in nats.

        Equal rows give exactly 0. Computed as sum p (e^d - 1 - d), where d is the other's log-probability minus the
        reference's. That is the same where both sum to one, and avoids small differences of large terms.
        """
        count = len(reference)
        d = torch.sub(other, reference, out=self._d[:count])
        p = torch.exp(reference, out=self._p[:count])
        terms = torch.expm1(d, out=self._terms[:count]).sub_(d).mul_(p)
        found: list[float] = terms.sum(-1).tolist()
        if not all(map(math.isfinite, found)):  # where the reference has 0, the other's probability counts
            found = terms.where(p > 0, other.exp()).sum(-1).tolist()
        return found


def _likeliest(logits: torch.Tensor) -> torch.Tensor:
    """Index of each row's largest value, [rows, 1]. On a CPU by NumPy, which takes a third of torch's time."""
    if logits.device.type == "cpu":
        return torch.from_numpy(logits.numpy().argmax(-1, keepdims=True))
    return logits.argmax(-1, keepdim=True)


class RoundingFloor:
    """Divergence from rounding the logits to a narrower dtype, so that it is not blamed on quantization."""

    def __init__(self, vocabulary: int, device: torch.device) -> None:
        self._sums = VocabularySums(vocabulary, device, ROUNDED_ROWS)
        self._totals = dict.fromkeys(map(str, _ROUNDED), 0.0)
        self._tokens = 0

    def add(self, logits: torch.Tensor, rows: Rows) -> None:
        """Add the first ROUNDED_ROWS of these logits, [rows, vocabulary]."""
        right = torch.zeros(len(logits[:ROUNDED_ROWS]), dtype=torch.int64, device=logits.device)
        self._tokens += len(right)
        for name in self._totals:
            rounded = self._sums.of(logits[:ROUNDED_ROWS].to(getattr(torch, name)), right)
            self._totals[name] += sum(self._sums.divergences(rows.log_p[:ROUNDED_ROWS], rounded.log_p))

    def klds(self) -> dict[str, float]:
        """Mean divergence by dtype, in nats. A dtype that cannot hold the logits is left out."""
        means = {name: total / self._tokens for name, total in self._totals.items()}
        return {name: mean for name, mean in means.items() if math.isfinite(mean)}


class TokenScores:
    """Collects the values of scored tokens."""

    def __init__(self) -> None:
        self._nll = array("f")
        self._top = array("i")
        self._top_p = array("f")
        self._kld = array("f")
        self._same_top = bytearray()

    def __len__(self) -> int:
        return len(self._nll)

    def add(self, rows: Rows) -> None:
        """Append the next rows."""
        self._nll.extend(rows.nll)
        self._top.extend(rows.top_ids)
        self._top_p.extend(rows.top_p)

    def compare(self, rows: Rows, klds: list[float], baseline_top_ids: tuple[int, ...]) -> None:
        """Append the comparison of the rows added last with the baseline's."""
        self._kld.extend(klds)
        self._same_top += bytes(one == other for one, other in zip(rows.top_ids, baseline_top_ids, strict=True))

    def tokens(self, tokenizer: PreTrainedTokenizerBase) -> ScoredTokens:
        """All collected values, with the likeliest tokens as text."""

        @cache
        def text(token: int) -> str:
            return decode(tokenizer, [token])

        return ScoredTokens(
            nll=Floats.of(self._nll),
            top=tuple(text(token) for token in self._top),
            top_ids=tuple(self._top),
            top_p=Floats.of(self._top_p),
            kld=Floats.of(self._kld),
            same_top=bytes(self._same_top),
        )
