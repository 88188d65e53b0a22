"""What the model predicted for each token that it generated."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from qplayground.core.errors import ErrorCode, fail
from qplayground.core.tokens import Alternative
from qplayground.engines.transformers.text.tokenizing import decode

ALTERNATIVES = 5


class Insight(NamedTuple):
    """A token's probability, its rank (1 is the likeliest; ties share the better rank), and the likeliest tokens."""

    probability: float
    rank: int
    alternatives: tuple[Alternative, ...]


class LogitsWatch:
    """Keeps a reference to the logits of the last position of the model's latest forward, at no cost.

    They are the model's own, before temperature, top-p, top-k or penalty.
    """

    def __init__(self) -> None:
        self._last: torch.Tensor | None = None

    @contextmanager
    def on(self, model: nn.Module) -> Iterator["LogitsWatch"]:
        """Watch that model while the context is open."""

        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            self._last = output.logits[0, -1]

        handle = model.register_forward_hook(keep)
        try:
            yield self
        finally:
            handle.remove()
            self._last = None

    @torch.inference_mode()
    def insight(self, token_id: int, tokenizer: PreTrainedTokenizerBase) -> Insight:
        """The latest forward's prediction for that token.

        Raises RuntimeError before the first forward, and PlaygroundError(NON_FINITE_OUTPUT).
        """
        if self._last is None:
            raise RuntimeError("no forward has been watched yet")
        # numpy stays in this thread. torch would wake the others for each step, which takes longer than the step.
        scores = self._last.float().cpu().numpy()
        rank = int(np.count_nonzero(scores > scores[token_id])) + 1
        weights = np.exp(scores - scores.max())
        total = float(weights.sum())
        if not np.isfinite(total):
            raise fail(
                ErrorCode.NON_FINITE_OUTPUT,
                "The model's output is not a number: its values became too large for this precision.",
                "Use bf16 or fp32, whose range is wider.",
            )
        probability = float(weights[token_id]) / total
        alternatives = []
        for _ in range(min(ALTERNATIVES, len(weights))):
            index = int(weights.argmax())
            text = decode(tokenizer, [index])
            alternatives.append(Alternative(text, float(weights[index]) / total))
            weights[index] = -1.0
        return Insight(probability, rank, tuple(alternatives))
