"""What a model will take in memory, and what it does take, in the same terms."""

from enum import StrEnum

import msgspec
from msgspec.structs import replace

from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorInfo
from qplayground.core.placement import CPU, is_gpu


class WeightKinds(msgspec.Struct, frozen=True):
    """Bytes of the tensors that a model holds, by kind; tied weights are counted once.

    `quantized`: the packed integers of converted layers; `scales`: what belongs to them, row scales, block scales, code
    tables, second-level scales; `plain`: all weights that were left alone, biases included; `buffers`: what is not a
    weight.
    """

    quantized: int = 0
    scales: int = 0
    plain: int = 0
    buffers: int = 0

    @property
    def total(self) -> int:
        return self.quantized + self.scales + self.plain + self.buffers

    def __add__(self, other: "WeightKinds") -> "WeightKinds":
        return WeightKinds(
            self.quantized + other.quantized,
            self.scales + other.scales,
            self.plain + other.plain,
            self.buffers + other.buffers,
        )


class TensorSize(msgspec.Struct, frozen=True):
    """Tensors of a model in any type: elements of the model's own, and bytes that do not depend on it."""

    elements: int
    fixed_bytes: int = 0

    def num_bytes(self, dtype: Dtype) -> int:
        """In a model of that type."""
        return self.elements * dtype.itemsize + self.fixed_bytes

    def __add__(self, other: "TensorSize") -> "TensorSize":
        return TensorSize(self.elements + other.elements, self.fixed_bytes + other.fixed_bytes)

    def __sub__(self, other: "TensorSize") -> "TensorSize":
        return TensorSize(self.elements - other.elements, self.fixed_bytes - other.fixed_bytes)


class ContextSize(msgspec.Struct, frozen=True):
    """What a text takes, batch 1: its KV cache at the end, and what reading its prompt needs besides for a moment.

    `scored`: what a window of a scored text needs for a moment, with the logits of its second half.
    """

    cache: TensorSize
    activations: TensorSize = TensorSize(0)
    prompt_tokens: int = 0
    scored: TensorSize = TensorSize(0)


class Verdict(StrEnum):
    """Whether a precision fits into the memory that is available now."""

    FITS = "fits"
    TIGHT = "tight"
    """It fits, but hardly anything would be left."""
    WONT_FIT = "wont_fit"
    UNKNOWN = "unknown"


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What one precision of a model will take, in bytes, estimated without its weights.

    `kv_cache_bytes` is None where it is not known, and `unknown` says why. `working_bytes` stay beside weights and
    cache after a prompt was read, which for a moment needs `prompt_extra_bytes` more; scoring a text, which comes after
    it and keeps no cache, needs `scoring_extra_bytes` beside the working memory. `load_extra_bytes` are needed in RAM
    beyond the weights at the worst moment of the load, `vram_load_extra_bytes` on a GPU. `runtime_bytes` are the
    libraries', before the first weight, of which `shared_bytes` are held by other processes anyway; with a GPU they are
    not known, and `least_runtime_bytes` is the least. `device_map` says where its modules will be and `by_device` what
    each device will hold; `caution` what should be known of that. With a `problem` it cannot be loaded so.
    """

    precision: str
    by_kind: WeightKinds = WeightKinds()
    kv_cache_bytes: int | None = None
    unknown: str = ""
    working_bytes: int = 0
    prompt_extra_bytes: int = 0
    scoring_extra_bytes: int = 0
    load_extra_bytes: int = 0
    vram_load_extra_bytes: int = 0
    runtime_bytes: int | None = None
    least_runtime_bytes: int = 0
    shared_bytes: int = 0
    device_map: dict[str, str] = {}
    by_device: dict[str, WeightKinds] = {}
    caution: str = ""
    problem: ErrorInfo | None = None

    @property
    def weight_bytes(self) -> int:
        return self.by_kind.total

    @property
    def ram_weight_bytes(self) -> int:
        """Of the weights, what will be in RAM: none of those on a GPU or on disk."""
        return self.by_device.get(CPU, WeightKinds()).total if self.by_device else self.weight_bytes

    @property
    def gpus(self) -> tuple[str, ...]:
        """The GPUs that will hold a part of it."""
        return tuple(device for device in self.by_device if is_gpu(device))

    @property
    def without_text(self) -> "Estimate":
        """What it says of the weights; what depends on a text's length is unknown."""
        return replace(self, kv_cache_bytes=None, prompt_extra_bytes=0)

    @property
    def resident_bytes(self) -> int | None:
        """The whole engine's resident memory after it wrote its text."""
        if self.runtime_bytes is None or self.kv_cache_bytes is None or self.problem is not None:
            return None
        return self.runtime_bytes + self.ram_weight_bytes + self.kv_cache_bytes + self.working_bytes

    @property
    def load_peak_bytes(self) -> int | None:
        """The most that the engine has resident while it loads."""
        if self.runtime_bytes is None or self.problem is not None:
            return None
        return self.runtime_bytes + self.ram_weight_bytes + self.load_extra_bytes
