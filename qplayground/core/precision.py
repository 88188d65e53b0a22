"""A precision: the named recipe by which a model's weights are held in memory."""

import re
from enum import StrEnum
from typing import Literal

import msgspec

from qplayground.core.errors import ErrorCode, ErrorInfo, PlaygroundError

NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._+-]{0,39}")
MODULE_PATTERN = re.compile(r"[A-Za-z0-9_.*-]+")


class Dtype(StrEnum):
    """A floating point format that weights can be held in, by torch's name for it."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"

    @property
    def itemsize(self) -> int:
        """Bytes an element."""
        return 4 if self is Dtype.FLOAT32 else 2


class Int8(msgspec.Struct, frozen=True, tag="int8"):
    """LLM.int8(): linear weights as int8 with one scale a row.

    Input columns with a magnitude above `threshold` are computed in 16 bits; 0 turns that path off.
    """

    threshold: float = 6.0


class FourBit(msgspec.Struct, frozen=True, tag="4bit"):
    """bitsandbytes 4-bit: linear weights in blocks of 64 elements, each block with one absmax."""

    quant_type: Literal["nf4", "fp4"] = "nf4"
    compute_dtype: Dtype = Dtype.BFLOAT16
    double_quantization: bool = False


class Precision(msgspec.Struct, frozen=True, kw_only=True):
    """A named recipe. `dtype` holds everything that `quantization` does not convert.

    `skip_modules` are added to the modules that transformers leaves alone by default, never put in their place.
    """

    name: str
    label: str
    dtype: Dtype
    quantization: Int8 | FourBit | None = None
    skip_modules: tuple[str, ...] = ()

    @property
    def is_quantized(self) -> bool:
        """Whether bitsandbytes converts the linear layers."""
        return self.quantization is not None

    @property
    def summary(self) -> str:
        """What the recipe does, in a few words, for a person."""
        if self.quantization is None:
            return f"every weight in {self.dtype}"
        skipped = f", {len(self.skip_modules)} more skipped" if self.skip_modules else ""
        if isinstance(self.quantization, Int8):
            return f"int8 · outliers > {self.quantization.threshold:g} · rest {self.dtype}{skipped}"
        kind = f"{self.quantization.quant_type}{' + DQ' if self.quantization.double_quantization else ''}"
        compute = self.quantization.compute_dtype
        rest = f"rest and compute {compute}" if compute is self.dtype else f"rest {self.dtype}, compute {compute}"
        return f"{kind} · {rest}{skipped}"

    @property
    def is_edited(self) -> bool:
        """Whether it has a ready precision's name and other options."""
        return any(ready.name == self.name and ready != self for ready in READY_PRECISIONS)

    def checked(self) -> "Precision":
        """Return this precision, or raise PlaygroundError(BAD_PRECISION) with what is wrong in it."""
        problem = None
        if not NAME_PATTERN.fullmatch(self.name):
            problem = (
                f"{self.name!r} is not a usable name: lower-case letters, digits, '.', '_', '+' and '-', at most 40."
            )
        elif isinstance(self.quantization, Int8) and not 0 <= self.quantization.threshold < 1e6:
            problem = f"The int8 outlier threshold must be 0 or more, not {self.quantization.threshold:g}."
        else:
            bad = [module for module in self.skip_modules if not _is_module_pattern(module)]
            if bad:
                problem = f"{bad[0]!r} is not a module name."
        if problem:
            raise PlaygroundError(ErrorInfo(ErrorCode.BAD_PRECISION, problem, "Change it and try again."))
        return self

    def without_bfloat16(self) -> "Precision":
        """The same recipe with float16 wherever a quantized precision asks for bfloat16."""
        quantization = self.quantization
        if quantization is None:
            return self
        if isinstance(quantization, FourBit) and quantization.compute_dtype is Dtype.BFLOAT16:
            quantization = msgspec.structs.replace(quantization, compute_dtype=Dtype.FLOAT16)
        dtype = Dtype.FLOAT16 if self.dtype is Dtype.BFLOAT16 else self.dtype
        return msgspec.structs.replace(self, dtype=dtype, quantization=quantization)


def _four_bit(quant_type: Literal["nf4", "fp4"], *, double: bool) -> Precision:
    return Precision(
        name=f"{quant_type}-dq" if double else quant_type,
        label=f"{quant_type.upper()} + DQ" if double else quant_type.upper(),
        dtype=Dtype.BFLOAT16,
        quantization=FourBit(quant_type=quant_type, double_quantization=double),
    )


def _is_module_pattern(text: str) -> bool:
    """transformers matches skipped modules as regular expressions, so what is not one would fail inside a load."""
    try:
        re.compile(text)
    except re.error:
        return False
    return MODULE_PATTERN.fullmatch(text) is not None


READY_PRECISIONS: tuple[Precision, ...] = (
    Precision(name="fp32", label="FP32", dtype=Dtype.FLOAT32),
    Precision(name="bf16", label="BF16", dtype=Dtype.BFLOAT16),
    Precision(name="fp16", label="FP16", dtype=Dtype.FLOAT16),
    Precision(name="int8", label="INT8", dtype=Dtype.BFLOAT16, quantization=Int8()),
    _four_bit("nf4", double=False),
    _four_bit("nf4", double=True),
    _four_bit("fp4", double=False),
    _four_bit("fp4", double=True),
)
"""The precisions that are always offered, from the widest to the narrowest."""

DEFAULT_TICKED: tuple[str, ...] = ("fp32", "bf16", "int8", "nf4")


def baseline_of(names: list[str], known: tuple[Precision, ...]) -> str | None:
    """The precision that the others are compared with: the widest unquantized one, else the first named.

    Returns None for an empty list.
    """
    by_name = {precision.name: precision for precision in known}
    plain = [by_name[name] for name in names if name in by_name and not by_name[name].is_quantized]
    order = [Dtype.FLOAT32, Dtype.BFLOAT16, Dtype.FLOAT16]
    if plain:
        return min(plain, key=lambda precision: order.index(precision.dtype)).name
    return names[0] if names else None
