"""Runs a model's code without weights, to find out what it does with a text.

A skeleton on the meta device runs its forward. Meta tensors have no values, so a request for a value gets a guess. If
the run fails, another guess is tried.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache

FEW = 4
"""Number of tokens that shows how a model uses its layers."""
_aten = torch.ops.aten
_PLACES = (_aten.nonzero_numpy.default, _aten.where.default)
_SCALARS = (_aten._local_scalar_dense.default, _aten.item.default, _aten.is_nonzero.default)
_ELEMENTWISE = (
    _aten.mul.Tensor,
    _aten.add.Tensor,
    _aten.sub.Tensor,
    _aten.div.Tensor,
    _aten.pow.Tensor_Scalar,
    _aten.neg.default,
)
"""Most of a model's operations, and the slow ones on the meta device: torch infers their shapes in Python."""
_VIEWS = (torch.Tensor.T, torch.Tensor.mT, torch.Tensor.H, torch.Tensor.mH, torch.Tensor.data)
"""Attributes that expose the values; others only describe them."""
_LOOK_UPS = frozenset({"embedding", "gather", "index_select", "take", "__getitem__", "narrow"})
_GROWS = "make_weights"
"""A method of modules that compute a longer table on demand."""
_KEPT = ("past_key_values", "cache_params", "state", "mems", "past_buckets_states")
"""Outputs that the next token needs."""
_DESCRIPTIONS = frozenset(
    {"size", "dim", "numel", "nelement", "stride", "element_size", "is_floating_point", "__repr__"}
)


class CannotRunError(Exception):
    """The architecture's code cannot be run without weights. The message is a sentence that says why."""


class LayerUse(NamedTuple):
    """How the model's code uses its linear layers, by name.

    `ran`: text goes through them. `dimensions`: the number of dimensions of their inputs.
    `past`: their weight is used without calling them, which fails for quantized layers.
    `rescaled`: their weight is changed in place before the first text.
    """

    ran: frozenset[str]
    past: frozenset[str] = frozenset()
    rescaled: frozenset[str] = frozenset()
    dimensions: Mapping[str, int] = {}


