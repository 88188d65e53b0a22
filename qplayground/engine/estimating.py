"""What each precision of a model will take, from config and headers alone."""

import contextlib
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path

import psutil
import torch
from bitsandbytes.functional import has_avx512bf16
from transformers import PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer

from qplayground.catalog.outline import OUTLINE
from qplayground.core.errors import PlaygroundError
from qplayground.core.estimate import CacheSize, Estimate, WeightKinds
from qplayground.core.memory import read_process_memory, shared_bytes
from qplayground.core.messages import EstimateMemory, MemoryEstimated
from qplayground.core.precision import READY_PRECISIONS, Dtype, FourBit, Int8, Precision
from qplayground.engine import allocator
from qplayground.engine.checkpoint import HELD_SOURCE_BYTES, Checkpoint
from qplayground.engine.machine import pick_device
from qplayground.engine.prediction import predicted_weights
from qplayground.engine.preflight import check_folder, read_tokenizer
from qplayground.engine.prompt import encode_prompt
from qplayground.engine.shapes import Shapes
from qplayground.engine.warmup import warm_libraries

WORKING_BYTES = 20_000_000
"""What stays beside weights and cache: pages of kernels that the first text touches, and the allocator's slack.

Measured on models of 0.1 and 1.1 billion parameters in all ready precisions, at 13 to 24 MB; int8 of a small model 40.
"""
_FEW = 4
_QUANTIZING_BYTES = {"int8": 12, "nf4": 16, "fp4": 20}
"""The most that quantizing needs for a moment, an element of the layer in work, its 16-bit copy included; measured."""


def weights_by_module(shapes: Shapes, precision: Precision, device: torch.device) -> dict[str, WeightKinds]:
    """The bytes that each module will hold once the model has run. Raises what `Shapes.converted_layers` raises."""
    repacks = device.type == "cpu" and has_avx512bf16()
    converted = frozenset(shapes.converted_layers(precision))
    return predicted_weights(shapes.skeleton(precision.dtype), converted, precision, repacks=repacks)


def cache_size(shapes: Shapes, tokens: int) -> CacheSize | None:
    """The cache once `tokens` tokens are in it; None where the architecture cannot be run without weights.

    The skeleton is run on them: shapes alone, so that grouped heads, sliding windows, hybrid layers and whatever comes
    next are what the model's own code makes of them. Recurrent layers are run token by token, which would take minutes;
    a model that has any is run on a few, and what grows is taken to grow on.
    """
    few = _run(shapes, min(tokens, _FEW))
    if few is None or tokens <= _FEW:
        return None if few is None else _sum(few.values())
    if few.only_attention:
        whole = _run(shapes, tokens)
        return None if whole is None else _sum(whole.values())
    more = _run(shapes, 2 * _FEW)
    if more is None or len(more) != len(few):
        return None
    one, other = _sum(few.values()), _sum(more.values())
    steps = (tokens - _FEW) / _FEW
    return CacheSize(
        one.elements + round(steps * (other.elements - one.elements)),
        one.fixed_bytes + round(steps * (other.fixed_bytes - one.fixed_bytes)),
    )


class _Cache(dict[int, torch.Tensor]):
    """The floating-point tensors of a cache; `only_attention`: all of them are keys and values."""

    only_attention = True


@torch.inference_mode()
def _run(shapes: Shapes, tokens: int) -> _Cache | None:
    skeleton = shapes.skeleton(Dtype.BFLOAT16)
    try:
        output = skeleton(input_ids=torch.ones(1, tokens, dtype=torch.long, device="meta"), use_cache=True)
    except Exception:  # an operation that needs values, or a context that the model does not have
        return None
    cache = output.get("past_key_values")
    found = _Cache()
    for layer in getattr(cache if cache is not None else output.get("cache_params"), "layers", ()):
        found.only_attention = found.only_attention and isinstance(layer, DynamicLayer)
        for value in vars(layer).values():
            several = list(value.values()) if isinstance(value, dict) else value
            for tensor in several if isinstance(several, list | tuple) else [several]:
                if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
                    found[id(tensor)] = tensor
    return found or None


def _sum(tensors: Iterable[torch.Tensor]) -> CacheSize:
    elements = fixed_bytes = 0
    for tensor in tensors:
        if tensor.dtype is torch.bfloat16:
            elements += tensor.numel()
        else:  # a state that is kept in float32 whatever the model is in
            fixed_bytes += tensor.numel() * tensor.element_size()
    return CacheSize(elements, fixed_bytes)


def load_extra_bytes(shapes: Shapes, precision: Precision, checkpoint: Checkpoint) -> int:
    """What the worst moment of a load needs beyond the weights: pages of the file, and the layer that is quantized."""
    held = min(HELD_SOURCE_BYTES, checkpoint.total_bytes)
    if precision.is_quantized:
        layers = [shapes.linear_layers[name] for name in shapes.converted_layers(precision)]
        largest = max(rows * columns for rows, columns in layers)
        return WORKING_BYTES + held + largest * _QUANTIZING_BYTES[_kind(precision)]
    if checkpoint.dtypes != {str(precision.dtype)}:
        return WORKING_BYTES + held
    # Mapped, and then copied one by one: all that is copied, and the source of the one in work.
    sizes = [
        parameter.numel() * precision.dtype.itemsize for parameter in shapes.skeleton(precision.dtype).parameters()
    ]
    worst: int = max(copied + size for copied, size in zip(accumulate(sizes), sizes, strict=True)) - sum(sizes)
    return WORKING_BYTES + worst


