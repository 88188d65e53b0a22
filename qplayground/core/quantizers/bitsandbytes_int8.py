"""bitsandbytes' LLM.int8()."""

from typing import ClassVar

from qplayground.core.dtype import Dtype
from qplayground.core.quantizers.base import ConfigCall, Method, Number, Option, Place, ReadyPrecision
from qplayground.core.quantizers.bitsandbytes import Bitsandbytes, by_block, config_call


class Int8(Bitsandbytes, frozen=True, tag="int8"):
    """LLM.int8(): linear weights as int8 with one scale a row.

    Input columns with a magnitude above `threshold` are computed in 16 bits; 0 turns that path off.
    """

    title: ClassVar[str] = "8-bit, LLM.int8()"
    splits_outliers: ClassVar[bool] = True
    methods: ClassVar[tuple[Method, ...]] = (
        Method("int8", "INT8 by row", 8, "orange", "star"),
        by_block("int8-block", "INT8 by block", 8, "sky blue", "s", is_contrast=True),
    )
    options: ClassVar[tuple[Option, ...]] = (
        Number(
            "threshold",
            "Outlier t&hreshold",
            "Input columns with a larger value are computed in 16 bits; 0 turns that off. "
            "There is no 8-bit compute format to choose: bitsandbytes ignores one.",
            wrong="0 turns it off.",
        ),
    )

    threshold: float = 6.0

    @property
    def name(self) -> str:
        return "INT8"

    def summary(self, rest: Dtype) -> str:
        return f"int8 · outliers > {self.threshold:g} · rest {rest}"

    def problem(self) -> str:
        if 0 <= self.threshold < 1e6:
            return ""
        return f"The int8 outlier threshold must be 0 or more, not {self.threshold:g}."

    def call(self) -> ConfigCall:
        return config_call(f"llm_int8_threshold={self.threshold!r}", "load_in_8bit=True")

    def why_slower(self, place: Place) -> str:
        apart = ", and columns with outliers are computed apart in 16 bits" if self.threshold else ""
        where = "in several kernels a layer" if place.on_gpu else "without a fused kernel on this processor"
        return f"LLM.int8() quantizes the activations of every layer at every token{apart}, {where}."


READY = (ReadyPrecision("int8", "INT8", Dtype.BFLOAT16, Int8(), "orange", 3),)
