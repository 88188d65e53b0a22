"""What a text takes in memory while it is read and kept: found by running a model's shapes, without its weights."""

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers.cache_utils import DynamicLayer

from qplayground.core.estimate import ContextSize, TensorSize
from qplayground.core.precision import Dtype
from qplayground.core.windows import WINDOW
from qplayground.engine.shapes import Shapes

_FEW = 4


class ContextSizes:
    """What texts of any length take. What grouped heads, sliding windows, hybrid layers and whatever comes next make of
    it is what the model's own code does.
    """

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes

    def of(self, prompt_tokens: int | None, tokens: int) -> ContextSize | None:
        """The KV cache once `tokens` tokens are in it, and what reading a prompt takes besides, where one is known.

        None where the architecture cannot be run without weights.
        """
        cache = self._cache(tokens)
        if cache is None:
            return None
        prompt = self._at(prompt_tokens) if prompt_tokens else None
        if prompt is None:
            return ContextSize(cache)
        return ContextSize(cache, prompt.activations, prompt_tokens or 0, self._scored)

    def _cache(self, tokens: int) -> TensorSize | None:
        few = self._few
        if few is None or not few.keeps_all_tokens:
            whole = self._at(tokens)
            return None if whole is None else whole.cache
        return TensorSize(few.cache.elements // _FEW * tokens, few.cache.fixed_bytes // _FEW * tokens)

    @cached_property
    def _scored(self) -> TensorSize:
        """A window's last token is not shown to the model; the logits of its second half are asked for."""
        window = self._at(WINDOW - 1, logits=WINDOW // 2)
        return TensorSize(0) if window is None else window.activations

    def _at(self, tokens: int, logits: int = 1) -> "_Run | None":
        """Some recurrent layers are run token by token, which would take minutes; a model that does so is run on a few
        tokens, and what grows is taken to grow on.
        """
        if self._few is None or self._few.only_attention or tokens <= _FEW:
            return _run(self._shapes, tokens, logits)
        one, two = _run(self._shapes, _FEW), _run(self._shapes, 2 * _FEW)
        if one is None or two is None or one.operations == two.operations:
            return _run(self._shapes, tokens, logits)
        steps = (tokens - _FEW) / _FEW
        return one._replace(
            cache=_continued(one.cache, two.cache, steps),
            activations=_continued(one.activations, two.activations, steps),
        )

    @cached_property
    def _few(self) -> "_Run | None":
        """For its cache alone, which is what is shown first: following what is allocated takes a third of the time."""
        return _run(self._shapes, _FEW, metered=False)


class _Run(NamedTuple):
    """One run of the shapes. `only_attention`: all that the cache has are keys and values; `keeps_all_tokens`: of every
    token, without a window.
    """

    cache: TensorSize
    activations: TensorSize
    operations: int
    only_attention: bool
    keeps_all_tokens: bool


def _continued(one: TensorSize, other: TensorSize, steps: float) -> TensorSize:
    return TensorSize(
        one.elements + round(steps * (other.elements - one.elements)),
        one.fixed_bytes + round(steps * (other.fixed_bytes - one.fixed_bytes)),
    )


@torch.inference_mode()
def _run(shapes: Shapes, tokens: int, logits: int = 1, *, metered: bool = True) -> _Run | None:
    """Of a prompt of so many tokens, the last of which get logits. Where it is not metered, activations and operations
    are 0.
    """
    skeleton = shapes.skeleton(Dtype.BFLOAT16)
    ids = torch.ones(1, tokens, dtype=torch.long, device="meta")
    last_only = {"logits_to_keep": logits} if skeleton._supports_logits_to_keep() else {}  # as `generate` does
    live = _LiveTensors([*skeleton.parameters(), *skeleton.buffers()])
    try:
        with _FusedAttention(), live if metered else nullcontext():
            output = skeleton(input_ids=ids, use_cache=True, **last_only)
    except Exception:  # an operation that needs values, or a context that the model does not have
        return None
    cache = output.get("past_key_values")
    layers = getattr(cache if cache is not None else output.get("cache_params"), "layers", ())
    tensors = {id(tensor): tensor for layer in layers for tensor in _tensors(vars(layer).values())}
    if not tensors:
        return None
    size = sum((_size(tensor) for tensor in tensors.values()), TensorSize(0))
    return _Run(
        size,
        live.peak - size if metered else TensorSize(0),
        live.operations,
        only_attention=all(isinstance(layer, DynamicLayer) for layer in layers),
        keeps_all_tokens=all(type(layer) is DynamicLayer for layer in layers),
    )


def _tensors(values: Any) -> Sequence[torch.Tensor]:
    """The floating-point tensors of a cache's layer; some keep theirs in lists or mappings."""
    return [leaf for leaf in tree_leaves(list(values)) if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()]


def _size(tensor: torch.Tensor) -> TensorSize:
    if tensor.dtype is torch.bfloat16:
        return TensorSize(tensor.numel())
    return TensorSize(0, tensor.numel() * tensor.element_size())  # float32 whatever the model is in


class _LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows what every operation allocates, until nothing refers to it any more; `peak` is the most at one moment.

    The `given` tensors are there anyway, and so are views of them.
    """

    def __init__(self, given: Iterable[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self._live = TensorSize(0)
        self.operations = 0
        self._storages = {tensor.untyped_storage()._cdata: TensorSize(0) for tensor in given}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
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


class _FusedAttention(TorchFunctionMode):
    """On a real device it never holds all scores at once; without a device torch falls back to what does."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        given = dict(zip(("query", "key", "value"), args, strict=False), **(kwargs or {}))
        return given["query"].new_empty((*given["query"].shape[:-1], given["value"].shape[-1]))
