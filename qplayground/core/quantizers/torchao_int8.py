"""torchao's int8 weights."""

from collections.abc import Sequence
from typing import ClassVar

from qplayground.core.dtype import Dtype
from qplayground.core.quantizers.base import ConfigCall, Method, Place, Quantizer, ReadyPrecision


class TorchaoInt8(Quantizer, frozen=True, tag="torchao-int8"):
    """torchao's `Int8WeightOnlyConfig`: linear weights as int8 with one scale a row, products in the rest's type."""

    title: ClassVar[str] = "8-bit, torchao"
    library: ClassVar[str] = "torchao"
    oldest_library: ClassVar[str] = "0.18"
    methods: ClassVar[tuple[Method, ...]] = (Method("int8-ao", "INT8 torchao", 8, "orange", "x"),)

    @property
    def name(self) -> str:
        return "torchao INT8"

    def summary(self, rest: Dtype) -> str:
        return f"int8 · rest and compute {rest}"

    def call(self) -> ConfigCall:
        return ConfigCall(
            "TorchAoConfig",
            ("Int8WeightOnlyConfig(version=2, set_inductor_config=False)",),
            "modules_to_not_convert",
            imports=("from torchao.quantization import Int8WeightOnlyConfig",),
        )

    def skip_patterns(self, modules: Sequence[str]) -> list[str]:
        """transformers matches them with the names of weights here, so an ending must be one of these."""
        return [pattern for module in modules for pattern in (module, f"{module}.weight")]

    def why_slower(self, place: Place) -> str:
        return "torchao casts every int8 weight to the type of the inputs at every token, in a pass of its own."


READY = (ReadyPrecision("int8-ao", "INT8 torchao", Dtype.BFLOAT16, TorchaoInt8(), "orange", 1),)
