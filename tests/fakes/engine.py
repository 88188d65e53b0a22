"""An engine without torch that follows instructions in its prompt, over the real protocol.

The prompt is read as words. `nf4=exit-loading` instructs one precision, `slow` all of them. Other words are plain
prompt. A precision without instruction is `ok`. Several behaviours can be combined: `flood slow`.

- `ok`: load in a few steps, then continue the prompt with as many tokens as asked for
- `fast=N`: `ok` with N tokens
- `slow`: about a hundred tokens a second until it is cancelled
- `ignore-cancel`: the same, but never stop
- `exit-…`, `segfault-…`, `fail-…`, `hang-…` followed by `loading`, `generating`, `scoring` or `checking`: end with code
  3, be killed by SIGSEGV, send Failed, send nothing more. While generating, this happens after the third token. During
  a checkup, it happens to the precision with the behaviour among its skipped modules.
- `flood`: write 4 MB to standard error before the first token
- `late`: precede each command's events with events of the previous command
- `twice`: report the end of each command twice
- `nonsense`: after the third token, send bytes that are not a message

An engine reports missing capabilities before any prompt, so the module that serves it sets them. `tests.fakes.remote`
lacks everything.
"""

import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import NoReturn

import psutil
from msgspec.structs import replace

from qplayground.core.capabilities import Capability, refusal
from qplayground.core.diagnosis.diagnosis import CudaBuild, MethodCheck, Outcome
from qplayground.core.errors import ErrorCode, PlaygroundError, fail
from qplayground.core.measures.floats import Floats
from qplayground.core.measures.quality import (
    SCORING_STOPPED,
    Evaluation,
    Quality,
    ScoredTokens,
    TextSource,
    comparison_figures,
    perplexity_figures,
)
from qplayground.core.measures.windows import Windows
from qplayground.core.memory.estimate import Estimate, WeightKinds
from qplayground.core.memory.process_memory import ProcessMemory, peak_resident_bytes, read_process_memory
from qplayground.core.messages.channel import Channel
from qplayground.core.messages.commands import CheckUp, Command, EstimateMemory, Generate, Load, PlanPlacement, Score
from qplayground.core.messages.events import (
    CheckedUp,
    CheckStarted,
    CudaFound,
    Failed,
    Generated,
    Hello,
    Loaded,
    LoadEstimated,
    MemoryEstimated,
    MethodChecked,
    Phase,
    PhaseStarted,
    PlacementPlanned,
    Progressed,
    PromptRead,
    Scored,
    TokensGenerated,
)
from qplayground.core.messages.inside import InsideCommand
from qplayground.core.model import ModelTypes
from qplayground.core.placement import CPU, Block, PlacementPlan, device_of
from qplayground.core.precision import Precision
from qplayground.core.quantizers.bitsandbytes_int8 import Int8
from qplayground.core.system.machine import Machine
from qplayground.core.tokens import Alternative, Token
from tests.fakes.inside import FakeInside

EXIT_CODE = 3
PARAMETERS = 134_515_008
FLOOD_BYTES = 4_000_000
FAILURE = fail(ErrorCode.UNSUPPORTED, "The fake engine was told to fail.", "Tell it something else.", "scripted")
SENTENCE = "to augment human hands, not replace them. By sharing what each of us knows, we can"
WORDS = SENTENCE.split()

INSIGHT = (0.5, 1, (Alternative(" to", 0.5), Alternative(" a", 0.25)))

_MISHAPS = frozenset({"exit", "segfault", "fail", "hang"})
_BEHAVIOURS = frozenset(
    {"ok", "slow", "ignore-cancel", "flood", "late", "twice", "nonsense"}
    | {f"{mishap}-{stage}" for mishap in _MISHAPS for stage in ("loading", "generating", "scoring", "checking")}
)
_MISHAP_AFTER = 3
_PACE_S = 0.01


def main(channel: Channel) -> None:
    """Serve commands until the parent goes away, as the real engine does."""
    serve(channel, {})


