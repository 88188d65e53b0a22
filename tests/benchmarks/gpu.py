"""On a GPU: decode speed against bare `generate()`, load time, and peak VRAM of a load against what stays.

Measures nothing if there is no GPU.
"""

import gc
import tempfile
import time
from pathlib import Path

from qplayground.core.generation import GenerationRequest, GenerationSettings
from qplayground.core.messages.commands import Generate, Load
from qplayground.core.messages.events import Generated, Hello, Loaded
from qplayground.core.placement import Placement
from qplayground.core.precision import READY_PRECISIONS, Precision
from qplayground.runtime.machine.gpus import has_nvidia_gpu
from qplayground.runtime.processes.launcher import Launcher
from tests.benchmarks.figures import Figure, median_of

_ROUNDS = 5
_NEW_TOKENS = 64
_DEVICE = "cuda:0"
_MB = 1_000_000
_REQUEST = GenerationRequest(settings=GenerationSettings(max_new_tokens=_NEW_TOKENS))


def measure() -> list[Figure]:
    """Figures for each ready precision of a model with a billion parameters."""
    if not has_nvidia_gpu():
        return []
    from tests.benchmarks.random_model import make_billion  # import torch only where it is used

    figures: list[Figure] = []
    launcher = Launcher()
    with tempfile.TemporaryDirectory() as folder:
        path = make_billion(Path(folder) / "one")
        try:
            for precision in READY_PRECISIONS:
                figures += _measure(launcher, path, precision)
        finally:
            launcher.close()
    return figures


def _measure(launcher: Launcher, path: Path, precision: Precision) -> list[Figure]:
    with launcher.engine() as child:
        events = child.events()
        assert isinstance(next(events), Hello)
        placement = Placement(device=_DEVICE)
        child.send(Load(id=1, path=str(path), precision=precision, placement=placement, request=_REQUEST))
        loaded = next(event for event in events if isinstance(event, Loaded))
        plain = _Plain(path, precision)
        pairs = []
        for turn in range(1 + _ROUNDS):  # the first turn warms both up
            child.send(Generate(id=2 + turn, request=_REQUEST, benchmark=True))
            ours = next(event for event in events if isinstance(event, Generated)).decode_tokens_per_s
            assert ours is not None
            pairs.append((ours, plain.decode_tokens_per_s()))
    plain.close()
    name, vram = precision.name, loaded.vram[_DEVICE]
    assert loaded.weight_bytes is not None
    return [
        median_of(f"GPU, {name}: engine decodes", [ours for ours, _ in pairs[1:]], "tok/s"),
        median_of(
            f"GPU, {name}: engine / bare generate()", [ours / bare for ours, bare in pairs[1:]], "", at_least=0.97
        ),
        Figure(f"GPU, {name}: load", loaded.seconds, "s"),
        Figure(f"GPU, {name}: VRAM after the load", vram.allocated_bytes / _MB, "MB"),
        Figure(f"GPU, {name}: the load's peak / what stays", vram.peak_bytes / vram.allocated_bytes, ""),
        Figure(
            f"GPU, {name}: accounted bytes, off torch's by",
            abs(loaded.weight_bytes / vram.allocated_bytes - 1),
            "",
            at_most=0.02,
        ),
    ]


class _Plain:
    """The same model in plain transformers, in this process."""

    def __init__(self, path: Path, precision: Precision) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from qplayground.engines.transformers.model.shapes import Shapes
        from qplayground.engines.transformers.quantizers.registry import configuration

        self._torch = torch
        tokenizer = AutoTokenizer.from_pretrained(path)
        self._inputs = tokenizer(_REQUEST.prompt, return_tensors="pt").to(_DEVICE)
        self._model = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=getattr(torch, precision.dtype),
            quantization_config=configuration(precision, Shapes.read(path).default_skips),
            device_map={"": 0},
        )

    def decode_tokens_per_s(self) -> float:
        """Decode speed over all tokens after the first."""
        first, whole = self._seconds(1), self._seconds(_NEW_TOKENS)
        return (_NEW_TOKENS - 1) / (whole - first)

    def close(self) -> None:
        """Free the GPU's memory."""
        del self._model
        gc.collect()
        self._torch.cuda.empty_cache()

    def _seconds(self, tokens: int) -> float:
        self._torch.cuda.synchronize()
        began = time.monotonic()
        self._model.generate(**self._inputs, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)
        self._torch.cuda.synchronize()
        return time.monotonic() - began
