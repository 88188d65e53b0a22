"""A precision: the named recipe by which a model's weights are held in memory."""

import re
from collections.abc import Sequence

import msgspec

from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorCode, ErrorInfo, PlaygroundError
from qplayground.core.quantizers import registry
from qplayground.core.quantizers.registry import Quantization

NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._+-]{0,39}")
MODULE_PATTERN = re.compile(r"[A-Za-z0-9_.*-]+")


class Precision(msgspec.Struct, frozen=True, kw_only=True):
    """A named recipe. `dtype` holds everything that `quantization` does not convert.

    `skip_modules` are added to the modules that transformers leaves alone by default, never put in their place.
    """

    name: str
    label: str
    dtype: Dtype
    quantization: Quantization | None = None
    skip_modules: tuple[str, ...] = ()

    @property
    def is_quantized(self) -> bool:
        """Whether a quantizer converts the linear layers."""
        return self.quantization is not None

    @property
    def summary(self) -> str:
        """What the recipe does, in a few words, for a person."""
        if self.quantization is None:
            return f"every weight in {self.dtype}"
        skipped = f", {len(self.skip_modules)} more skipped" if self.skip_modules else ""
        return f"{self.quantization.summary(self.dtype)}{skipped}"

    def is_kind_of(self, ready: "Precision") -> bool:
        """Whether it is still what that ready precision is named after, so that NF4 on a chart is always NF4."""
        ours, theirs = self.quantization, ready.quantization
        if ours is None or theirs is None:
            return ours is theirs and self.label == ready.label and self.dtype is ready.dtype
        return self.label == ready.label and type(ours) is type(theirs) and ours.identity == theirs.identity

    @property
    def is_edited(self) -> bool:
        """Whether it has a ready precision's name and other options."""
        return any(ready.name == self.name and ready != self for ready in READY_PRECISIONS)

    def checked(self) -> "Precision":
        """Return this precision, or raise PlaygroundError(BAD_PRECISION) with what is wrong in it."""
        problem = "" if self.quantization is None else self.quantization.problem()
        if not NAME_PATTERN.fullmatch(self.name):
            problem = (
                f"{self.name!r} is not a usable name: lower-case letters, digits, '.', '_', '+' and '-', at most 40."
            )
        elif not problem:
            bad = [module for module in self.skip_modules if not _is_module_pattern(module)]
            if bad:
                problem = f"{bad[0]!r} is not a module name."
        if problem:
            raise PlaygroundError(ErrorInfo(ErrorCode.BAD_PRECISION, problem, "Change it and try again."))
        return self

    def without_bfloat16(self) -> "Precision":
        """The same recipe with float16 wherever a quantized precision asks for bfloat16."""
        if self.quantization is None:
            return self
        dtype = Dtype.FLOAT16 if self.dtype is Dtype.BFLOAT16 else self.dtype
        return msgspec.structs.replace(self, dtype=dtype, quantization=self.quantization.without_bfloat16())


def _is_module_pattern(text: str) -> bool:
    """transformers matches skipped modules as regular expressions, so what is not one would fail inside a load."""
    try:
        re.compile(text)
    except re.error:
        return False
    return MODULE_PATTERN.fullmatch(text) is not None


READY_PRECISIONS: tuple[Precision, ...] = tuple(
    Precision(name=ready.name, label=ready.label, dtype=ready.dtype, quantization=ready.options)
    for ready in registry.READY
)
"""The precisions that are always offered, from the widest to the narrowest."""

DEFAULT_TICKED: tuple[str, ...] = ("fp32", "bf16", "int8", "nf4")


def widest(precisions: Sequence[Precision]) -> int | None:
    """The place of the one that others are compared with: the widest unquantized one, else the first; None of none."""
    order = [Dtype.FLOAT32, Dtype.BFLOAT16, Dtype.FLOAT16]
    plain = [place for place, precision in enumerate(precisions) if not precision.is_quantized]
    if plain:
        return min(plain, key=lambda place: order.index(precisions[place].dtype))
    return 0 if precisions else None
