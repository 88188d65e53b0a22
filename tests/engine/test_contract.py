"""What the window may rely on from every engine: the real one, and the fake ones that other tests use."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import pytest

from qplayground.core.capabilities import Capability, refusal
from qplayground.core.errors import ErrorCode
from qplayground.core.generation import GenerationRequest, GenerationSettings
from qplayground.core.measures.quality import TextSource
from qplayground.core.messages.commands import (
    Cancel,
    Command,
    Download,
    EstimateMemory,
    Generate,
    Load,
    PlanPlacement,
    Score,
)
from qplayground.core.messages.events import (
    Event,
    Failed,
    Generated,
    Hello,
    Loaded,
    LoadEstimated,
    MemoryEstimated,
    Phase,
    PhaseStarted,
    PlacementPlanned,
    Progressed,
    PromptRead,
    Scored,
    TokensGenerated,
)
from qplayground.core.messages.inside import ModelOutlined, OutlineModel
from qplayground.core.placement import Placement
from qplayground.core.tokens import Token
from qplayground.runtime.processes import process
from qplayground.runtime.processes.launcher import ENGINE_TARGET, Launcher
from qplayground.runtime.processes.process import ChildProcess
from tests.engine import tiny
from tests.engine.conftest import ModelFolder, tokens_of
from tests.fakes import engine as fake

FAKE_TARGET = "tests.fakes.engine"
REMOTE_TARGET = "tests.fakes.remote"
LACKING = {FAKE_TARGET: set[Capability](), REMOTE_TARGET: set(Capability), ENGINE_TARGET: set[Capability]()}
WAIT_S = 120.0
"""After this time a conversation is ended and its test fails. No test waits for it."""

T = TypeVar("T")


class Conversation:
    """An engine process, with the commands sent to it and its events."""

    def __init__(self, child: ChildProcess) -> None:
        self.child = child
        self.lacks: dict[Capability, str] = {}
        self._events = child.events()
        self._last_id = 0

    def send(self, make: Callable[[int], Command]) -> int:
        self._last_id += 1
        assert self.child.send(make(self._last_id))
        return self._last_id

    def load(self, path: str, prompt: str, precision: str = "fp32") -> int:
        recipe = tiny.precision(precision)
        request = GenerationRequest(prompt=prompt)
        return self.send(
            lambda id: Load(id=id, path=path, precision=recipe, placement=Placement(device="cpu"), request=request)
        )

    def generate(self, prompt: str, max_new_tokens: int = 8) -> int:
        settings = GenerationSettings(max_new_tokens=max_new_tokens)
        return self.send(lambda id: Generate(id=id, request=GenerationRequest(prompt=prompt, settings=settings)))

    def cancel(self, command_id: int) -> None:
        assert self.child.send(Cancel(command_id))

    def next(self) -> Event:
        event = next(self._events, None)
        assert event is not None, f"the engine ended early: {self.child.output_tail()}"
        return event

    def until(self, kind: type[T]) -> tuple[list[Event], T]:
        """Everything up to and including the first event of that kind. Fails on an unexpected Failed, Generated or
        Loaded.
        """
        before: list[Event] = []
        while True:
            event = self.next()
            if isinstance(event, kind):
                return before, event
            assert not isinstance(event, (Failed, Generated, Loaded)), event
            before.append(event)

    def tokens(self, at_least: int) -> list[Token]:
        """The next tokens, perhaps a few more than asked for."""
        tokens: list[Token] = []
        while len(tokens) < at_least:
            tokens += self.until(TokensGenerated)[1].tokens
        return tokens

    def rest(self) -> list[Event]:
        """The remaining events until the engine ends."""
        return list(self._events)


@dataclass(frozen=True)
class Kind:
    """One engine under test.

    `slow_load` leaves time to end a load. `endless` generates for as long as the test needs. `bad` is a load that
    fails.
    """

    target: str
    path: str
    prompt: str
    slow_load: str
    endless: str
    bad_path: str
    bad_prompt: str

    @contextmanager
    def started(self) -> Iterator[Conversation]:
        with started(self.target) as conversation:
            conversation.lacks = conversation.until(Hello)[1].lacks
            yield conversation

    @contextmanager
    def loaded(self) -> Iterator[Conversation]:
        with self.started() as conversation:
            conversation.load(self.path, self.prompt)
            conversation.until(Loaded)
            yield conversation


@cache
def launcher() -> Launcher:
    """One launcher for all. Its fork server preloads the real engine and also starts the fake one."""
    return Launcher(ENGINE_TARGET)


@contextmanager
def started(target: str) -> Iterator[Conversation]:
    child = launcher().engine_job(target)
    deadline = threading.Timer(WAIT_S, child.kill)
    deadline.start()
    try:
        with child:
            yield Conversation(child)
    finally:
        deadline.cancel()
        deadline.join()


@pytest.fixture(scope="module")
def real(model_folder: ModelFolder, tmp_path_factory: pytest.TempPathFactory) -> Kind:
    root = tmp_path_factory.mktemp("contract")
    good = tiny.make(root / "good", tokenizer=tiny.word_tokenizer())
    tiny.edit_json(good / "generation_config.json", eos_token_id=None)  # so that only length or a cancel ends a text
    tiny.edit_json(good / "config.json", eos_token_id=None)
    bad = tiny.make(root / "bad")
    (bad / "model.safetensors").write_bytes(b"")
    return Kind(ENGINE_TARGET, str(good), "w5 w17", "w5 w17", "w5 w17", str(bad), "w5 w17")


@pytest.fixture(params=["fake", "remote", "real"])
def engine(request: pytest.FixtureRequest) -> Kind:
    if request.param != "real":
        target = REMOTE_TARGET if request.param == "remote" else FAKE_TARGET
        return Kind(target, "/no/such/folder", "once upon", "hang-loading", "slow", "/no/such/folder", "fail-loading")
    real: Kind = request.getfixturevalue("real")
    return real


# ---- the contract ---------------------------------------------------------------------------------------------------


def test_says_hello_before_anything_else(engine: Kind) -> None:
    with started(engine.target) as conversation:
        hello = conversation.next()

        assert isinstance(hello, Hello)
        assert hello.pid == conversation.child.pid
        assert hello.machine.ram_total_bytes > 1_000_000_000
        assert hello.model_types is not None and "llama" in hello.model_types.causal


def test_a_command_of_another_child_is_answered(engine: Kind) -> None:
    """Otherwise the sender would wait forever. The next command is carried out."""
    with engine.started() as conversation:
        command = conversation.send(lambda id: Download(id=id, repo_id="owner/name"))
        answer = conversation.next()
        assert isinstance(answer, Failed) and answer.command_id == command

        conversation.load(engine.path, engine.prompt)
        conversation.until(Loaded)


def test_a_load_reports_phases_then_that_it_is_loaded(engine: Kind) -> None:
    with engine.started() as conversation:
        command = conversation.load(engine.path, engine.prompt)
        before, loaded = conversation.until(Loaded)

    assert loaded.seconds > 0
    phases = [event.phase for event in before if isinstance(event, PhaseStarted)]
    assert phases == [Phase.START, Phase.LOAD, Phase.COPY, Phase.WARM_UP, Phase.CHECK]
    steps = [event for event in before if isinstance(event, Progressed)]
    assert any(step.done == step.total > 0 for step in steps)
    assert {event.command_id for event in [*before, loaded]} == {command}


def test_a_quantized_load_says_so(engine: Kind) -> None:
    with engine.started() as conversation:
        conversation.load(engine.path, engine.prompt, "nf4")
        before, loaded = conversation.until(Loaded)

    if Capability.WEIGHTS in conversation.lacks:
        assert loaded.quantized_modules is None
    else:
        assert loaded.quantized_modules is not None and loaded.quantized_modules > 0
    phases = [event.phase for event in before if isinstance(event, PhaseStarted)]
    assert Phase.QUANTIZE in phases and Phase.LOAD not in phases


def test_generating_gives_the_prompt_every_token_and_the_whole_text(engine: Kind) -> None:
    with engine.loaded() as conversation:
        command = conversation.generate(engine.prompt, 8)
        before, generated = conversation.until(Generated)

    (prompt,) = (event for event in before if isinstance(event, PromptRead))
    tokens = tokens_of(before)
    first = next(event for event in before if isinstance(event, TokensGenerated))
    assert len(prompt.token_ids) == 2
    assert before.index(prompt) < before.index(first)
    assert len(tokens) == 8
    assert generated.text == "".join(token.text for token in tokens)
    assert all(token.text for token in tokens)
    assert generated.finish_reason == "length"
    times = [token.time_s for token in tokens]
    assert times == sorted(times)
    assert generated.ttft_s is not None and generated.ttft_s > 0
    assert generated.decode_tokens_per_s == pytest.approx(7 / (times[-1] - times[0]))
    phases = [event.phase for event in before if isinstance(event, PhaseStarted)]
    assert phases == [Phase.PREFILL, Phase.DECODE]
    assert {event.command_id for event in [*before, generated]} == {command}


def test_one_token_has_no_decode_speed(engine: Kind) -> None:
    with engine.loaded() as conversation:
        conversation.generate(engine.prompt, 1)
        _, generated = conversation.until(Generated)

    assert generated.ttft_s is not None and generated.ttft_s > 0
    assert generated.decode_tokens_per_s is None


def test_a_cancelled_generation_keeps_its_text(engine: Kind) -> None:
    with engine.loaded() as conversation:
        command = conversation.generate(engine.endless, tiny.CONTEXT - 2)
        shown = conversation.tokens(3)
        conversation.cancel(command)
        while isinstance(event := conversation.next(), TokensGenerated):
            shown += event.tokens

    assert isinstance(event, Generated)
    assert event.finish_reason == "cancelled"
    assert 3 <= len(shown) < tiny.CONTEXT - 2
    assert event.text == "".join(token.text for token in shown) != ""


def test_a_cancel_of_another_command_changes_nothing(engine: Kind) -> None:
    with engine.loaded() as conversation:
        conversation.cancel(999)
        conversation.generate(engine.prompt, 8)
        before, generated = conversation.until(Generated)

    assert len(tokens_of(before)) == 8
    assert generated.finish_reason == "length"


def test_generating_twice_on_one_load_gives_the_same_tokens(engine: Kind) -> None:
    with engine.loaded() as conversation:
        runs = []
        for _ in range(2):
            command = conversation.generate(engine.prompt, 8)
            before, _ = conversation.until(Generated)
            assert {event.command_id for event in before} == {command}
            runs.append([token.id for token in tokens_of(before)])

    assert runs[0] == runs[1]
    assert len(runs[0]) == 8


def test_generating_before_loading_fails_and_the_engine_goes_on(engine: Kind) -> None:
    with engine.started() as conversation:
        command = conversation.generate(engine.prompt)
        before, failed = conversation.until(Failed)
        assert before == []
        assert failed.command_id == command
        assert failed.error.message and failed.error.hint

        conversation.load(engine.path, engine.prompt)
        conversation.until(Loaded)


def test_after_a_failed_load_another_model_can_be_loaded(engine: Kind) -> None:
    with engine.started() as conversation:
        command = conversation.load(engine.bad_path, engine.bad_prompt)
        _, failed = conversation.until(Failed)
        assert failed.command_id == command
        assert failed.error.message and failed.error.hint

        conversation.load(engine.path, engine.prompt)
        conversation.until(Loaded)
        conversation.generate(engine.prompt)
        conversation.until(Generated)


def test_after_a_failed_load_the_model_before_it_is_gone(engine: Kind) -> None:
    with engine.loaded() as conversation:
        conversation.load(engine.bad_path, engine.bad_prompt)
        conversation.until(Failed)
        conversation.generate(engine.prompt)
        conversation.until(Failed)


def test_an_idle_engine_ends_when_the_pipe_is_closed(engine: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "EXIT_GRACE_S", WAIT_S)
    with engine.started() as conversation:
        child = conversation.child

    assert child.outcome is not None
    assert child.outcome.exit_code == 0  # it ended by itself; a kill would be -9
    assert child.outcome.error is None


def test_a_busy_engine_ends_when_the_pipe_is_closed(engine: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "EXIT_GRACE_S", WAIT_S)
    with engine.loaded() as conversation:
        conversation.generate(engine.endless, tiny.CONTEXT - 2)
        conversation.tokens(1)
        child = conversation.child

    assert child.outcome is not None
    assert child.outcome.exit_code == 0


def test_killing_ends_the_conversation_at_once(engine: Kind) -> None:
    with engine.loaded() as conversation:
        conversation.generate(engine.endless, tiny.CONTEXT - 2)
        conversation.tokens(1)
        conversation.child.kill()
        rest = conversation.rest()
        child = conversation.child

    assert not any(isinstance(event, Generated) for event in rest)
    assert child.outcome is not None
    assert child.outcome.exit_code == -9
    assert child.outcome.error is None  # the end was requested


def test_killing_ends_a_load_at_once(engine: Kind) -> None:
    with engine.started() as conversation:
        conversation.load(engine.path, engine.slow_load)
        conversation.until(PhaseStarted)
        conversation.child.kill()
        rest = conversation.rest()
        child = conversation.child

    assert not any(isinstance(event, Loaded) for event in rest)
    assert child.outcome is not None and child.outcome.exit_code == -9


# ---- what an engine may lack ----------------------------------------------------------------------------------------


def is_refused(conversation: Conversation, capability: Capability, make: Callable[[int], Command]) -> bool:
    """Whether a command that needs a missing capability is answered only with the reason."""
    command = conversation.send(make)
    return conversation.next() == Failed(command, refusal(conversation.lacks[capability]))


def test_what_an_engine_lacks_it_says_with_a_reason(engine: Kind) -> None:
    with engine.started() as conversation:
        lacks = conversation.lacks

    assert set(lacks) == LACKING[engine.target]
    assert all(reason[0].isupper() and reason.endswith(".") for reason in lacks.values())


def test_memory_is_that_of_its_process(engine: Kind) -> None:
    with started(engine.target) as conversation:
        _, hello = conversation.until(Hello)
        conversation.load(engine.path, engine.prompt)
        _, loaded = conversation.until(Loaded)
        conversation.generate(engine.prompt)
        _, generated = conversation.until(Generated)

    found = (hello.memory, loaded.runtime_memory, loaded.memory, generated.memory)
    if Capability.MEMORY in hello.lacks:
        assert found == (None,) * 4
        assert (generated.peak_resident_bytes, loaded.vram, generated.vram) == (None, {}, {})
        return
    resident = [0 if memory is None else memory.resident_bytes for memory in found]
    assert all(1_000_000 < each < hello.machine.ram_total_bytes for each in resident)
    assert generated.peak_resident_bytes is not None and generated.peak_resident_bytes >= resident[-1]


def test_weights_are_counted_by_kind_and_module(engine: Kind) -> None:
    with engine.started() as conversation:
        conversation.load(engine.path, engine.prompt)
        _, loaded = conversation.until(Loaded)
        conversation.generate(engine.prompt)
        _, generated = conversation.until(Generated)

    if Capability.WEIGHTS in conversation.lacks:
        assert (loaded.weight_bytes, loaded.by_kind, loaded.quantized_modules) == (None, None, None)
        assert (loaded.by_module, loaded.by_device, generated.weight_bytes) == ({}, {}, None)
        return
    assert loaded.weight_bytes is not None and loaded.weight_bytes > 0
    assert loaded.by_kind is not None and loaded.by_kind.total == loaded.weight_bytes == generated.weight_bytes
    assert sum(kinds.total for kinds in loaded.by_module.values()) == loaded.weight_bytes
    assert loaded.quantized_modules == 0


def test_what_a_load_will_take_is_said_before_its_first_weight(engine: Kind) -> None:
    with engine.started() as conversation:
        command = conversation.load(engine.path, engine.prompt)
        before, loaded = conversation.until(Loaded)

    said = [event for event in before if isinstance(event, LoadEstimated)]
    if Capability.PREDICTION in conversation.lacks:
        assert (said, loaded.estimate, loaded.others) == ([], None, ())
        return
    (first,) = said
    assert first.command_id == command and first.estimate.precision == "fp32"
    assert first.estimate.weight_bytes == loaded.weight_bytes
    phases = [event.phase for event in before[: before.index(first)] if isinstance(event, PhaseStarted)]
    assert phases == [Phase.START]


def test_memory_is_predicted_for_each_precision(engine: Kind) -> None:
    recipes = (tiny.precision("fp32"), tiny.precision("nf4"))

    def ask(command_id: int) -> Command:
        return EstimateMemory(id=command_id, path=engine.path, precisions=recipes)

    with engine.started() as conversation:
        if Capability.PREDICTION in conversation.lacks:
            assert is_refused(conversation, Capability.PREDICTION, ask)
            return
        conversation.send(ask)
        answer = conversation.until(MemoryEstimated)[1]

    assert [estimate.precision for estimate in answer.estimates] == ["fp32", "nf4"]


def test_parts_are_where_they_were_told_to_be(engine: Kind) -> None:
    def ask(command_id: int) -> Command:
        return PlanPlacement(
            id=command_id,
            path=engine.path,
            precisions=(tiny.precision("fp32"),),
            placement=Placement(device="cpu"),
        )

    with engine.started() as conversation:
        conversation.load(engine.path, engine.prompt)
        _, loaded = conversation.until(Loaded)
        if Capability.PLACEMENT in conversation.lacks:
            assert loaded.device_map == {}
            assert is_refused(conversation, Capability.PLACEMENT, ask)
            return
        conversation.send(ask)
        answer = conversation.until(PlacementPlanned)[1]

    assert loaded.device_map == {"": "cpu"}
    assert set(answer.plans[0].devices) == {"cpu"}


def test_a_token_has_a_probability(engine: Kind) -> None:
    with engine.loaded() as conversation:
        conversation.generate(engine.prompt, 4)
        tokens = tokens_of(conversation.until(Generated)[0])

    if Capability.PROBABILITIES in conversation.lacks:
        assert all((token.probability, token.rank, token.alternatives) == (None, None, ()) for token in tokens)
    else:
        assert all(0 < (token.probability or 0) <= 1 and token.rank and token.alternatives for token in tokens)
    assert len(tokens) == 4


def test_a_text_is_scored(engine: Kind, tmp_path: Path) -> None:
    def ask(command_id: int) -> Command:
        return Score(
            id=command_id,
            source=TextSource.FILE,
            name="a text",
            text=" ".join(f"w{place * place % 50}" for place in range(400)),
            baseline=tiny.precision("fp32"),
            reference="fp32",
            folder=str(tmp_path),
            limit_bytes=100_000_000,
        )

    with engine.loaded() as conversation:
        if Capability.SCORING in conversation.lacks:
            assert is_refused(conversation, Capability.SCORING, ask)
            conversation.generate(engine.prompt)  # the model is still loaded
            conversation.until(Generated)
            return
        conversation.send(ask)
        scored = conversation.until(Scored)[1]

    assert scored.quality.perplexity is not None and scored.quality.scored_tokens > 0
    assert scored.tokens is not None and len(scored.tokens.nll) == scored.quality.scored_tokens


def test_a_model_is_looked_into(engine: Kind) -> None:
    def ask(command_id: int) -> Command:
        return OutlineModel(id=command_id, path=engine.path, precisions=(tiny.precision("nf4"),))

    with engine.started() as conversation:
        if Capability.INSIDE in conversation.lacks:
            assert is_refused(conversation, Capability.INSIDE, ask)
            return
        conversation.send(ask)
        outline = conversation.until(ModelOutlined)[1].outline

    assert outline.modules


# ---- what the fake engine can also do -------------------------------------------------------------------------------


@contextmanager
def fake_engine() -> Iterator[Conversation]:
    with started(FAKE_TARGET) as conversation:
        conversation.until(Hello)
        yield conversation


def load_fake(conversation: Conversation, prompt: str, precision: str = "fp32") -> None:
    conversation.load("", prompt, precision)
    conversation.until(Loaded)


@pytest.mark.parametrize(("mishap", "exit_code"), [("exit", fake.EXIT_CODE), ("segfault", -11)])
def test_the_fake_dies_while_loading(mishap: str, exit_code: int) -> None:
    with fake_engine() as conversation:
        conversation.load("", f"{mishap}-loading")
        rest = conversation.rest()
        child = conversation.child

    assert any(isinstance(event, Progressed) for event in rest)
    assert not any(isinstance(event, (Loaded, Failed)) for event in rest)
    assert child.outcome is not None and child.outcome.exit_code == exit_code
    assert child.outcome.error is not None and child.outcome.error.code is ErrorCode.ENGINE_DIED


def test_the_fake_dies_while_generating_and_leaves_its_last_words() -> None:
    with fake_engine() as conversation:
        load_fake(conversation, "exit-generating")
        conversation.generate("exit-generating")
        rest = conversation.rest()
        child = conversation.child

    assert len(tokens_of(rest)) == 3
    assert child.outcome is not None and child.outcome.exit_code == fake.EXIT_CODE
    assert "about to exit" in child.outcome.output_tail


def test_the_fake_fails_while_generating_and_goes_on() -> None:
    with fake_engine() as conversation:
        load_fake(conversation, "fail-generating")
        conversation.generate("fail-generating")
        conversation.tokens(3)
        _, failed = conversation.until(Failed)
        assert failed.error == fake.FAILURE.info
        conversation.generate("ok")
        conversation.until(Generated)


def test_the_fake_obeys_per_precision() -> None:
    prompt = "nf4=fail-loading fp32=fast=4 a story"
    with fake_engine() as conversation:
        conversation.load("", prompt, "nf4")
        conversation.until(Failed)
        load_fake(conversation, prompt, "fp32")
        conversation.generate(prompt)
        before, generated = conversation.until(Generated)

    assert len(tokens_of(before)) == 4
    assert generated.finish_reason == "length"


def test_the_fake_refuses_a_misspelt_behaviour() -> None:
    with fake_engine() as conversation:
        conversation.load("", "fp32=crash-loafing")
        _, failed = conversation.until(Failed)

    assert failed.error.code is ErrorCode.BAD_SETTINGS


def test_the_fake_continues_differently_when_quantized() -> None:
    texts = {}
    with fake_engine() as conversation:
        for name in ("fp32", "bf16", "nf4"):
            load_fake(conversation, "ok", name)
            conversation.generate("ok")
            texts[name] = conversation.until(Generated)[1].text

    assert texts["fp32"] == texts["bf16"] != texts["nf4"]
    assert texts["fp32"].split()[:4] == texts["nf4"].split()[:4]


def test_the_fake_ignores_a_cancel_when_told_to() -> None:
    with fake_engine() as conversation:
        load_fake(conversation, "ignore-cancel")
        command = conversation.generate("ignore-cancel")
        conversation.tokens(1)
        conversation.cancel(command)
        conversation.tokens(20)


@pytest.mark.parametrize("stage", ["loading", "generating"])
def test_the_fake_hangs_until_it_is_killed(stage: str) -> None:
    with fake_engine() as conversation:
        if stage == "generating":
            load_fake(conversation, "hang-generating")
            conversation.generate("hang-generating")
            conversation.tokens(3)
        else:
            conversation.load("", "hang-loading")
            for _ in range(3):
                conversation.until(Progressed)
        child = conversation.child
        conversation.child.kill()
        assert not any(isinstance(event, (Loaded, Generated, TokensGenerated)) for event in conversation.rest())

    assert child.outcome is not None and child.outcome.exit_code == -9


def test_the_fake_floods_its_standard_error_and_the_log_stays_small() -> None:
    with fake_engine() as conversation:
        load_fake(conversation, "flood slow")
        command = conversation.generate("flood slow")
        conversation.tokens(1)  # arrives after the flood
        conversation.tokens(1)
        size = Path(f"/proc/{conversation.child.pid}/fd/2").stat().st_size  # its standard error is the log
        assert conversation.child.output_tail().endswith("flood")
        conversation.cancel(command)

    assert 0 < size < process.LOG_LIMIT_BYTES + fake.FLOOD_BYTES // 10


def test_the_fakes_late_events_name_the_command_before() -> None:
    with fake_engine() as conversation:
        command = conversation.load("", "late")
        events = [conversation.next() for _ in range(4)]
        assert [event.command_id for event in events] == [command - 1] * 3 + [command]
        conversation.until(Loaded)


def test_the_fakes_nonsense_ends_the_conversation() -> None:
    with fake_engine() as conversation:
        load_fake(conversation, "nonsense")
        conversation.generate("nonsense")
        rest = conversation.rest()

    assert len(tokens_of(rest)) == 3
    assert not any(isinstance(event, Generated) for event in rest)


def test_the_real_engine_says_how_a_model_was_refused(real: Kind, tmp_path: Path) -> None:
    with started(ENGINE_TARGET) as conversation:
        conversation.until(Hello)
        conversation.load(real.bad_path, real.bad_prompt)
        _, failed = conversation.until(Failed)
        conversation.load(str(tmp_path / "nowhere"), real.prompt)
        _, nowhere = conversation.until(Failed)

    assert failed.error.code is ErrorCode.BROKEN_WEIGHTS
    assert nowhere.error.code is ErrorCode.MODEL_NOT_FOUND
