"""Decode speed and tokens, against a plain script that calls `generate` with the same precision.

Each stays loaded in its own process. They take turns, because a machine's speed changes from second to second.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qplayground.catalog.demo import demo_folder
from qplayground.core.generation import GenerationRequest, GenerationSettings
from qplayground.core.messages.commands import Generate, Load
from qplayground.core.messages.events import Event, Failed, Generated, Hello, Loaded, TokensGenerated
from qplayground.core.precision import READY_PRECISIONS, Precision
from qplayground.runtime.processes.launcher import Launcher
from qplayground.runtime.processes.process import ChildProcess
from tests.benchmarks.figures import Figure, median_of

ROUNDS = 15
PRECISIONS = ("fp32", "bf16", "int8", "nf4")
NEW_TOKENS = 32

_PLAIN = """
import json, sys, time, torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
path, name, prompt, n = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
configs = {
    "int8": lambda: BitsAndBytesConfig(load_in_8bit=True),
    "nf4": lambda: BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
    ),
}
dtype = torch.float32 if name == "fp32" else torch.bfloat16
config = configs[name]() if name in configs else None
tokenizer = AutoTokenizer.from_pretrained(path)
model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, quantization_config=config)
inputs = tokenizer(prompt, return_tensors="pt")
def run(tokens):
    start = time.monotonic()
    out = model.generate(**inputs, max_new_tokens=tokens, do_sample=False)
    return time.monotonic() - start, out[0, inputs["input_ids"].shape[1]:].tolist()
run(1)
for _ in sys.stdin:
    first, _ = run(1)
    whole, ids = run(n)
    print(json.dumps({"rate": (len(ids) - 1) / (whole - first), "ids": ids}), flush=True)
"""


def measure() -> list[Figure]:
    """For each precision: engine's decode speed over the plain script's, and whether the tokens agree."""
    launcher = Launcher()
    launcher.warm()
    try:
        return _measure(launcher)
    finally:
        launcher.close()


def _measure(launcher: Launcher) -> list[Figure]:
    figures = []
    for precision in (precision for precision in READY_PRECISIONS if precision.name in PRECISIONS):
        with _engine(launcher, demo_folder(), precision) as engine, _plain(demo_folder(), precision.name) as plain:
            pairs = [(next(engine), next(plain)) for _ in range(1 + ROUNDS)][1:]  # the first round warms both up
        name = precision.name
        figures += [
            median_of(f"{name}: engine decodes", [rate for (rate, _), _ in pairs], "tok/s"),
            median_of(f"{name}: plain script decodes", [rate for _, (rate, _) in pairs], "tok/s"),
            median_of(
                f"{name}: engine / plain script", [ours / plain for (ours, _), (plain, _) in pairs], "", at_least=0.97
            ),
            Figure(
                f"{name}: runs with equal tokens",
                sum(ours == plain for (_, ours), (_, plain) in pairs) / ROUNDS,
                "",
                at_least=1.0,
            ),
        ]
    return figures


Reading = tuple[float, list[int]]
"""Tokens a second, and the tokens."""


@contextmanager
def _engine(launcher: Launcher, path: Path, precision: Precision) -> Iterator[Iterator[Reading]]:
    """Each `next` generates once."""
    request = GenerationRequest(settings=GenerationSettings(max_new_tokens=NEW_TOKENS))
    with launcher.engine() as engine:
        events = engine.events()
        _until(engine, events, Hello)
        engine.send(Load(id=1, path=str(path), precision=precision, request=request))
        _until(engine, events, Loaded)
        yield _engine_readings(engine, events, request)


def _engine_readings(engine: ChildProcess, events: Iterator[Event], request: GenerationRequest) -> Iterator[Reading]:
    while True:
        engine.send(Generate(id=2, request=request))
        before, generated = _until(engine, events, Generated)
        assert isinstance(generated, Generated) and generated.decode_tokens_per_s is not None
        ids = [token.id for event in before if isinstance(event, TokensGenerated) for token in event.tokens]
        yield generated.decode_tokens_per_s, ids


def _until(engine: ChildProcess, events: Iterator[Event], kind: type[Event]) -> tuple[list[Event], Event]:
    before: list[Event] = []
    for event in events:
        if isinstance(event, kind):
            return before, event
        if isinstance(event, Failed):
            raise RuntimeError(str(event.error))
        before.append(event)
    raise RuntimeError(f"the engine ended early: {engine.output_tail()}")


@contextmanager
def _plain(path: Path, name: str) -> Iterator[Iterator[Reading]]:
    """Each `next` generates once."""
    command = [sys.executable, "-c", _PLAIN, str(path), name, GenerationRequest().prompt, str(NEW_TOKENS)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
        yield _plain_readings(process)
        process.kill()


def _plain_readings(process: "subprocess.Popen[str]") -> Iterator[Reading]:
    assert process.stdin is not None and process.stdout is not None
    while True:
        print(file=process.stdin, flush=True)
        answer = json.loads(process.stdout.readline())
        yield answer["rate"], answer["ids"]
