"""Continues a prompt, token by token, with transformers' own `generate`.

`generate` hands out tokens through a streamer, and asks a criterion whether to stop. It replaces a custom loop, so
tokens and speed are those of a plain script.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import psutil
import torch
from torch import nn
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from qplayground.core.generation import GenerationSettings
from qplayground.core.memory.process_memory import ProcessMemory, read_process_memory
from qplayground.core.system.processor import read_processor, used_by_others
from qplayground.engines.transformers.generation.token_insight import Insight, LogitsWatch
from qplayground.engines.transformers.loading.load import LoadedModel
from qplayground.engines.transformers.machine import allocator
from qplayground.engines.transformers.machine.devices import synchronize
from qplayground.engines.transformers.machine.stopwatch import Stopwatch

WARM_UP_TOKENS = 8

OnToken = Callable[[int, float, Insight | None], None]
"""A token's id, its time in seconds since the call of `generate`, and the model's prediction for it."""


@dataclass
class Timeline:
    """Times in seconds since the call of `generate`. A run's figures are computed from them.

    Times exclude what is read about each token beside generating it, which took `held_s` in all.
    `prefilled_s`: when the model had read the prompt.
    `other_cpus`: CPUs that other programs kept busy on average, the worse of prefill and decode.
    `memory`: the process's memory after the last token, while the KV cache still exists.
    """

    prompt_tokens: int
    prefilled_s: float | None = None
    token_times_s: list[float] = field(default_factory=list)
    held_s: float = 0.0
    other_cpus: float | None = None
    memory: ProcessMemory | None = None

    @property
    def ttft_s(self) -> float | None:
        """Seconds from the call of `generate` to the first token."""
        return self.token_times_s[0] if self.token_times_s else None

    @property
    def prefill_tokens_per_s(self) -> float | None:
        """The prompt's tokens divided by the time that the model took to read them."""
        return self.prompt_tokens / self.prefilled_s if self.prefilled_s else None

    @property
    def decode_tokens_per_s(self) -> float | None:
        """(n - 1) / (t_last - t_first), so prefill is excluded. None under two tokens."""
        times = self.token_times_s
        if len(times) < 2 or times[-1] <= times[0]:
            return None
        return (len(times) - 1) / (times[-1] - times[0])


class _TokenSink(BaseStreamer):  # type: ignore[misc]
    """Stamps each token with its time. The first call of `generate` brings the prompt, which is skipped."""

    def __init__(
        self, timeline: Timeline, clock: Stopwatch, on_token: OnToken, look: Callable[[int], Insight] | None
    ) -> None:
        self._timeline = timeline
        self._clock = clock
        self._on_token = on_token
        self._look = look
        self._prompt_seen = False

    def put(self, value: torch.Tensor) -> None:
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        now = self._clock.elapsed_s
        self._timeline.token_times_s.append(now)
        token_id = int(value.reshape(-1)[0])
        seen = None
        if self._look is not None:
            with self._clock.held():
                seen = self._look(token_id)
        self._on_token(token_id, now, seen)

    def end(self) -> None:
        allocator.release()  # freed blocks are no part of the text, and differ from run to run
        self._timeline.memory = read_process_memory(psutil.Process())


class _StopWhenAsked(StoppingCriteria):  # type: ignore[misc]
    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self._should_stop = should_stop

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: object) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), self._should_stop(), dtype=torch.bool, device=input_ids.device)


def generation_config(loaded: LoadedModel, settings: GenerationSettings, *, whole: bool = False) -> GenerationConfig:
    """Only the settings on the screen. Of the model's own defaults, its special tokens are kept.

    `whole`: the text is exactly as long as requested, because tokens that would end it are excluded.
    """
    own = loaded.model.generation_config
    sampling = (
        {"temperature": settings.temperature, "top_p": settings.top_p, "top_k": settings.top_k}
        if settings.do_sample
        else {}
    )
    return GenerationConfig(
        max_new_tokens=settings.max_new_tokens,
        min_new_tokens=settings.max_new_tokens if whole else None,
        do_sample=settings.do_sample,
        repetition_penalty=settings.repetition_penalty,
        bos_token_id=own.bos_token_id,
        eos_token_id=own.eos_token_id,
        pad_token_id=own.pad_token_id if own.pad_token_id is not None else _first(own.eos_token_id),
        **sampling,
    )


