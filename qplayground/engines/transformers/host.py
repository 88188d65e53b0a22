"""The engine: a process that holds one model in one precision. Takes commands one at a time, sends events."""

import contextlib
import gc
import os
import threading
import time
import traceback
from collections.abc import Iterable
from functools import cached_property

import msgspec
import psutil
import torch
import transformers.integrations.bitsandbytes  # here, so that a fork server has it before the first load
import transformers.quantizers.quantizer_bnb_4bit
import transformers.quantizers.quantizer_bnb_8bit
from tqdm import tqdm

from qplayground.core.measures.quality import SCORING_STOPPED, Quality
from qplayground.core.memory.estimate import Estimate
from qplayground.core.memory.process_memory import read_process_memory
from qplayground.core.messages.channel import Channel
from qplayground.core.messages.commands import CheckUp, Command, EstimateMemory, Generate, Load, PlanPlacement, Score
from qplayground.core.messages.events import (
    Event,
    Failed,
    Generated,
    Hello,
    Loaded,
    LoadEstimated,
    Phase,
    PhaseStarted,
    Progressed,
    PromptRead,
    Scored,
)
from qplayground.core.messages.inside import InsideCommand
from qplayground.core.precision import Precision
from qplayground.core.tokens import Token
from qplayground.engines.transformers.checkup import check_up
from qplayground.engines.transformers.explaining import explain
from qplayground.engines.transformers.generation import decoding
from qplayground.engines.transformers.generation.token_insight import Insight
from qplayground.engines.transformers.generation.token_stream import TokenStream
from qplayground.engines.transformers.inside.service import InsideService
from qplayground.engines.transformers.loading.load import LoadedModel, load_model
from qplayground.engines.transformers.machine import allocator
from qplayground.engines.transformers.machine.devices import describe_machine
from qplayground.engines.transformers.machine.phase_meter import PhaseMeter
from qplayground.engines.transformers.machine.vram import VramMeter
from qplayground.engines.transformers.model.config import model_types
from qplayground.engines.transformers.prediction.estimator import Estimator
from qplayground.engines.transformers.scoring.score import StoppedError, score_text
from qplayground.engines.transformers.text.detokenizer import Detokenizer
from qplayground.engines.transformers.text.prompt import read_prompt

_PROGRESS_INTERVAL_S = 0.2  # each report wakes the window, which takes CPU time from the load

tqdm.set_lock(threading.RLock())  # tqdm's default is a semaphore, which a killed engine leaves behind
gc.freeze()  # a collection would touch, and so copy, every object that a forked engine shares with its server


