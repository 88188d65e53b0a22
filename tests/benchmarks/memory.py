"""Memory: predicted against measured, a load's peak against a plain script's, and what 50 loads leave behind."""

import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import psutil

from qplayground.catalog.demo import demo_folder
from qplayground.core.generation import GenerationRequest
from qplayground.core.memory.process_memory import read_process_memory
from qplayground.core.messages.commands import Load
from qplayground.core.messages.events import Hello, Loaded
from qplayground.core.placement import Placement
from qplayground.core.precision import READY_PRECISIONS, Precision
from qplayground.runtime.processes.launcher import Launcher
from tests.benchmarks.figures import Figure

_MB = 1_000_000
_NEW_TOKENS = 8
_SAMPLE_S = 0.002
_BESIDE_MB = 40
_QUANTIZING_BYTES = {"int8": 12, "nf4": 16}
"""FACTS section 2: temporary bytes that quantizing needs, for each element of the current layer."""

_PLAIN = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
import transformers.models.llama.modeling_llama, bitsandbytes
path, name = sys.argv[1:]
inputs = AutoTokenizer.from_pretrained(path)("The future", return_tensors="pt")
how = BitsAndBytesConfig(load_in_8bit=True) if name == "int8" else BitsAndBytesConfig(
    load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
print("ready", flush=True)
sys.stdin.readline()
model = AutoModelForCausalLM.from_pretrained(path, quantization_config=how)
model.generate(**inputs, max_new_tokens=1)
print("loaded", flush=True)
sys.stdin.readline()
"""


def measure() -> list[Figure]:
    """See the module's docstring. 1 MB is 10^6 bytes."""
    from tests.benchmarks.random_model import make_billion  # imports torch

    with tempfile.TemporaryDirectory() as folder:
        models = {"demo": "demo", "a billion": str(make_billion(Path(folder) / "billion"))}
        figures = [figure for name, path in models.items() for figure in _predictions(name, path)]
        for name, path in {"demo": str(demo_folder()), "a billion": models["a billion"]}.items():
            figures += [figure for precision in ("int8", "nf4") for figure in _load_peak(name, path, precision)]
        figures += _beside_accelerate(models["a billion"])
    return [*figures, *_cycles()]


# ---- predicted and measured -----------------------------------------------------------------------------------------


def _predictions(name: str, model: str) -> list[Figure]:
    names = ",".join(precision.name for precision in READY_PRECISIONS)
    asked = _json("estimate", "--model", model, "--precisions", names, "--json", "-")
    ran = _json("compare", "--model", model, "--precisions", names, "--max-new-tokens", str(_NEW_TOKENS), "--json", "-")
    measured = {run["id"]: run["memory"] for run in ran["runs"]}
    figures = []
    for row in asked["precisions"]:
        memory = measured[row["precision"]]
        resident = memory["resident_bytes"] / _MB
        off = abs(row["resident_bytes"] - memory["resident_bytes"]) / _MB
        title = f"{name}, {row['precision']}"
        figures += [
            Figure(f"{title}: RAM measured", resident, "MB"),
            Figure(f"{title}: predicted RAM is off by", off, "MB", at_most=max(0.05 * resident, 20.0)),
            Figure(
                f"{title}: predicted weights are off by",
                abs(row["weight_bytes"] - memory["weight_bytes"]),
                "bytes",
                at_most=0,
            ),
        ]
    return figures


def _json(*arguments: str) -> Any:
    command = [sys.executable, "-m", "qplayground", *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


# ---- the peak of a load ---------------------------------------------------------------------------------------------


class _AnonymousPeak(threading.Thread):
    """The peak of a process's anonymous memory while this thread runs."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self._stopping = threading.Event()
        self.before = self.highest = read_process_memory(self._process).anonymous_bytes

    def run(self) -> None:
        while not self._stopping.wait(_SAMPLE_S):
            try:
                self.highest = max(self.highest, read_process_memory(self._process).anonymous_bytes)
            except psutil.Error:
                return

    def stop(self) -> float:
        """Megabytes above the start."""
        self._stopping.set()
        self.join()
        return (self.highest - self.before) / _MB


def _load_peak(name: str, path: str, precision: str) -> list[Figure]:
    recipe = next(ready for ready in READY_PRECISIONS if ready.name == precision)
    ours, weights = _engine_peak(path, recipe)
    allowed = 1.25 * weights + _BESIDE_MB + _QUANTIZING_BYTES[precision] * _largest_layer(path) / _MB
    title = f"{name}, {precision}: anonymous memory at the peak, load and first token"
    return [
        Figure(title, ours, "MB", at_most=allowed),
        Figure(f"{title}, plain script", _plain_peak(path, precision), "MB"),
    ]


def _largest_layer(path: str) -> int:
    config = json.loads((Path(path) / "config.json").read_text())
    return int(config["hidden_size"]) * int(config["intermediate_size"])


def _engine_peak(path: str, recipe: Precision) -> tuple[float, float]:
    """Peak megabytes above the warm libraries, and megabytes of weights."""
    launcher = Launcher()
    with launcher.engine() as engine:
        events = engine.events()
        hello = next(event for event in events if isinstance(event, Hello))
        watcher = _AnonymousPeak(hello.pid)
        watcher.start()
        engine.send(
            Load(id=1, path=path, precision=recipe, placement=Placement(device="cpu"), request=GenerationRequest())
        )
        loaded = next(event for event in events if isinstance(event, Loaded))
        watcher.stop()
        assert loaded.runtime_memory is not None and loaded.weight_bytes is not None
        above = (watcher.highest - loaded.runtime_memory.anonymous_bytes) / _MB
    launcher.close()
    return above, loaded.weight_bytes / _MB


def _plain_peak(path: str, precision: str) -> float:
    command = [sys.executable, "-c", _PLAIN, path, precision]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as script:
        assert script.stdin is not None and script.stdout is not None
        script.stdout.readline()
        watcher = _AnonymousPeak(script.pid)
        watcher.start()
        script.stdin.write("go\n")
        script.stdin.flush()
        script.stdout.readline()
        peak = watcher.stop()
        script.kill()
    return peak


# ---- against accelerate's estimator ---------------------------------------------------------------------------------


def _beside_accelerate(path: str) -> list[Figure]:
    """The arithmetic of `accelerate estimate-memory`: a quarter of float32 for 8 bits, an eighth for 4."""
    import torch
    from accelerate.utils import calculate_maximum_sizes
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(path), dtype=torch.float32)
    total, _ = calculate_maximum_sizes(skeleton)
    asked = _json("estimate", "--model", path, "--precisions", "int8,nf4", "--json", "-")
    held = _json("compare", "--model", path, "--precisions", "int8,nf4", "--max-new-tokens", "1", "--json", "-")
    figures = []
    for row, run, share in zip(asked["precisions"], held["runs"], (4, 8), strict=True):
        true = run["memory"]["weight_bytes"]
        theirs, ours = abs(total / share - true), abs(row["weight_bytes"] - true)
        name = row["precision"]
        figures += [
            Figure(f"a billion, {name}: accelerate's estimate is off by", theirs / _MB, "MB"),
            Figure(f"a billion, {name}: ours is off by", ours / _MB, "MB", at_most=theirs / _MB / 20),
        ]
    return figures


# ---- what loads leave behind ----------------------------------------------------------------------------------------


def _cycles() -> list[Figure]:
    command = [sys.executable, "-m", "tests.benchmarks.load_cycles"]
    grown = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return [
        Figure("50 loads and unloads: the window has grown by", grown["window"] / _MB, "MB", at_most=10),
        Figure("50 loads and unloads: the fork server has grown by", grown["server"] / _MB, "MB", at_most=10),
    ]