def estimated(
    shapes: Shapes,
    precision: Precision,
    checkpoint: Checkpoint,
    weights: dict[str, WeightKinds],
    cache: CacheSize | None,
    *,
    runtime_bytes: int | None,
    shared_bytes: int = 0,
) -> Estimate:
    """The whole, put together."""
    return Estimate(
        precision=precision.name,
        by_kind=sum(weights.values(), WeightKinds()),
        kv_cache_bytes=None if cache is None else cache.num_bytes(precision.dtype),
        working_bytes=WORKING_BYTES,
        load_extra_bytes=load_extra_bytes(shapes, precision, checkpoint),
        runtime_bytes=runtime_bytes,
        shared_bytes=shared_bytes,
    )


class Estimator:
    """Answers for one model at a time, whose shapes and tokenizer it keeps."""

    def __init__(self) -> None:
        self._runtime_bytes: dict[bool, int] = {}  # with the libraries warm, by whether bitsandbytes is one of them
        self._shared_bytes = 0
        self._key: object = None  # the folder, and its files as they were
        self._shapes: Shapes | None = None
        self._checkpoint: Checkpoint | None = None
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self._caches: dict[int, CacheSize | None] = {}  # of the length that was asked for last
        self._model_bytes = 0  # what reading shapes and tokenizer added to the process

    def warm(self) -> None:
        """Measure what the libraries take by themselves; every engine warms them before it loads."""
        if not self._runtime_bytes:
            cpu = torch.device("cpu")
            for precision in (READY_PRECISIONS[0], next(ready for ready in READY_PRECISIONS if ready.is_quantized)):
                warm_libraries(precision, cpu)
                self._runtime_bytes[precision.is_quantized] = _resident_bytes()
            self._shared_bytes = shared_bytes()

    def estimate(self, command: EstimateMemory) -> Iterator[MemoryEstimated]:
        """Answer at once, and again with the tokenizer's share when it had to be read.

        Raises PlaygroundError for a model that cannot be loaded at all; what forbids one precision is in its estimate.
        """
        self.warm()
        path = Path(command.path)
        self._read(path)
        tokens = command.context_tokens or command.request.settings.max_new_tokens
        with contextlib.suppress(PlaygroundError):  # what is wrong with the tokenizer is said when the prompt is run
            if self._tokenizer is None:
                yield self._answer(command, tokens, final=False)
                before = _resident_bytes()
                self._tokenizer = read_tokenizer(path)
                self._model_bytes += max(0, _resident_bytes() - before)
            if command.context_tokens is None:
                tokens += len(encode_prompt(self._tokenizer, command.request)) - 1  # the last one is never read
        yield self._answer(command, max(tokens, 1), final=True)

    def _read(self, path: Path) -> None:
        if not (path / OUTLINE).exists():
            check_folder(path)
        files = ((file.name, file.stat()) for file in path.iterdir() if file.is_file())
        key = (str(path), tuple(sorted((name, found.st_mtime_ns, found.st_size) for name, found in files)))
        if key == self._key:
            return
        self._key = self._shapes = self._checkpoint = self._tokenizer = None
        self._caches.clear()
        before = _resident_bytes()
        self._shapes = Shapes.read(path)
        self._checkpoint = Checkpoint.read(path)
        self._model_bytes = max(0, _resident_bytes() - before)
        self._key = key

    def _answer(self, command: EstimateMemory, tokens: int, *, final: bool) -> MemoryEstimated:
        device = pick_device(command.device)
        if tokens not in self._caches:
            self._caches = {tokens: cache_size(self._known_shapes, tokens)}
        estimates = tuple(self._estimate(precision, device, self._caches[tokens]) for precision in command.precisions)
        return MemoryEstimated(command_id=command.id, estimates=estimates, context_tokens=tokens, final=final)

    def _estimate(self, precision: Precision, device: torch.device, cache: CacheSize | None) -> Estimate:
        shapes, checkpoint = self._known_shapes, self._checkpoint
        assert checkpoint is not None
        try:
            return estimated(
                shapes,
                precision,
                checkpoint,
                weights_by_module(shapes, precision.checked(), device),
                cache,
                # On a GPU the weights are not in RAM, and what CUDA takes there has not been measured.
                runtime_bytes=None
                if device.type != "cpu"
                else self._runtime_bytes[precision.is_quantized] + self._model_bytes,
                shared_bytes=self._shared_bytes,
            )
        except PlaygroundError as error:
            return Estimate(precision=precision.name, problem=error.info)

    def _runtime(self, precision: Precision) -> int:
        """On the processor: on a GPU the weights are not in RAM, and what CUDA takes there has not been measured."""
        return self._runtime_bytes[precision.is_quantized] + self._model_bytes

    @property
    def _known_shapes(self) -> Shapes:
        assert self._shapes is not None
        return self._shapes


def _kind(precision: Precision) -> str:
    if isinstance(precision.quantization, Int8):
        return "int8"
    assert isinstance(precision.quantization, FourBit)
    return precision.quantization.quant_type


def _resident_bytes() -> int:
    allocator.release()
    return read_process_memory(psutil.Process()).resident_bytes
