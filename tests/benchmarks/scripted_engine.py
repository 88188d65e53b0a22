"""An engine that sends 200 tokens a second, in batches like the real one. It puts the window under load."""

import os
import threading
import time

import psutil

from qplayground.core.memory.process_memory import read_process_memory
from qplayground.core.messages.channel import Channel
from qplayground.core.messages.commands import Generate, Load
from qplayground.core.messages.events import Generated, Hello, Loaded, Phase, PhaseStarted, PromptRead
from qplayground.core.system.machine import Machine
from qplayground.core.tokens import Alternative, Token
from qplayground.engines.transformers.generation.token_stream import TokenStream

TOKENS_PER_S = 200
_TEXT = "to augment human hands , not replace them . By sharing what each of us knows"
_PARAGRAPH = 80
_WORDS = _TEXT.split(" ")
_INSIGHT = (0.4, 1, tuple(Alternative(f" {word}", 0.1) for word in _WORDS[:5]))


def main(channel: Channel) -> None:
    """Serve commands until the parent goes away."""
    memory = read_process_memory(psutil.Process())
    machine = Machine(
        python="", platform="", cpu="scripted", cpu_capability="", cpu_threads=8, ram_total_bytes=1, versions={}
    )
    channel.send(Hello(pid=os.getpid(), time_s=time.monotonic(), machine=machine, memory=memory))
    while True:
        command = channel.receive()
        if isinstance(command, Load):
            channel.send(
                Loaded(
                    command_id=command.id,
                    seconds=0.1,
                    device_map={"": "cpu"},
                    weight_bytes=1,
                    quantized_modules=0,
                    runtime_memory=memory,
                    memory=memory,
                )
            )
        elif isinstance(command, Generate):
            _generate(channel, command)


def _generate(channel: Channel, command: Generate) -> None:
    channel.send(PromptRead(command.id, (1,)))
    channel.send(PhaseStarted(command.id, Phase.DECODE, time.monotonic()))
    stream = TokenStream(channel, command.id)
    pace = threading.Event()
    started = time.monotonic()
    texts = []
    for index in range(command.request.settings.max_new_tokens):
        pace.wait(max(0.0, started + index / TOKENS_PER_S - time.monotonic()))
        end = "\n" if index % _PARAGRAPH == _PARAGRAPH - 1 else ""
        texts.append(f" {_WORDS[index % len(_WORDS)]}{end}")
        stream.push(Token(index % 7, texts[-1], time.monotonic() - started, *_INSIGHT))
    stream.flush()
    memory = read_process_memory(psutil.Process())
    channel.send(
        Generated(
            command_id=command.id,
            text="".join(texts),
            finish_reason="length",
            ttft_s=0.01,
            prefill_tokens_per_s=100.0,
            decode_tokens_per_s=float(TOKENS_PER_S),
            memory=memory,
            peak_resident_bytes=memory.resident_bytes,
            weight_bytes=1,
        )
    )
