"""Numbers in bulk, on the wire and in files."""

from array import array
from collections.abc import Sequence

import msgspec


class Floats(msgspec.Struct, frozen=True, array_like=True):
    """Numbers in single precision, little-endian: small in a message, and in a file as base64."""

    data: bytes

    @classmethod
    def of(cls, values: Sequence[float]) -> "Floats":
        return cls(array("f", values).tobytes())

    def __len__(self) -> int:
        return len(self.data) // 4

    @property
    def values(self) -> "array[float]":
        """The numbers. Raises ValueError for data that is none."""
        found = array("f")
        found.frombytes(self.data)
        return found


class Counts(msgspec.Struct, frozen=True, array_like=True):
    """Whole numbers of 64 bits, little-endian. Single precision has no place for each one above 16,777,216."""

    data: bytes

    @classmethod
    def of(cls, values: Sequence[int]) -> "Counts":
        return cls(array("q", values).tobytes())

    def __len__(self) -> int:
        return len(self.data) // 8

    @property
    def values(self) -> "array[int]":
        """The numbers. Raises ValueError for data that is none."""
        found = array("q")
        found.frombytes(self.data)
        return found