@torch.inference_mode()
def generate(
    loaded: LoadedModel,
    prompt_ids: list[int],
    settings: GenerationSettings,
    on_token: OnToken,
    should_stop: Callable[[], bool],
    *,
    benchmark: bool = False,
) -> Timeline:
    """Run one continuation with batch size 1. `on_token` gets each new token, in order.

    A benchmark generates exactly as many tokens as requested, and reads no predictions. The seed is set before every
    run, so that a run can be repeated. It does not make precisions comparable.
    """
    timeline = Timeline(len(prompt_ids))
    ids = torch.tensor([prompt_ids], device=loaded.device)
    config = generation_config(loaded, settings, whole=benchmark)
    torch.manual_seed(settings.seed)
    with ExitStack() as hooks:
        look = None if benchmark else _look(loaded, hooks.enter_context(LogitsWatch().on(loaded.model)))
        synchronize(loaded.device)
        clocks = [read_processor()]
        clock = Stopwatch()

        def on_prefilled() -> None:
            timeline.prefilled_s = clock.elapsed_s
            clocks.append(read_processor())

        hooks.enter_context(_call_when_prefilled(loaded, on_prefilled))
        loaded.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            generation_config=config,
            streamer=_TokenSink(timeline, clock, on_token, look),
            stopping_criteria=StoppingCriteriaList([_StopWhenAsked(should_stop)]),
        )
        synchronize(loaded.device)
    timeline.held_s = clock.held_s
    clocks.append(read_processor())
    spans = [used_by_others(before, after) for before, after in pairwise(clocks)]
    timeline.other_cpus = max((others for others in spans if others is not None), default=None)
    return timeline


@torch.inference_mode()
def warm_up(
    loaded: LoadedModel, prompt_ids: list[int], settings: GenerationSettings, should_stop: Callable[[], bool]
) -> None:
    """Generate a few tokens and discard them, no more than requested: the first ones of a process are slower."""
    short = GenerationSettings(max_new_tokens=min(WARM_UP_TOKENS, settings.max_new_tokens))
    ids = torch.tensor([prompt_ids], device=loaded.device)
    loaded.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        generation_config=generation_config(loaded, short, whole=True),
        stopping_criteria=StoppingCriteriaList([_StopWhenAsked(should_stop)]),
    )


def end_token_ids(loaded: LoadedModel) -> frozenset[int]:
    """The tokens that end a text."""
    own = loaded.model.generation_config.eos_token_id
    return frozenset() if own is None else frozenset(own if isinstance(own, list) else [own])


def _look(loaded: LoadedModel, watch: LogitsWatch) -> Callable[[int], Insight]:
    def look(token_id: int) -> Insight:
        return watch.insight(token_id, loaded.tokenizer)

    return look


@contextmanager
def _call_when_prefilled(loaded: LoadedModel, on_prefilled: Callable[[], None]) -> Iterator[None]:
    """Call `on_prefilled` once the model's first forward, which reads the prompt, is over."""

    def tell(_module: nn.Module, _inputs: Any, _output: Any) -> None:
        synchronize(loaded.device)
        on_prefilled()
        handle.remove()  # so that later forwards do not pay for it

    handle = loaded.model.register_forward_hook(tell)
    try:
        yield
    finally:
        handle.remove()


def _first(value: int | list[int] | None) -> int | None:
    return value[0] if isinstance(value, list) and value else value if isinstance(value, int) else None