def serve(channel: Channel, lacks: Mapping[Capability, str]) -> None:
    """The same with an engine that lacks some capabilities. `lacks` gives the reasons."""
    faulthandler.disable()
    memory = read_process_memory(psutil.Process())
    machine = Machine(
        python=sys.version.split()[0],
        platform=sys.platform,
        cpu="a fake processor",
        cpu_capability="FAKE",
        cpu_threads=1,
        ram_total_bytes=psutil.virtual_memory().total,
        versions={"fake": "1"},
    )
    channel.send(
        Hello(
            pid=os.getpid(),
            time_s=time.monotonic(),
            machine=machine,
            memory=None if Capability.MEMORY in lacks else memory,
            model_types=ModelTypes(causal=frozenset({"gpt2", "llama"}), known=frozenset({"gpt2", "llama"})),
            lacks=dict(lacks),
        )
    )
    engine = FakeEngine(channel, memory, lacks)
    while True:
        engine.carry_out(channel.receive())


class Script:
    """A prompt's instructions for one precision."""

    def __init__(self, prompt: str, precision: str) -> None:
        self.behaviours: set[str] = set()
        self.tokens: int | None = None
        for word in prompt.split():
            name, _, told = word.partition("=")
            if name == "fast":
                self._add(word)
            elif told and name == precision:
                self._add(told)
            elif word in _BEHAVIOURS:
                self.behaviours.add(word)

    def _add(self, word: str) -> None:
        name, _, number = word.partition("=")
        if name == "fast" and number.isdecimal():
            self.tokens = int(number)
        elif word in _BEHAVIOURS:
            self.behaviours.add(word)
        else:  # a misspelt behaviour must not pass for a working engine
            raise fail(ErrorCode.BAD_SETTINGS, f"The fake engine knows no {word!r}.", "See tests/fakes/engine.py.")

    def __contains__(self, behaviour: str) -> bool:
        return behaviour in self.behaviours

    @property
    def is_endless(self) -> bool:
        return "slow" in self or "ignore-cancel" in self


