"""Memory that a text takes while it is read and kept, found by running a model's shapes without its weights."""

import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import CacheLayerMixin, DynamicLayer, DynamicSlidingWindowLayer

from qplayground.core.dtype import Dtype
from qplayground.core.measures.windows import WINDOW
from qplayground.core.memory.estimate import ContextSize, TensorSize
from qplayground.engines.transformers.model.shapes import Shapes
from qplayground.engines.transformers.model.tracing import FEW, run

_NOT_KEPT = ("logits", "loss", "hidden_state", "attentions")
"""Parts of the names of outputs that the next token does not need."""
_NO_CACHES = (PreTrainedConfig, PreTrainedModel)


class ContextSizes:
    """Memory of texts of any length.

    The model's own code runs, so grouped heads, sliding windows, hybrid layers and later designs are all covered.
    """

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes
        self._short_runs: dict[int, _Run] = {}

    def of(self, prompt_tokens: int | None, tokens: int) -> ContextSize:
        """Size of the cache once `tokens` tokens were read, and of reading the prompt, where its length is known.

        Raises CannotRunError where the architecture cannot be run without weights.
        """
        cache = self._cache(tokens)
        if not prompt_tokens:
            return ContextSize(cache)
        return ContextSize(cache, self._at(prompt_tokens).activations, prompt_tokens, self._scored)

    def _cache(self, tokens: int) -> TensorSize:
        few = self._few
        if few.keeps_all_tokens:
            return _scaled(few.size, tokens, FEW)
        if few.is_attention:
            return self.run_at(tokens).cache
        return self._at(tokens).cache

    @cached_property
    def _scored(self) -> TensorSize:
        """A window's last token is not shown to the model. Logits of its second half are requested."""
        return self._at(WINDOW - 1, logits=WINDOW // 2).activations

    def _at(self, tokens: int, logits: int = 1) -> "_Run":
        """Some recurrent layers run token by token, which would take minutes.

        Such a model is run on a few tokens, and its growth is extrapolated.
        """
        if self._few.is_attention or tokens <= FEW or not self._is_recurrent:
            return self.run_at(tokens, logits)
        one, two = self._short_run(FEW), self._short_run(2 * FEW)
        activations = _continued(one.activations, two.activations, tokens)
        return one._replace(cache=one.kept.continued(two.kept, tokens), activations=activations)

    @cached_property
    def _is_recurrent(self) -> bool:
        """Whether its operations grow with each token, and not only from one block of tokens to the next."""
        one, two, four = (self._short_run(times * FEW).operations for times in (1, 2, 4))
        return two > one and four - two > two - one

    def _short_run(self, tokens: int) -> "_Run":
        if tokens not in self._short_runs:
            self._short_runs[tokens] = self.run_at(tokens)
        return self._short_runs[tokens]

    def run_at(self, tokens: int, logits: int = 1) -> "_Run":
        """Run the model's code on `tokens` tokens, without weights. Raises CannotRunError."""
        skeleton = self._shapes.running_skeleton
        given = [*skeleton.parameters(), *skeleton.buffers()]
        output, live = run(skeleton, tokens, logits, meter=lambda: _LiveTensors(given))
        kept = Kept.of(output)
        return _Run(kept, kept.size, live.peak - kept.size, live.operations)

    @cached_property
    def _few(self) -> "Kept":
        """Used for its cache alone, which is shown first. Tracking allocations would take a third of the time."""
        return Kept.of(self._shapes.first_output)


class Kept(NamedTuple):
    """What an output keeps for the next token: tensors, and the cache layers that hold some of them."""

    tensors: Mapping[int, torch.Tensor]
    layers: Sequence[CacheLayerMixin]

    @classmethod
    def of(cls, output: Mapping[str, Any]) -> "Kept":
        parts = list(_parts([value for name, value in output.items() if not any(word in name for word in _NOT_KEPT)]))
        tensors = {id(part): part for part in parts if isinstance(part, torch.Tensor) and part.is_floating_point()}
        return cls(tensors, [part for part in parts if isinstance(part, CacheLayerMixin)])

    @property
    def size(self) -> TensorSize:
        return _size(self.tensors.values())

    @property
    def is_attention(self) -> bool:
        """Whether all of it is keys and values."""
        held = {id(tensor) for layer in self.layers for tensor in (layer.keys, layer.values)}
        return all(isinstance(layer, DynamicLayer) for layer in self.layers) and held >= set(self.tensors)

    @property
    def keeps_all_tokens(self) -> bool:
        """Whether it is only keys and values of every token, without a window. For an output of FEW tokens."""
        whole = all(type(layer) is DynamicLayer and layer.get_seq_length() == FEW for layer in self.layers)
        return whole and self.is_attention

    def continued(self, twice: "Kept", tokens: int) -> TensorSize:
        """Size for `tokens` tokens, extrapolated from this one (FEW tokens) and `twice` (twice as many)."""
        total = _continued(_size(self._outside), _size(twice._outside), tokens)
        for layer, other in zip(self.layers, twice.layers, strict=True):
            size = _size(_tensors_of(layer))
            window = getattr(layer, "sliding_window", None)
            if isinstance(window, int) and isinstance(layer, DynamicSlidingWindowLayer):
                total += _scaled(size, max(1, min(tokens, window - 1)), max(1, min(FEW, window - 1)))
            else:
                total += _continued(size, _size(_tensors_of(other)), tokens)
        return total

    @property
    def _outside(self) -> list[torch.Tensor]:
        inside = {id(tensor) for layer in self.layers for tensor in _tensors_of(layer)}
        return [tensor for key, tensor in self.tensors.items() if key not in inside]


class _Run(NamedTuple):
    """One run of the shapes: what it keeps, the size of that, what it needs besides, and its operations."""

    kept: Kept
    cache: TensorSize
    activations: TensorSize
    operations: int


def _tensors_of(layer: CacheLayerMixin) -> list[torch.Tensor]:
    return [part for part in _parts(layer) if isinstance(part, torch.Tensor) and part.is_floating_point()]


def _parts(value: Any, seen: set[int] | None = None) -> Iterator[Any]:
    """All parts of containers, and of transformers' own objects, which keep tensors in any attribute."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    yield value
    if isinstance(value, Mapping):
        inner: Iterable[Any] = value.values()
    elif isinstance(value, list | tuple):
        inner = value
    elif type(value).__module__.startswith("transformers.") and not isinstance(value, _NO_CACHES):
        inner = vars(value).values() if hasattr(value, "__dict__") else ()
    else:
        return
    for part in inner:
        yield from _parts(part, seen)


def _continued(few: TensorSize, twice: TensorSize, tokens: int) -> TensorSize:
    """Linear growth, extrapolated from the sizes at FEW and twice as many tokens."""
    steps = (tokens - FEW) / FEW
    return TensorSize(
        few.elements + round(steps * (twice.elements - few.elements)),
        few.fixed_bytes + round(steps * (twice.fixed_bytes - few.fixed_bytes)),
    )


def _scaled(size: TensorSize, tokens: int, known: int) -> TensorSize:
    """A size that is proportional to the tokens, from the size of `known` tokens."""
    return TensorSize(size.elements // known * tokens, size.fixed_bytes // known * tokens)


def _size(tensors: Iterable[torch.Tensor]) -> TensorSize:
    total = TensorSize(0)
    for tensor in tensors:
        if tensor.dtype is torch.bfloat16:
            total += TensorSize(tensor.numel())
        else:
            total += TensorSize(0, tensor.numel() * tensor.element_size())  # float32 in every precision
    return total


class _LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows each allocation of every operation until it is freed. `peak`: the most at one moment.

    The `given` tensors, and views of them, are not counted.
    """

    def __init__(self, given: Iterable[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self._live = TensorSize(0)
        self.operations = 0
        self._storages = {tensor.untyped_storage()._cdata: TensorSize(0) for tensor in given}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += 1
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in self._storages:
                self._add(tensor)
        return result

    def _add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        own = tensor.dtype is torch.bfloat16
        size = TensorSize(storage.nbytes() // 2) if own else TensorSize(0, storage.nbytes())
        self._storages[storage._cdata] = size
        weakref.finalize(storage, self._drop, storage._cdata)
        self._live += size
        if self._live.num_bytes(Dtype.BFLOAT16) > self.peak.num_bytes(Dtype.BFLOAT16):
            self.peak = self._live

    def _drop(self, key: int) -> None:
        self._live -= self._storages.pop(key)