def run(
    skeleton: PreTrainedModel,
    tokens: int,
    logits: int = 1,
    *,
    meter: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> tuple[Any, Any]:
    """Run a prompt of `tokens` tokens, with logits for the last `logits`. Returns the output and the meter.

    Raises CannotRunError.
    """
    ids = torch.ones(1, tokens, dtype=torch.long, device="meta")
    last_only = {"logits_to_keep": logits} if skeleton._supports_logits_to_keep() else {}  # as `generate` does
    reason: Exception | None = None
    for yes, number in ((False, 0), (True, tokens)):
        try:
            with _FusedAttention(), _Guesses(yes, number), meter() as metered, torch.inference_mode():
                return _output(skeleton, input_ids=ids, use_cache=True, **last_only), metered
        except Exception as error:  # an operation that needs values, or a context that the model does not have
            reason = reason or error
    raise CannotRunError(f"{type(skeleton).__name__} cannot be run without its weights.") from reason


def _output(skeleton: PreTrainedModel, **given: Any) -> Any:
    """The output of a forward. If it returns no state for the next token, it gets a cache, as `generate` does."""
    output = skeleton(**given)
    takes_one = "past_key_values" in inspect.signature(skeleton.forward).parameters
    if not takes_one or any(output.get(name) is not None for name in _KEPT):
        return output
    cache = DynamicCache(config=skeleton.config.get_text_config())
    return {**skeleton(past_key_values=cache, **given), "past_key_values": cache}


class Watch(TorchFunctionMode):
    """Context that records how some layers are used, and the sizes of position tables.

    Counted as look-ups: any use of a buffer of two or more dimensions (frequencies have one), and a look-up function on
    a parameter other than the word embedding. Tables that their module lengthens on demand do not count.
    """

    def __init__(self, skeleton: PreTrainedModel, layers: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.table_sizes: set[int] = set()
        self._layers = layers
        self._names = {id(layer.weight): name for name, layer in layers.items()}
        growing = {
            id(buffer) for module in skeleton.modules() if hasattr(module, _GROWS) for buffer in module.buffers()
        }
        words = getattr(skeleton.get_input_embeddings(), "weight", None)
        self._buffers = {id(buffer) for buffer in skeleton.buffers() if buffer.dim() > 1} - growing
        self._parameters = {id(each) for each in skeleton.parameters() if each is not words}
        self._known = self._names.keys() | self._buffers | self._parameters
        self._dimensions: dict[str, int] = {}
        self._inside: set[str] = set()
        self._past: set[str] = set()
        self._rescaled: set[str] = set()
        self._hooks = ExitStack()

    @property
    def use(self) -> LayerUse:
        """The recorded use of the layers."""
        ran = dict(self._dimensions)
        return LayerUse(frozenset(ran), frozenset(self._past), frozenset(self._rescaled), ran)

    def __enter__(self) -> "Watch":
        for name, layer in self._layers.items():
            self._hooks.callback(layer.register_forward_pre_hook(partial(self._on_enter, name)).remove)
            leave = layer.register_forward_hook(partial(self._on_leave, name), always_call=True)
            self._hooks.callback(leave.remove)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)  # type: ignore[no-untyped-call]
        self._hooks.close()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for value in (*args, *(kwargs or {}).values()):
            if id(value) in self._known:
                self._see(func, value)
        return func(*args, **(kwargs or {}))

    def _see(self, func: Callable[..., Any], value: torch.Tensor) -> None:
        key = id(value)
        looks_up = getattr(func, "__name__", "") in _LOOK_UPS and key in self._parameters
        if looks_up or key in self._buffers:
            self.table_sizes.update(value.shape)
        name = self._names.get(key)
        if name is not None and name not in self._inside and _uses_values(func):
            (self._rescaled if _is_in_place(func) else self._past).add(name)

    def _on_enter(self, name: str, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._dimensions[name] = max(self._dimensions.get(name, 0), inputs[0].dim() if inputs else 0)
        self._inside.add(name)

    def _on_leave(self, name: str, *_: Any) -> None:
        self._inside.discard(name)


def _uses_values(func: Callable[..., Any]) -> bool:
    name = getattr(func, "__name__", "")
    if name == "__get__":
        return any(getattr(func, "__self__", None) is view for view in _VIEWS)
    return name not in _DESCRIPTIONS


def _is_in_place(func: Callable[..., Any]) -> bool:
    name = str(getattr(func, "__name__", ""))
    return name.endswith("_") and not name.endswith("__")


class _Guesses(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Answers what only real tensors know: a comparison, a number, which elements are nonzero (all of them)."""

    def __init__(self, yes: bool, number: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._yes = yes
        self._number = number

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _SCALARS:
            return self._yes if args[0].dtype is torch.bool else self._number
        if func is _aten.equal.default:
            return self._yes
        if func is _aten.nonzero.default:
            return args[0].new_empty((args[0].numel(), args[0].dim()), dtype=torch.long)
        if func in _PLACES:
            return [args[0].new_empty(args[0].numel(), dtype=torch.long) for _ in range(args[0].dim())]
        like = _elementwise_like(args) if func in _ELEMENTWISE else None
        if like is not None:
            return like.new_empty_strided(like.shape, like.stride())
        return func(*args, **(kwargs or {}))


def _elementwise_like(values: Sequence[Any]) -> torch.Tensor | None:
    """The operand that the elementwise result is like; None where torch should infer the result itself."""
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    first = tensors[0]
    alike = all(each.is_meta and each.dtype is first.dtype and each.dim() for each in tensors)
    if not alike or not first.is_floating_point() or any(isinstance(value, complex) for value in values):
        return None
    shape = torch.broadcast_shapes(*(each.shape for each in tensors))  # type: ignore[no-untyped-call]
    return first if first.shape == shape and _aten.is_non_overlapping_and_dense(first) else None


class _FusedAttention(TorchFunctionMode):
    """Fused attention. On a device it never holds all scores at once; on the meta device torch's fallback does."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        given = dict(zip(("query", "key", "value"), args, strict=False), **(kwargs or {}))
        return given["query"].new_empty((*given["query"].shape[:-1], given["value"].shape[-1]))
