"""Decode speed and tokens beside a plain script that loads the same precision and calls `generate`, alternating."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

from qplayground.catalog.demo import demo_folder
from qplayground.core.generation import GenerationRequest, GenerationSettings
from qplayground.core.messages import Failed, Generate, Generated, Hello, Load, Loaded, TokenGenerated
from qplayground.core.precision import READY_PRECISIONS, Precision
from qplayground.runtime.launcher import Launcher
from tests.benchmarks.figures import Figure, median_of

ROUNDS = 3
REPEATS = 5  # in one process, of which the median counts: a single run of 32 tokens takes a second and is noisy
PRECISIONS = ("fp32", "bf16", "int8", "nf4")
NEW_TOKENS = 32

_PLAIN = """
import json, statistics, sys, time, torch
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
rates = []
for _ in range(int(sys.argv[5])):
    first, _ = run(1)
    whole, ids = run(n)
    rates.append((len(ids) - 1) / (whole - first))
print(json.dumps({"rate": statistics.median(rates), "ids": ids}))
"""


def measure() -> list[Figure]:
    """For each precision the ratio of the engine's decode speed to the plain script's, and whether tokens agree."""
    path = demo_folder()
    launcher = Launcher()
    launcher.warm()
    figures = []
    for name in PRECISIONS:
        precision = next(precision for precision in READY_PRECISIONS if precision.name == name)
        engine_rates, plain_rates, agreeing = [], [], 0
        for _ in range(ROUNDS):
            rate, ids = _engine(launcher, path, precision)
            plain_rate, plain_ids = _plain(path, name)
            engine_rates.append(rate)
            plain_rates.append(plain_rate)
            agreeing += ids == plain_ids
        ratios = [ours / plain for ours, plain in zip(engine_rates, plain_rates, strict=True)]
        figures += [
            median_of(f"{name}: engine decodes", engine_rates, "tok/s"),
            median_of(f"{name}: plain script decodes", plain_rates, "tok/s"),
            median_of(f"{name}: engine / plain script", ratios, "", at_least=0.97),
            Figure(f"{name}: runs with equal tokens", agreeing / ROUNDS, "", at_least=1.0),
        ]
    return figures


def _engine(launcher: Launcher, path: Path, precision: Precision) -> tuple[float, list[int]]:
    request = GenerationRequest(settings=GenerationSettings(max_new_tokens=NEW_TOKENS))
    ids: list[int] = []
    rates: list[float] = []
    with launcher.engine() as engine:
        for event in engine.events():
            if isinstance(event, Hello):
                engine.send(Load(id=1, path=str(path), precision=precision, request=request))
            elif isinstance(event, Loaded):
                engine.send(Generate(id=2, request=request))
            elif isinstance(event, TokenGenerated):
                ids.append(event.token_id)
            elif isinstance(event, Generated) and event.decode_tokens_per_s is not None:
                rates.append(event.decode_tokens_per_s)
                if len(rates) == REPEATS:
                    return statistics.median(rates), ids
                ids.clear()
                engine.send(Generate(id=2 + len(rates), request=request))
            elif isinstance(event, Failed):
                raise RuntimeError(str(event.error))
    raise RuntimeError(f"the engine ended early: {engine.outcome}")


def _plain(path: Path, name: str) -> tuple[float, list[int]]:
    command = [sys.executable, "-c", _PLAIN, str(path), name, GenerationRequest().prompt, str(NEW_TOKENS), str(REPEATS)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    answer = json.loads(done.stdout.splitlines()[-1])
    return answer["rate"], answer["ids"]
