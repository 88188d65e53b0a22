"""Continuing a prompt with transformers' own generate, token by token.

`generate` pushes tokens out (a streamer) and asks whether to stop (a criterion). Using it instead of a loop of our
own is what makes the tokens and the speed those of a plain script.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from qplayground.core.generation import GenerationSettings
from qplayground.core.processor import read_processor, used_by_others
from qplayground.engine.loading import LoadedModel
from qplayground.engine.machine import synchronize


@dataclass
class Timeline:
    """When things happened, in `time.monotonic` seconds; the figures of a run are computed from it.

    `other_cpus` is how many processors other programs kept busy meanwhile, on average.
    """

    started_s: float = 0.0
    token_times_s: list[float] = field(default_factory=list)
    other_cpus: float | None = None

    @property
    def ttft_s(self) -> float | None:
        """From the call of generate to the first token."""
        return self.token_times_s[0] - self.started_s if self.token_times_s else None

    @property
    def decode_tokens_per_s(self) -> float | None:
        """(n-1) / (t_last - t_first): prefill is left out. None under two tokens."""
        times = self.token_times_s
        if len(times) < 2 or times[-1] <= times[0]:
            return None
        return (len(times) - 1) / (times[-1] - times[0])


class _TokenSink(BaseStreamer):  # type: ignore[misc]
    """Stamps each token as it is decided. The first call of generate brings the prompt, which is passed over."""

    def __init__(self, timeline: Timeline, on_token: Callable[[int, float], None]) -> None:
        self._timeline = timeline
        self._on_token = on_token
        self._prompt_seen = False

    def put(self, value: torch.Tensor) -> None:
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        now = time.monotonic()
        self._timeline.token_times_s.append(now)
        self._on_token(int(value.reshape(-1)[0]), now)

    def end(self) -> None:
        """Nothing is held back here."""


class _StopWhenAsked(StoppingCriteria):  # type: ignore[misc]
    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self._should_stop = should_stop

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: object) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), self._should_stop(), dtype=torch.bool, device=input_ids.device)


def generation_config(loaded: LoadedModel, settings: GenerationSettings) -> GenerationConfig:
    """The settings on the screen and nothing else: of the model's own defaults only its special tokens are kept."""
    own = loaded.model.generation_config
    sampling = (
        {"temperature": settings.temperature, "top_p": settings.top_p, "top_k": settings.top_k}
        if settings.do_sample
        else {}
    )
    return GenerationConfig(
        max_new_tokens=settings.max_new_tokens,
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
    on_token: Callable[[int, float], None],
    should_stop: Callable[[], bool],
) -> Timeline:
    """Run one continuation on a batch of one. `on_token` gets each new id and its time, in order.

    The seed is set before every run, so that a run can be repeated; it does not make precisions comparable.
    """
    timeline = Timeline()
    ids = torch.tensor([prompt_ids], device=loaded.device)
    torch.manual_seed(settings.seed)
    synchronize(loaded.device)
    clocks = read_processor()
    timeline.started_s = time.monotonic()
    loaded.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        generation_config=generation_config(loaded, settings),
        streamer=_TokenSink(timeline, on_token),
        stopping_criteria=StoppingCriteriaList([_StopWhenAsked(should_stop)]),
    )
    synchronize(loaded.device)
    timeline.other_cpus = used_by_others(clocks, read_processor())
    return timeline


def end_token_ids(loaded: LoadedModel) -> frozenset[int]:
    """The tokens that end a text."""
    own = loaded.model.generation_config.eos_token_id
    return frozenset() if own is None else frozenset(own if isinstance(own, list) else [own])


def _first(value: int | list[int] | None) -> int | None:
    return value[0] if isinstance(value, list) and value else value if isinstance(value, int) else None