def main(channel: Channel) -> None:
    """Serve commands until the parent goes away, which ends the process (see Channel)."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.enable_progress_bar()  # a hook on the bars reports progress
    engine = Engine(channel)
    channel.send(
        Hello(
            pid=os.getpid(),
            time_s=time.monotonic(),
            machine=describe_machine(),
            memory=read_process_memory(psutil.Process()),
            model_types=model_types(),
        )
    )
    while True:
        engine.carry_out(channel.receive())


class Engine:
    """Carries out one command after another; every failure becomes a Failed event."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._loaded: LoadedModel | None = None
        self._estimator = Estimator()
        self._meter = PhaseMeter()
        self._written_ids: list[int] = []
        self._command_id = 0
        self._last_progress_s = 0.0
        self._threads = torch.get_num_threads()

    def carry_out(self, command: Command) -> None:
        """Carry out the command and send its events. If it fails, the last event is Failed."""
        self._command_id = command.id
        try:
            match command:
                case Load():
                    self._load(command)
                case Generate():
                    self._generate(command)
                case Score():
                    self._score(command)
                case EstimateMemory():
                    self._send_all(self._estimator.estimate(command))
                case PlanPlacement():
                    self._channel.send(self._estimator.plan(command))
                case CheckUp():
                    self._send_all(check_up(command))
                case _ if isinstance(command, InsideCommand):
                    self._inside.carry_out(command)
                case _:
                    raise RuntimeError(f"an engine cannot carry out {type(command).__name__}")
        except Exception as error:  # any library error fails the run, and the process goes on
            _log_failure()
            self._channel.send(Failed(self._command_id, explain(error, self._precision_of(command))))

    def _precision_of(self, command: Command) -> Precision | None:
        """Precision of the model that ran the command; None where there was no model."""
        if isinstance(command, Load):
            return command.precision
        return self._loaded.precision if self._loaded is not None else None

    def _send_all(self, events: Iterable[Event]) -> None:
        for event in events:
            self._channel.send(event)

    @cached_property
    def _inside(self) -> InsideService:
        return InsideService(self._channel, self._on_phase, self._on_progress)

    def _load(self, command: Load) -> None:
        self._loaded = None  # unload the old model first: never two in memory, nor the old one after a failure
        torch.set_num_threads(command.placement.threads or self._threads)
        loaded = load_model(command, self._on_phase, self._on_progress, self._on_estimate)
        self._loaded = loaded
        self._channel.send(
            Loaded(
                command_id=command.id,
                seconds=loaded.seconds,
                other_cpus=loaded.other_cpus,
                disk_share=loaded.disk_share,
                device_map=loaded.device_map,
                weight_bytes=loaded.weight_bytes,
                by_kind=loaded.by_kind,
                by_module=loaded.by_module,
                by_device=loaded.by_device,
                estimate=loaded.estimate,
                others=loaded.others,
                context=loaded.context,
                unforeseen=loaded.unforeseen,
                skips=loaded.skips,
                attention=loaded.attention,
                quantized_modules=loaded.quantized_modules,
                runtime_memory=loaded.runtime_memory,
                memory=read_process_memory(psutil.Process()),
                vram=loaded.vram,
            )
        )

    def _generate(self, command: Generate) -> None:
        loaded = self._loaded
        if loaded is None:
            raise RuntimeError("generate came before load")
        prompt_ids, in_parts = read_prompt(loaded.tokenizer, command.request, loaded.position_limit)
        self._channel.send(PromptRead(command.id, tuple(prompt_ids), in_parts))
        detokenizer = Detokenizer(loaded.tokenizer, prompt_ids)
        stream = TokenStream(self._channel, command.id, silent=command.benchmark)
        pieces: list[str] = []
        ids: list[int] = []

        def on_token(token_id: int, time_s: float, seen: Insight | None) -> None:
            if not ids:
                self._on_phase(Phase.DECODE)
            ids.append(token_id)
            pieces.append(detokenizer.push(token_id))
            stream.push(Token(token_id, pieces[-1], time_s, *(seen or ())))

        def should_stop() -> bool:
            return self._channel.is_cancelled(command.id)

        torch.set_num_threads(command.threads or self._threads)
        vram = VramMeter(loaded.device_map.values())
        vram.forget_peaks()
        if command.benchmark:
            self._on_phase(Phase.WARM_UP)
            decoding.warm_up(loaded, prompt_ids, command.request.settings, should_stop)
        self._on_phase(Phase.PREFILL)
        try:
            timeline = decoding.generate(
                loaded, prompt_ids, command.request.settings, on_token, should_stop, benchmark=command.benchmark
            )
        finally:
            stream.flush()  # also tokens generated before a failure
        self._written_ids = [*prompt_ids, *ids]
        pieces.append(detokenizer.finish())
        memory = timeline.memory or read_process_memory(psutil.Process())
        self._channel.send(
            Generated(
                command_id=command.id,
                text="".join(pieces),
                finish_reason=self._finish_reason(command, ids, loaded),
                ttft_s=timeline.ttft_s,
                prefill_tokens_per_s=timeline.prefill_tokens_per_s,
                decode_tokens_per_s=timeline.decode_tokens_per_s,
                held_s=timeline.held_s,
                other_cpus=timeline.other_cpus,
                memory=memory,
                peak_resident_bytes=max(self._meter.highest(), memory.resident_bytes),
                phases=self._meter.peaks(),
                weight_bytes=loaded.weight_bytes,
                vram=vram.read(),
            )
        )

    def _score(self, command: Score) -> None:
        """A failure here becomes a note, because the generated text stays valid."""
        loaded = self._loaded
        if loaded is None:
            raise RuntimeError("score came before load")
        self._on_phase(Phase.SCORE)

        def should_stop() -> bool:
            return self._channel.is_cancelled(command.id)

        try:
            torch.set_num_threads(command.threads or self._threads)
            scored = score_text(loaded, command, tuple(self._written_ids), should_stop, self._on_progress)
        except StoppedError:
            scored = Scored(command_id=command.id, quality=Quality(text=command.name, note=SCORING_STOPPED))
        except Exception as error:
            _log_failure()
            scored = Scored(
                command_id=command.id, quality=Quality(text=command.name, note=explain(error, loaded.precision))
            )
        allocator.release()
        self._channel.send(msgspec.structs.replace(scored, phases=self._meter.peaks()))

    def _finish_reason(self, command: Generate, ids: list[int], loaded: LoadedModel) -> str:
        if ids and ids[-1] in decoding.end_token_ids(loaded):
            return "stop"
        return "length" if len(ids) >= command.request.settings.max_new_tokens else "cancelled"

    def _on_phase(self, phase: Phase) -> None:
        self._meter.enter(phase)
        self._channel.send(PhaseStarted(self._command_id, phase, time.monotonic()))

    def _on_estimate(self, estimate: Estimate) -> None:
        self._channel.send(LoadEstimated(self._command_id, estimate))

    def _on_progress(self, label: str, done: int, total: int, unit: str = "bytes") -> None:
        now = time.monotonic()
        if done < total and now - self._last_progress_s < _PROGRESS_INTERVAL_S:
            return
        self._last_progress_s = now
        self._channel.send(Progressed(self._command_id, label, done, total, unit))


def _log_failure() -> None:
    """Log the current exception. The log's disk can be full, so OSError is ignored."""
    with contextlib.suppress(OSError):
        traceback.print_exc()
