"""What is recorded for each token, how long a benchmark's text is, and what the clocks count."""

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from qplayground.core.errors import ErrorCode, PlaygroundError
from qplayground.core.generation import GenerationRequest, GenerationSettings
from qplayground.core.messages.commands import Generate
from qplayground.core.messages.events import Failed, Generated, Loaded, Phase, PhaseStarted, TokensGenerated
from qplayground.engines.transformers.generation import decoding, token_insight
from qplayground.engines.transformers.generation.token_insight import Insight
from qplayground.engines.transformers.loading import load, reading
from qplayground.engines.transformers.loading.load import LoadedModel, disk_share
from qplayground.engines.transformers.machine import stopwatch
from qplayground.engines.transformers.machine.stopwatch import Stopwatch
from tests.engine import tiny
from tests.engine.conftest import LoadShared, ModelFolder, carry_out, load_quietly, tokens_of


def prompt_ids(loaded: LoadedModel) -> list[int]:
    return [int(token) for token in loaded.tokenizer(tiny.PROMPT)["input_ids"]]


def write(
    loaded: LoadedModel, *, benchmark: bool = False, **settings: Any
) -> tuple[list[int], list[Insight | None], decoding.Timeline]:
    ids: list[int] = []
    seen: list[Insight | None] = []

    def take(token_id: int, _time_s: float, insight: Insight | None) -> None:
        ids.append(token_id)
        seen.append(insight)

    wanted = GenerationSettings(**{"max_new_tokens": 6, **settings})
    timeline = decoding.generate(loaded, prompt_ids(loaded), wanted, take, lambda: False, benchmark=benchmark)
    return ids, seen, timeline


@pytest.mark.parametrize("precision", ["fp32", "bf16", "nf4"])
def test_probability_rank_and_alternatives_are_the_models_own(load_shared: LoadShared, precision: str) -> None:
    loaded = load_shared("llama", precision)
    ids, seen, _ = write(loaded, do_sample=True, temperature=2.5, top_p=1.0, top_k=0, seed=3)

    # Use the cache, as generation does: some kernels round a single token's row differently from a whole prompt's.
    fed, cache = prompt_ids(loaded), None
    for token_id, insight in zip(ids, seen, strict=True):
        with torch.inference_mode():
            out = loaded.model(torch.tensor([fed]), past_key_values=cache, use_cache=True)
        logits, cache = out.logits[0, -1].float(), out.past_key_values
        probabilities = torch.softmax(logits, -1)
        assert insight is not None
        assert insight.probability == pytest.approx(float(probabilities[token_id]), rel=1e-3)
        assert insight.rank == int((logits > logits[token_id]).sum()) + 1
        best = [alternative.probability for alternative in insight.alternatives]
        assert best == sorted(best, reverse=True)
        assert best[0] == pytest.approx(float(probabilities.max()), rel=1e-3)
        assert len(best) == token_insight.ALTERNATIVES
        fed = [token_id]


def test_a_greedy_token_is_the_likeliest(load_shared: LoadShared) -> None:
    loaded = load_shared("llama", "fp32")
    ids, seen, _ = write(loaded)
    for token_id, insight in zip(ids, seen, strict=True):
        assert insight is not None
        assert insight.rank == 1
        assert insight.alternatives[0].probability == pytest.approx(insight.probability)
        assert insight.alternatives[0].text == loaded.tokenizer.decode([token_id])


def test_a_watch_that_saw_nothing_says_so(load_shared: LoadShared) -> None:
    with pytest.raises(RuntimeError):
        token_insight.LogitsWatch().insight(1, load_shared("llama", "fp32").tokenizer)