class FakeEngine:
    """Carries out one command after another."""

    def __init__(self, channel: Channel, runtime_memory: ProcessMemory, lacks: Mapping[Capability, str]) -> None:
        self._channel = channel
        self._lacks = lacks
        self._runtime_memory = runtime_memory
        self._loaded: Precision | None = None
        self._prompt = ""
        self._inside = FakeInside(channel)

    def carry_out(self, command: Command) -> None:
        try:
            match command:
                case Load():
                    self._load(command)
                case Generate():
                    self._generate(command)
                case Score():
                    self._check_has(Capability.SCORING)
                    self._score(command)
                case EstimateMemory():
                    self._check_has(Capability.PREDICTION)
                    self._estimate(command)
                case PlanPlacement():
                    self._check_has(Capability.PLACEMENT)
                    self._plan(command)
                case CheckUp():
                    self._check_up(command)
                case _ if isinstance(command, InsideCommand):
                    self._check_has(Capability.INSIDE)
                    self._inside.carry_out(command)
                case _:
                    raise FAILURE
        except PlaygroundError as error:
            self._channel.send(Failed(command.id, error.info))

    def _has(self, capability: Capability) -> bool:
        return capability not in self._lacks

    def _check_has(self, capability: Capability) -> None:
        if not self._has(capability):
            raise PlaygroundError(refusal(self._lacks[capability]))

    def _estimate(self, command: EstimateMemory) -> None:
        """Answers twice, as the real engine does. A folder named `broken` cannot be read, and `huge` is huge."""
        if Path(command.path).name == "broken":
            self._channel.send(Failed(command.id, FAILURE.info))
            return
        estimates = tuple(self._estimated(precision, command.path) for precision in command.precisions)
        for final in (False, True):
            self._channel.send(
                MemoryEstimated(command_id=command.id, estimates=estimates, context_tokens=50 + 5 * final, final=final)
            )

    def _plan(self, command: PlanPlacement) -> None:
        """Four layers, all in RAM unless the placement says otherwise. Quantized layers are not split."""
        if Path(command.path).name == "broken":
            self._channel.send(Failed(command.id, FAILURE.info))
            return
        modules = command.placement.modules or {"": CPU}
        plans = []
        for precision in command.precisions:
            layer = weight_bytes(precision) // 4
            blocks = [Block(f"layers.{number}", layer, 2 * layer) for number in range(3)]
            blocks.append(Block("head", 0, 0, "layers.0"))
            devices = tuple(device_of(block.name, modules) or CPU for block in blocks)
            refused = precision.is_quantized and len(set(devices)) > 1
            plans.append(
                PlacementPlan(
                    precision=precision.name,
                    quantized=precision.is_quantized,
                    blocks=tuple(blocks),
                    devices=devices,
                    problem=FAILURE.info if refused else None,
                    caution="Limited." if command.placement.max_memory else "",
                )
            )
        self._channel.send(PlacementPlanned(command_id=command.id, plans=tuple(plans)))

    def _score(self, command: Score) -> None:
        assert self._loaded is not None
        self._enter(command.id, Phase.SCORE)
        script = Script(self._prompt, self._loaded.name)
        self._meet_mishap(script, "scoring")
        count, is_baseline = command.tokens or 120, command.baseline == self._loaded
        for done in range(0, count, 40):
            self._channel.send(Progressed(command.id, "Scoring", done, count, "tokens"))
            if self._channel.is_cancelled(command.id):
                stopped = Quality(text=command.name, note=SCORING_STOPPED)
                self._channel.send(Scored(command_id=command.id, quality=stopped))
                return
        windows = command.windows or Windows((0,), 2 * count, count)
        worse = 0.0 if is_baseline else 0.3 if self._loaded.is_quantized else 0.01
        base = scored_tokens(count, 0.0)
        tokens = scored_tokens(count, worse) if not is_baseline else base
        quality = Quality(
            text=command.name,
            text_sha256="0" * 64,
            window=windows.window,
            stride=windows.stride,
            scored_tokens=count,
            reference=None if is_baseline else command.reference,
            reference_dtype="float32",
        )
        figures = perplexity_figures(tokens.nll.values) | ({} if is_baseline else comparison_figures(tokens, base))
        evaluation = Evaluation(
            text=command.name,
            text_sha256="0" * 64,
            text_tokens=2 * count,
            window=windows.window,
            stride=windows.stride,
            positions=tuple(range(count, 2 * count)),
            pieces=tuple(f" {WORDS[place % len(WORDS)]}" for place in range(count)),
        )
        self._end(
            script,
            Scored(
                command_id=command.id,
                quality=replace(quality, **figures),
                tokens=tokens,
                windows=windows,
                token_ids=tuple(range(2 * count)) if command.source is TextSource.PROMPT else (),
                evaluation=evaluation if is_baseline else None,
            ),
        )

    def _check_up(self, command: CheckUp) -> None:
        """Every method works on the CPU unless instructed otherwise. Skipping `wrong` makes it compute wrongly."""
        self._channel.send(CudaFound(command.id, CudaBuild()))
        total = len(command.precisions)
        for done, precision in enumerate(command.precisions):
            if (CPU, precision.name) in command.skip:
                continue
            self._channel.send(
                CheckStarted(command_id=command.id, precision=precision.name, device=CPU, done=done, total=total)
            )
            try:
                self._meet_mishap(Script(" ".join(precision.skip_modules), precision.name), "checking")
            except PlaygroundError as error:
                self._channel.send(Failed(command.id, error.info))
                return
            is_wrong = "wrong" in precision.skip_modules
            check = MethodCheck(
                precision=precision.name,
                label=precision.label,
                device=CPU,
                outcome=Outcome.WRONG if is_wrong else Outcome.WORKS,
                relative_error=0.5 if is_wrong else 0.01,
                problem="the result is wrong (scripted)." if is_wrong else "",
            )
            self._channel.send(MethodChecked(command.id, check))
        self._channel.send(CheckedUp(command.id))

    def _estimated(self, precision: Precision, path: str) -> Estimate:
        scale = 1_000_000 if Path(path).name == "huge" else 1
        return Estimate(
            precision=precision.name,
            by_kind=WeightKinds(plain=scale * weight_bytes(precision)),
            kv_cache_bytes=1_000_000,
            working_bytes=2_000_000,
            load_extra_bytes=3_000_000,
            runtime_bytes=self._runtime_memory.resident_bytes,
            problem=FAILURE.info if "nowhere" in precision.skip_modules else None,
        )

    def _load(self, command: Load) -> None:
        self._loaded = None
        if command.others:
            self._check_has(Capability.PREDICTION)
        script = Script(command.request.prompt, command.precision.name)
        started = time.monotonic()
        total = weight_bytes(command.precision)
        if "late" in script:
            self._send_late(command.id)
        self._enter(command.id, Phase.START)
        estimate = self._estimated(command.precision, command.path)
        if self._has(Capability.PREDICTION):
            self._channel.send(LoadEstimated(command.id, estimate))
        self._enter(command.id, Phase.QUANTIZE if command.precision.is_quantized else Phase.LOAD)
        for quarter in range(3):
            self._channel.send(Progressed(command.id, "Reading weights", quarter * total // 4, total))
        self._meet_mishap(script, "loading")
        self._channel.send(Progressed(command.id, "Reading weights", total, total))
        for phase in (Phase.COPY, Phase.WARM_UP, Phase.CHECK):
            self._enter(command.id, phase)
        self._loaded = command.precision
        has_weights = self._has(Capability.WEIGHTS)
        by_module = {"model.embed": WeightKinds(plain=total - 8), "model.layers.0.norm": WeightKinds(plain=8)}
        self._end(
            script,
            Loaded(
                command_id=command.id,
                seconds=time.monotonic() - started,
                device_map={"": "cpu"} if self._has(Capability.PLACEMENT) else {},
                weight_bytes=total if has_weights else None,
                by_kind=WeightKinds(plain=total) if has_weights else None,
                by_module=by_module if has_weights else {},
                others=tuple(self._estimated(precision, command.path) for precision in command.others),
                quantized_modules=(210 if command.precision.is_quantized else 0) if has_weights else None,
                runtime_memory=self._runtime_memory if self._has(Capability.MEMORY) else None,
                memory=self._memory(),
            ),
        )

    def _generate(self, command: Generate) -> None:
        if self._loaded is None:
            raise fail(ErrorCode.INTERNAL, "Generate came before load.", "Load first.")
        script = Script(command.request.prompt, self._loaded.name)
        self._prompt = command.request.prompt
        if "late" in script:
            self._send_late(command.id)
        prompt = command.request.prompt.split()
        self._channel.send(PromptRead(command.id, tuple(range(len(prompt)))))
        if command.benchmark:
            self._enter(command.id, Phase.WARM_UP)
        self._enter(command.id, Phase.PREFILL)
        if "flood" in script:
            _flood()
        texts, times, reason = self._say(command, script, self._loaded)
        memory = self._memory()
        self._end(
            script,
            Generated(
                command_id=command.id,
                text="".join(texts),
                finish_reason=reason,
                ttft_s=times[0] if texts else None,
                prefill_tokens_per_s=len(prompt) / times[0] if texts else None,
                decode_tokens_per_s=(len(texts) - 1) / (times[-1] - times[0]) if len(texts) > 1 else None,
                memory=memory,
                peak_resident_bytes=None if memory is None else max(peak_resident_bytes(), memory.resident_bytes),
                weight_bytes=weight_bytes(self._loaded) if self._has(Capability.WEIGHTS) else None,
            ),
        )

    def _end(self, script: Script, event: Loaded | Generated | Scored) -> None:
        for _ in range(2 if "twice" in script else 1):
            self._channel.send(event)

    def _say(self, command: Generate, script: Script, precision: Precision) -> tuple[list[str], list[float], str]:
        """Send the tokens. Returns their texts, their times, and the reason to stop."""
        length = script.tokens if script.tokens is not None else command.request.settings.max_new_tokens
        texts: list[str] = []
        times: list[float] = []
        started = time.monotonic()
        waiting: list[Token] = []
        says_insight = self._has(Capability.PROBABILITIES) and not command.benchmark
        pace = threading.Event()  # never set; waiting on it is only a pause
        for index in count() if script.is_endless else range(length):
            if index == _MISHAP_AFTER:
                self._meet_mishap(script, "generating")
                if "nonsense" in script:
                    self._send_nonsense()
            if script.is_endless:
                pace.wait(_PACE_S)
            token = token_at(index, precision)
            texts.append(f" {WORDS[token]}")
            times.append(max(time.monotonic() - started, times[-1] + 1e-6 if times else 1e-6))
            if index == 0:
                self._enter(command.id, Phase.DECODE)
            waiting.append(Token(token, texts[-1], times[-1], *(INSIGHT if says_insight else ())))
            if not command.benchmark:
                self._channel.send(TokensGenerated(command.id, (waiting.pop(),)))
            if self._channel.is_cancelled(command.id) and "ignore-cancel" not in script:
                return texts, times, "cancelled"
        if waiting:
            self._channel.send(TokensGenerated(command.id, tuple(waiting)))
        return texts, times, "length"

    def _meet_mishap(self, script: Script, stage: str) -> None:
        if f"fail-{stage}" in script:
            raise FAILURE
        if f"exit-{stage}" in script:
            print("about to exit", file=sys.stderr, flush=True)
            os._exit(EXIT_CODE)
        if f"segfault-{stage}" in script:
            signal.raise_signal(signal.SIGSEGV)
        if f"hang-{stage}" in script:
            _hang()

    def _send_late(self, command_id: int) -> None:
        earlier = command_id - 1
        self._channel.send(Progressed(earlier, "An earlier load", 1, 2))
        self._channel.send(TokensGenerated(earlier, (Token(0, "LATE", 0.0),)))
        self._channel.send(Failed(earlier, FAILURE.info))

    def _send_nonsense(self) -> None:
        self._channel.connection.send_bytes(b"\xc1 is no msgpack")

    def _enter(self, command_id: int, phase: Phase) -> None:
        self._channel.send(PhaseStarted(command_id, phase, time.monotonic()))

    def _memory(self) -> ProcessMemory | None:
        return read_process_memory(psutil.Process()) if self._has(Capability.MEMORY) else None


def weight_bytes(precision: Precision) -> int:
    """Roughly the bytes of SmolLM2-135M."""
    if isinstance(precision.quantization, Int8):
        return 163_484_032
    return 116_426_752 if precision.quantization else PARAMETERS * precision.dtype.itemsize


def scored_tokens(count: int, worse: float) -> ScoredTokens:
    """Values of a text whose predictions are worse by `worse`."""
    places = range(count)
    compared = [worse * (place % 7) / 3 for place in places] if worse else []
    return ScoredTokens(
        nll=Floats.of([1 + (place % 5) / 4 + worse for place in places]),
        top=tuple(f" {WORDS[(place + (place % 9 == 0)) % len(WORDS)]}" for place in places),
        top_ids=tuple(place % len(WORDS) for place in places),
        top_p=Floats.of([0.6] * count),
        kld=Floats.of(compared),
        same_top=bytes(place % 9 != 0 for place in places) if worse else b"",
    )


def token_at(index: int, precision: Precision) -> int:
    """The fake model's next token. Quantized precisions differ from the others from the fifth token on."""
    return (index + 3 if precision.is_quantized and index >= 4 else index) % len(WORDS)


def _flood() -> None:
    line = "flood " * 20 + "\n"
    for _ in range(FLOOD_BYTES // len(line) + 1):
        sys.stderr.write(line)
    sys.stderr.flush()


def _hang() -> NoReturn:
    while True:
        threading.Event().wait()
