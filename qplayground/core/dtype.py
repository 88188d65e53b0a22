"""The floating point formats that weights can be held in."""

from enum import StrEnum


class Dtype(StrEnum):
    """A floating point format that weights can be held in, by torch's name for it."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"

    @property
    def itemsize(self) -> int:
        """Bytes an element."""
        return 4 if self is Dtype.FLOAT32 else 2
