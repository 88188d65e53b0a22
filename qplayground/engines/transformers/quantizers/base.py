"""What the engine asks of a family of quantizers."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import nn
from transformers.utils.quantization_config import QuantizationConfigMixin

from qplayground.core.dtype import Dtype
from qplayground.core.inside import QuantizationParams
from qplayground.core.memory.estimate import WeightKinds
from qplayground.core.quantizers.base import Quantizer
from qplayground.core.quantizers.installed import installed_version
from qplayground.engines.transformers.quantizers.codec import Codec, Stored

Options = TypeVar("Options", bound=Quantizer)
_DEEP = 3
"""Inputs of more dimensions are unusual."""


class Layer(NamedTuple):
    """What decides how a layer is computed: outputs, inputs, and how many dimensions its input tensors have."""

    rows: int
    columns: int
    dimensions: int = _DEEP

    @property
    def text(self) -> str:
        """For a person."""
        return f"{self.columns:,} inputs and {self.rows:,} outputs"

    @property
    def is_deep(self) -> bool:
        """Whether its inputs have more dimensions than batch, tokens and features."""
        return self.dimensions > _DEEP


class HeldPart(NamedTuple):
    """One tensor of a module. `is_scale` and `is_code` say what of a quantized weight it is, if anything."""

    kind: str
    tensor: torch.Tensor
    is_code: bool = False
    is_scale: bool = False


class Backend(ABC, Generic[Options]):
    """One family's options at work. `expected_error`: the relative error in the Frobenius norm that quantizing normally
    distributed weights makes. The constants of memory are measured; `estimating` says how they are used.

    `heap_factor`: what glibc's heap takes for each byte of tensors that reading a prompt needs at once.
    `quantizing_bytes`: the most that quantizing needs for a moment, an element of the layer in work, its 16-bit copy
    included.
    """

    expected_error: float
    heap_factor = 2.0
    quantizing_bytes: int
    splits = True
    """Whether a model may be in several places."""
    lists_skips = False
    """Whether transformers must be told every module to leave alone, its own ones included."""
    checkpoint = ""
    """transformers' `quant_method` of the checkpoints whose codes it reads; empty where it reads none."""

    def __init__(self, options: Options) -> None:
        self.options = options

    @property
    def library(self) -> str:
        """The library and its version, for a person."""
        return f"{self.options.library} {installed_version(self.options.library)}".rstrip()

    # ---- before a load --------------------------------------------------------------------------------------------

    @abstractmethod
    def config(self, skips: Sequence[str], *, offloads: bool) -> QuantizationConfigMixin:
        """transformers' configuration, every default spelled out. `skips`: what is left alone, in place of the
        library's own list; empty for that. `offloads`: modules may be on the processor or on disk beside a GPU.
        """

    @abstractmethod
    def predicted(self, rows: int, elements: int, *, repacks: bool) -> WeightKinds:
        """Bytes of one converted weight and of what belongs to it. `repacks`: after a forward that repacks it."""

    def bias_dtype(self) -> Dtype | None:
        """What the first forward casts the bias of a converted layer to; None where it leaves it alone."""
        return None

    def rescaled(self) -> "Backend[Any]":
        """What a layer becomes whose weight the model's code scales in place."""
        return self

    def repacks(self) -> bool:
        """Whether the first forward on this processor repacks weights for a kernel of its own."""
        return False

    def converts(self, module: nn.Module) -> bool:
        """Whether it replaces modules of that class."""
        return type(module) is nn.Linear

    # ---- on a layer by itself -------------------------------------------------------------------------------------

    @abstractmethod
    def is_usual(self, layer: Layer) -> bool:
        """Whether every kernel of the library takes it; others are tried."""

    @abstractmethod
    def layer(self, weight: torch.Tensor) -> nn.Module:
        """A layer with that weight, (out, in), without a bias. It may be quantized only once it is put on a device."""

    @abstractmethod
    def round_trip(self, weight: torch.Tensor, device: torch.device) -> torch.Tensor:
        """The weight after the library quantized and dequantized it on that device."""

    def rows_until_a_block_begins(self, columns: int) -> int:
        """After so many rows, and not before, blocks of weights that share a scale begin with a row again."""
        return 1

    @staticmethod
    def refusal(text: str, functions: Set[str]) -> str:
        """Why the library refused layers, as a sentence, by what it raised (in small letters) and the functions that
        were running; empty where that is not known.
        """
        return ""

    # ---- in a loaded model ----------------------------------------------------------------------------------------

    @staticmethod
    @abstractmethod
    def owns(module: nn.Module) -> bool:
        """Whether that module's weight was quantized by this family."""

    @staticmethod
    @abstractmethod
    def parts(module: Any) -> Iterator[HeldPart]:
        """Every tensor that stands for such a module's weight."""

    @staticmethod
    def shape(module: Any) -> tuple[int, ...]:
        """The shape of such a module's weight before it was quantized, (out, in)."""
        return tuple(module.weight.shape)

    @staticmethod
    @abstractmethod
    def leading_rows(module: Any, rows: int) -> torch.Tensor:
        """The first rows of such a module's weight, (rows, in), float32, on the processor: codes times scales by hand
        in plain torch, without the library whose result is checked. Before its first forward, which can repack it.
        """

    @staticmethod
    @abstractmethod
    def dequantized(module: Any) -> torch.Tensor:
        """What such a module computes with, as numbers, by the library."""

    # ---- looked inside --------------------------------------------------------------------------------------------

    @staticmethod
    @abstractmethod
    def codec(params: QuantizationParams, columns: int) -> Codec:
        """How one of the methods that the options declare stores a matrix of so many columns."""

    @staticmethod
    def stored_as(tensor: str) -> str:
        """The method that a tensor of that name is a sign of in such a `checkpoint`; empty where it is none."""
        return ""

    @staticmethod
    def read(parts: Mapping[str, torch.Tensor], dtype: Dtype | None) -> Stored:
        """A weight of such a checkpoint, of its tensors by their names below the module's. `dtype` is the model's.

        Raises whatever the library raises for parts that do not belong together.
        """
        raise NotImplementedError

    @staticmethod
    def split_product(
        codes: torch.Tensor, absmax: torch.Tensor, inputs: torch.Tensor, threshold: float, bias: torch.Tensor | None
    ) -> tuple[torch.Tensor, int]:
        """For a family that splits outliers: a product with codes by row, and how many columns were computed apart."""
        raise NotImplementedError

    # ---- what it takes --------------------------------------------------------------------------------------------

    def scratch_bytes(self, tokens: int, widest: int) -> int:
        """What a product of so many tokens with a layer of so many outputs needs beside its result."""
        return 0

    def gaps_factor(self, tokens: int, widest: int) -> float:
        """`heap_factor` for such a product."""
        return self.heap_factor

    def unfused_itemsize(self, dtype: Dtype) -> int:
        """Bytes an element of what each token dequantizes on this processor, a layer at a time; 0 where a kernel
        computes with quantized weights as they are.
        """
        return 0
