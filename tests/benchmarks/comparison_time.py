"""Duration of a comparison of four precisions, against four runs of the tutorial's plain script.

Both run as whole processes, in turns.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from qplayground.catalog.demo import demo_folder
from qplayground.core.generation import DEFAULT_PROMPT
from tests.benchmarks.figures import Figure, median_of

ROUNDS = 3
PRECISIONS = ("fp32", "bf16", "int8", "nf4")
NEW_TOKENS = 50

_TUTORIAL = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
path, name, prompt, tokens = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
tokenizer = AutoTokenizer.from_pretrained(path)
if name == "int8":
    how = {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
elif name == "nf4":
    how = {"quantization_config": BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)}
else:
    how = {"dtype": torch.float32 if name == "fp32" else torch.bfloat16}
model = AutoModelForCausalLM.from_pretrained(path, **how)
inputs = tokenizer(prompt, return_tensors="pt")
output = model.generate(**inputs, max_new_tokens=tokens, do_sample=False)
print(tokenizer.decode(output[0], skip_special_tokens=True))
"""


def measure() -> list[Figure]:
    """Seconds from start to end, and the ratio of each turn."""
    path = str(demo_folder())
    ours: list[float] = []
    plain: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(ROUNDS):
            both = [(ours, lambda: _compare(Path(folder))), (plain, lambda: _tutorial(path))]
            for times, run in both if turn % 2 else both[::-1]:
                times.append(_timed(run))
    pairs = zip(ours, plain, strict=True)
    return [
        median_of("compare, four precisions", ours, "s"),
        median_of("the tutorial's script, four times", plain, "s"),
        median_of("compare / the script", [one / other for one, other in pairs], "", at_most=0.6),
    ]


def _timed(run: Callable[[], None]) -> float:
    started = time.monotonic()
    run()
    return time.monotonic() - started


def _compare(folder: Path) -> None:
    names = ",".join(PRECISIONS)
    command = ["compare", "--precisions", names, "--max-new-tokens", str(NEW_TOKENS), "--json", str(folder / "a.json")]
    _run([sys.executable, "-m", "qplayground", *command])


def _tutorial(path: str) -> None:
    for name in PRECISIONS:
        _run([sys.executable, "-c", _TUTORIAL, path, name, DEFAULT_PROMPT, str(NEW_TOKENS)])


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