def test_nothing_is_left_hooked_to_the_model(load_shared: LoadShared) -> None:
    loaded = load_shared("llama", "fp32")
    before = len(loaded.model._forward_hooks)
    write(loaded)
    with pytest.raises(ZeroDivisionError):
        decoding.generate(loaded, prompt_ids(loaded), GenerationSettings(), lambda *_: 1 // 0, lambda: False)  # type: ignore[arg-type]
    assert len(loaded.model._forward_hooks) == before


def test_a_benchmark_is_as_long_as_asked_and_reads_nothing(
    load_shared: LoadShared, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_shared("llama", "fp32")
    usual, _, _ = write(loaded)
    monkeypatch.setattr(loaded.model.generation_config, "eos_token_id", usual[2])
    ended, _, _ = write(loaded)
    assert ended == usual[: usual.index(usual[2]) + 1]

    whole, seen, timeline = write(loaded, benchmark=True)

    assert len(whole) == 6
    assert usual[2] not in whole
    assert seen == [None] * 6
    assert timeline.held_s == 0


def test_reading_a_token_takes_no_time_on_the_clock(load_shared: LoadShared, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_shared("llama", "fp32")
    insight = token_insight.LogitsWatch.insight
    now = itertools.count()
    jumped = [0]
    monkeypatch.setattr(stopwatch, "time", type("", (), {"monotonic": lambda: 0.001 * next(now) + jumped[0]}))

    def slow(self: token_insight.LogitsWatch, token_id: int, tokenizer: Any) -> Insight:
        jumped[0] += 100
        return insight(self, token_id, tokenizer)

    monkeypatch.setattr(token_insight.LogitsWatch, "insight", slow)
    _, _, timeline = write(loaded)
    assert timeline.held_s > 600
    assert timeline.token_times_s[-1] < 1


def test_the_prompt_is_read_before_the_first_token(load_shared: LoadShared) -> None:
    _, _, timeline = write(load_shared("llama", "fp32"))
    assert timeline.prefilled_s is not None and timeline.ttft_s is not None
    assert 0 < timeline.prefilled_s <= timeline.ttft_s
    assert timeline.prefill_tokens_per_s == pytest.approx(timeline.prompt_tokens / timeline.prefilled_s)


def test_a_stopwatch_leaves_out_what_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [10.0]
    monkeypatch.setattr(stopwatch, "time", type("", (), {"monotonic": lambda: now[0]}))
    clock = Stopwatch()
    now[0] = 11.0
    with clock.held():
        now[0] = 16.0
    now[0] = 18.0
    assert clock.elapsed_s == 3.0
    assert clock.held_s == 5.0


def test_a_benchmark_warms_up_and_sends_its_tokens_at_the_end(model_folder: ModelFolder) -> None:
    request = GenerationRequest(prompt=tiny.PROMPT, settings=GenerationSettings(max_new_tokens=5))
    load = tiny.load_command(model_folder("llama"), "fp32", request)
    benchmark, usual = Generate(id=20, request=request, benchmark=True), Generate(id=30, request=request)
    events = carry_out(load, benchmark, usual)

    timed = [event for event in events if event.command_id == 20]
    assert [len(event.tokens) for event in timed if isinstance(event, TokensGenerated)] == [5]
    phases = [event.phase for event in timed if isinstance(event, PhaseStarted)]
    assert phases == [Phase.WARM_UP, Phase.PREFILL, Phase.DECODE]
    assert [token.probability for token in tokens_of(timed)] == [None] * 5
    shown = [event for event in events if event.command_id == 30]
    assert all(token.probability and token.rank for token in tokens_of(shown))
    assert [event.phase for event in shown if isinstance(event, PhaseStarted)] == [Phase.PREFILL, Phase.DECODE]
    generated = [event for event in events if isinstance(event, Generated)]
    assert all(event.prefill_tokens_per_s and event.ttft_s for event in generated)
    assert generated[0].held_s == 0 < generated[1].held_s


def test_what_others_used_is_reported(model_folder: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    spans = iter([0.25, 0.5, 0.75])  # the load, the prefill, the decode
    for module in (load, decoding):
        monkeypatch.setattr(module, "used_by_others", lambda before, after: next(spans))
    command = tiny.load_command(model_folder("llama"), "fp32")
    events = carry_out(command, Generate(id=2, request=command.request))
    assert [event.other_cpus for event in events if isinstance(event, Loaded)] == [0.25]
    assert [event.other_cpus for event in events if isinstance(event, Generated)] == [0.75]


def test_what_was_written_before_a_failure_is_sent(model_folder: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    insight = token_insight.LogitsWatch.insight
    looks = itertools.count(1)

    def fail_at_the_fifth(self: token_insight.LogitsWatch, token_id: int, tokenizer: Any) -> Insight:
        if next(looks) == 5:
            raise RuntimeError("probability tensor contains inf")
        return insight(self, token_id, tokenizer)

    monkeypatch.setattr(token_insight.LogitsWatch, "insight", fail_at_the_fifth)
    load = tiny.load_command(model_folder("llama"), "fp32")
    events = carry_out(load, Generate(id=2, request=load.request))
    assert isinstance(events[-1], Failed)
    assert len(tokens_of(events)) == 4


def test_threads_are_given_back_after_a_race(model_folder: ModelFolder) -> None:
    before = torch.get_num_threads()
    request = GenerationRequest(prompt=tiny.PROMPT, settings=GenerationSettings(max_new_tokens=2))
    load = tiny.load_command(model_folder("llama"), "fp32", request)
    try:
        carry_out(load, Generate(id=2, request=request, threads=before + 1))
        assert torch.get_num_threads() == before + 1
        torch.set_num_threads(before)
        carry_out(load, Generate(id=2, request=request, threads=before + 1), Generate(id=3, request=request))
        assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("before", "after", "total", "share"),
    [(0, 50, 100, 0.5), (10, 500, 100, 1.0), (None, 50, 100, None), (0, 0, 0, None), (7, 7, 100, 0.0)],
)
def test_the_disks_share_of_a_load(before: int | None, after: int | None, total: int, share: float | None) -> None:
    assert disk_share(before, after, total) == share


def test_reads_from_the_disk_are_counted_or_unknown() -> None:
    counted = reading.bytes_read_from_disk()
    assert counted is None or counted >= 0


def test_a_benchmark_fits_where_its_text_does(model_folder: ModelFolder) -> None:
    folder = model_folder("gpt2")
    tokenizer = load_quietly(folder).tokenizer
    one, two = (len(tokenizer(text)["input_ids"]) for text in ("cat", "cat cat"))
    words = (tiny.CONTEXT - 2 - one) // (two - one)  # leaves fewer tokens than a warm-up usually has
    request = GenerationRequest(prompt="cat" + " cat" * words, settings=GenerationSettings(max_new_tokens=2))
    load = tiny.load_command(folder, "fp32", GenerationRequest(prompt="cat"))
    events = carry_out(load, Generate(id=2, request=request, benchmark=True))
    assert isinstance(events[-1], Generated), events[-1]
    assert len(tokens_of(events)) == 2


def test_output_that_is_not_a_number_is_an_error(load_shared: LoadShared) -> None:
    class Says(torch.nn.Module):
        def forward(self, *scores: float) -> SimpleNamespace:
            return SimpleNamespace(logits=torch.tensor([[scores]]))

    model = Says()
    with token_insight.LogitsWatch().on(model) as watch:
        model(1.0, float("nan"), 2.0)
        with pytest.raises(PlaygroundError) as failed:
            watch.insight(0, load_shared("llama", "fp32").tokenizer)
        assert failed.value.info.code is ErrorCode.NON_FINITE_OUTPUT
        model(1.0, float("-inf"), 2.0)
        assert watch.insight(0, load_shared("llama", "fp32").tokenizer).rank == 2
