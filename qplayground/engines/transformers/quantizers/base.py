"""The interface between the engine and a quantizer family."""

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
"""The usual input: batch, tokens and features. More dimensions are unusual."""


class Layer(NamedTuple):
    """What decides how a layer is computed: its outputs, inputs, and the dimensions of its input tensors."""

    rows: int
    columns: int
    dimensions: int = _DEEP

    @property
    def text(self) -> str:
        """Text for display."""
        return f"{self.columns:,} inputs and {self.rows:,} outputs"

    @property
    def is_deep(self) -> bool:
        """Whether its inputs have more dimensions than batch, tokens and features."""
        return self.dimensions > _DEEP


class HeldPart(NamedTuple):
    """One tensor of a module. `is_code` and `is_scale`: it holds the codes or scales of a quantized weight."""

    kind: str
    tensor: torch.Tensor
    is_code: bool = False
    is_scale: bool = False


class Backend(ABC, Generic[Options]):
    """Carries out one family's options.

    `expected_error`: relative error, in the Frobenius norm, of quantizing normally distributed weights.
    `heap_factor`: bytes that glibc's heap takes per byte of tensors that prefill needs at once.
    `quantizing_bytes`: peak temporary bytes per element of the layer being quantized, its 16-bit copy included.

    The memory constants are measured; `estimating` says how they are used.
    """

    expected_error: float
    heap_factor = 2.0
    quantizing_bytes: int
    splits = True
    """Whether a model may be split across several devices."""
    lists_skips = False
    """Whether transformers needs the full list of modules to skip, including those it skips by default."""
    checkpoint = ""
    """transformers' `quant_method` of the checkpoints that this family reads; empty where it reads none."""

    def __init__(self, options: Options) -> None:
        self.options = options

    @property
    def library(self) -> str:
        """Library name and version, for display."""
        return f"{self.options.library} {installed_version(self.options.library)}".rstrip()

    # ---- before a load --------------------------------------------------------------------------------------------

    @abstractmethod
    def config(self, skips: Sequence[str], *, offloads: bool) -> QuantizationConfigMixin:
        """transformers' quantization config, with every default spelled out.

        `skips`: modules left unquantized, in place of the library's own list; empty keeps that list.
        `offloads`: modules may be on the CPU or on disk beside a GPU.
        """

    @abstractmethod
    def predicted(self, rows: int, elements: int, *, repacks: bool) -> WeightKinds:
        """Bytes of one converted weight, its scales and tables. `repacks`: after a forward that repacks it."""

    def bias_dtype(self) -> Dtype | None:
        """Type that the first forward casts a converted layer's bias to; None where it stays unchanged."""
        return None

    def rescaled(self) -> "Backend[Any]":
        """The backend that a layer ends up with if the model's code scales its weight in place."""
        return self

    def repacks(self) -> bool:
        """Whether the first forward on this CPU repacks weights for a special kernel."""
        return False

    def converts(self, module: nn.Module) -> bool:
        """Whether this family replaces modules of that class."""
        return type(module) is nn.Linear

    # ---- on a layer by itself -------------------------------------------------------------------------------------

    @abstractmethod
    def is_usual(self, layer: Layer) -> bool:
        """Whether every kernel of the library supports this layer. Other layers are tried first."""

    @abstractmethod
    def layer(self, weight: torch.Tensor) -> nn.Module:
        """A layer with that weight, (out, in), without a bias. It may be quantized only when moved to a device."""

    @abstractmethod
    def round_trip(self, weight: torch.Tensor, device: torch.device) -> torch.Tensor:
        """The weight after quantizing and dequantizing it with the library on that device."""

    def rows_until_a_block_begins(self, columns: int) -> int:
        """The number of rows after which a row starts a new block again. Blocks share a scale and may span rows."""
        return 1

    @staticmethod
    def refusal(text: str, functions: Set[str]) -> str:
        """Why the library refused layers, as a sentence; empty where that is unknown.

        `text`: the exception's message in lower case. `functions`: the names of the functions that were running.
        """
        return ""

    # ---- in a loaded model ----------------------------------------------------------------------------------------

    @staticmethod
    @abstractmethod
    def owns(module: nn.Module) -> bool:
        """Whether this family quantized that module's weight."""

    @staticmethod
    @abstractmethod
    def parts(module: Any) -> Iterator[HeldPart]:
        """Every tensor that makes up such a module's weight."""

    @staticmethod
    def shape(module: Any) -> tuple[int, ...]:
        """Shape of such a module's weight before quantization, (out, in)."""
        return tuple(module.weight.shape)

    @staticmethod
    @abstractmethod
    def leading_rows(module: Any, rows: int) -> torch.Tensor:
        """The first rows of such a module's weight: (rows, in), float32, on the CPU.

        Codes times scales in plain torch, without the library being checked.
        Call it before the first forward, which can repack the weight.
        """

    @staticmethod
    @abstractmethod
    def dequantized(module: Any) -> torch.Tensor:
        """The weight that such a module computes with, dequantized by the library."""

    # ---- looked inside --------------------------------------------------------------------------------------------

    @staticmethod
    @abstractmethod
    def codec(params: QuantizationParams, columns: int) -> Codec:
        """The codec of one of the family's methods, for a matrix of that many columns."""

    @staticmethod
    def stored_as(tensor: str) -> str:
        """The method that a tensor of that name indicates in such a `checkpoint`; empty where it indicates none."""
        return ""

    @staticmethod
    def read(parts: Mapping[str, torch.Tensor], dtype: Dtype | None) -> Stored:
        """Read a weight of such a checkpoint from its tensors, named relative to the module. `dtype`: the model's.

        Raises whatever the library raises for parts that do not belong together.
        """
        raise NotImplementedError

    @staticmethod
    def split_product(
        codes: torch.Tensor, absmax: torch.Tensor, inputs: torch.Tensor, threshold: float, bias: torch.Tensor | None
    ) -> tuple[torch.Tensor, int]:
        """For a family that splits outliers: a product with row-wise codes, and the number of outlier columns."""
        raise NotImplementedError

    # ---- what it takes --------------------------------------------------------------------------------------------

    def scratch_bytes(self, tokens: int, widest: int) -> int:
        """Temporary bytes, beside the result, for `tokens` tokens times a layer of `widest` outputs."""
        return 0

    def gaps_factor(self, tokens: int, widest: int) -> float:
        """`heap_factor` for such a product."""
        return self.heap_factor

    def unfused_itemsize(self, dtype: Dtype) -> int:
        """Bytes per element that each token dequantizes on this CPU, one layer at a time.

        0 where a kernel computes with quantized weights directly.
        """
        return 0
