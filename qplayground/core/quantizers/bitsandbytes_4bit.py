"""bitsandbytes' 4-bit types: NF4 and FP4."""

from typing import ClassVar, Literal, Self

from msgspec.structs import replace

from qplayground.core.dtype import Dtype
from qplayground.core.quantizers.base import Choice, ConfigCall, Method, Option, Place, ReadyPrecision, Switch
from qplayground.core.quantizers.bitsandbytes import Bitsandbytes, by_block, config_call, has_fused_4bit


class FourBit(Bitsandbytes, frozen=True, tag="4bit"):
    """bitsandbytes 4-bit: linear weights in blocks of 64 elements, each block with one absmax."""

    title: ClassVar[str] = "4-bit"
    methods: ClassVar[tuple[Method, ...]] = (
        by_block("nf4", "NF4", 4, "bluish green", "o"),
        by_block("fp4", "FP4", 4, "vermillion", "t"),
        by_block("uniform4", "uniform 4-bit", 4, "black", "d", is_contrast=True),
        by_block("uniform3", "uniform 3-bit", 3, "reddish purple", "p", is_contrast=True),
    )
    options: ClassVar[tuple[Option, ...]] = (
        Choice(
            "quant_type",
            "&Quant type",
            "Each weight is one of 16 values: nf4 spaces them for normally distributed weights, fp4 is a tiny float.",
            ("nf4", "fp4"),
            is_fixed=True,
        ),
        Choice(
            "compute_dtype",
            "Computes &in",
            "What the weights are turned into for every multiplication. It does not change what is stored.",
            tuple(Dtype),
        ),
        Switch(
            "double_quantization",
            "Dou&ble quantization",
            "Holds the scales in 8 bits too, which saves about 0.37 bits a weight in large layers. "
            "CPUs with AVX512_BF16 undo it when the model first runs.",
            is_fixed=True,
        ),
    )

    quant_type: Literal["nf4", "fp4"] = "nf4"
    compute_dtype: Dtype = Dtype.BFLOAT16
    double_quantization: bool = False

    @property
    def name(self) -> str:
        return f"{self.quant_type.upper()}{' with double quantization' if self.double_quantization else ''}"

    def summary(self, rest: Dtype) -> str:
        kind = f"{self.quant_type}{' + DQ' if self.double_quantization else ''}"
        if self.compute_dtype is rest:
            return f"{kind} · rest and compute {rest}"
        return f"{kind} · rest {rest}, compute {self.compute_dtype}"

    def without_bfloat16(self) -> Self:
        return replace(self, compute_dtype=Dtype.FLOAT16) if self.compute_dtype is Dtype.BFLOAT16 else self

    def call(self) -> ConfigCall:
        return config_call(
            "load_in_4bit=True",
            f"bnb_4bit_quant_type={self.quant_type!r}",
            f"bnb_4bit_compute_dtype=torch.{self.compute_dtype}",
            f"bnb_4bit_use_double_quant={self.double_quantization}",
        )

    def why_slower(self, place: Place) -> str:
        if place.on_gpu:
            return "4-bit weights become 16-bit ones again at every token; a small model gains less than that costs."
        if has_fused_4bit(place) and self.compute_dtype is Dtype.BFLOAT16:
            return "the fused 4-bit kernel of this processor still unpacks every weight at every token."
        return (
            f"every 4-bit weight is turned back into {self.compute_dtype} at every token, since bitsandbytes has no "
            "fused kernel for this processor and compute dtype."
        )

    def why_not_smaller(self, place: Place) -> str:
        if place.on_gpu or not self.double_quantization or not has_fused_4bit(place):
            return ""
        return (
            "Double quantization saves nothing on this processor: for its fused kernel bitsandbytes turns the scales "
            "back into 16 bits at the first token."
        )


def _ready(quant_type: Literal["nf4", "fp4"], hue: str, line: int, *, double: bool = False) -> ReadyPrecision[FourBit]:
    options = FourBit(quant_type=quant_type, double_quantization=double)
    name, label = (f"{quant_type}-dq", f"{quant_type.upper()} + DQ") if double else (quant_type, quant_type.upper())
    return ReadyPrecision(name, label, Dtype.BFLOAT16, options, hue, line)


READY = (
    _ready("nf4", "bluish green", 2),
    _ready("nf4", "yellow", 0, double=True),
    _ready("fp4", "vermillion", 1),
    _ready("fp4", "reddish purple", 3, double=True),
)
