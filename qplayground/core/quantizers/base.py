"""What every family of quantizers says of itself, to a person, a script and a machine's check-up."""

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Generic, NamedTuple, Self, TypeVar

import msgspec

from qplayground.core.dtype import Dtype
from qplayground.core.system.machine import Machine

Options = TypeVar("Options", bound="Quantizer", covariant=True)


class _Option(msgspec.Struct, frozen=True):
    name: str
    label: str
    explanation: str


class Number(_Option, frozen=True):
    """An option that is a number. `wrong` is what to do when something else was typed."""

    wrong: str = ""
    is_fixed: bool = False


class Choice(_Option, frozen=True):
    """An option that is one of a few."""

    values: tuple[str, ...]
    is_fixed: bool = False


class Switch(_Option, frozen=True):
    """An option that is on or off."""

    is_fixed: bool = False


Option = Number | Choice | Switch
"""One option, for the editor that is made of these; `is_fixed` in a ready precision, which is named after it."""


class ConfigCall(NamedTuple):
    """How a script makes transformers' configuration: the class, its arguments, and the names of some of them.

    `imports` are lines beside the import from transformers. `split_arguments` are added where parts are not on one
    device.
    """

    config_class: str
    arguments: tuple[str, ...]
    skips_argument: str
    split_arguments: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()


class Place(NamedTuple):
    """Where a run computed: on a GPU or not, and what its engine said of the machine."""

    on_gpu: bool
    machine: Machine | None


class ReadyPrecision(NamedTuple, Generic[Options]):
    """A precision that is always offered. `hue` and `line` are those of `hues`."""

    name: str
    label: str
    dtype: Dtype
    options: Options | None
    hue: str
    line: int


class Method(msgspec.Struct, frozen=True):
    """A way of storing one weight matrix in few bits, which can be looked inside.

    `name` is in messages, files and on the command line, `bits` those of a code. `hue` is one of `hues`, `symbol` a dot
    of its curve as pyqtgraph names it. `block_sizes`: how many weights can share a scale, None for all of the matrix;
    empty where each row has one. `double`: how the scales can be quantized too, for a person; empty where they cannot.
    `is_contrast`: no model is loaded so.
    """

    name: str
    label: str
    bits: int
    hue: str
    symbol: str
    block_sizes: tuple[int | None, ...] = ()
    double: str = ""
    is_contrast: bool = False

    @property
    def has_blocks(self) -> bool:
        """Whether a block size means anything to it."""
        return bool(self.block_sizes)


class _Meta(msgspec.StructMeta, ABCMeta):
    """A struct whose methods can be abstract."""


class Quantizer(msgspec.Struct, frozen=True, metaclass=_Meta):
    """The options of a family. A subclass has a `tag`, under which its half in the engine is found.

    `library` is the Python package that carries it out, `title` what the editor calls the family.
    """

    title: ClassVar[str]
    library: ClassVar[str]
    oldest_library: ClassVar[str] = ""
    """Its oldest version that will do, where pip may bring an older one."""
    options: ClassVar[tuple[Option, ...]] = ()
    methods: ClassVar[tuple[Method, ...]] = ()
    """How it stores a matrix, and what that can be compared with by the same library."""
    splits_outliers: ClassVar[bool] = False
    """Whether it computes the input columns of large values apart, as LLM.int8() does."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What weights of that kind are called in a sentence."""

    @abstractmethod
    def summary(self, rest: Dtype) -> str:
        """What it does, in a few words; `rest` is the type of what is not quantized."""

    def problem(self) -> str:
        """What is wrong with the options, as a sentence; empty where nothing is."""
        return ""

    def without_bfloat16(self) -> Self:
        """The same for a machine that cannot compute in bfloat16."""
        return self

    @abstractmethod
    def call(self) -> ConfigCall:
        """How a script asks transformers for it."""

    def skip_patterns(self, modules: Sequence[str]) -> list[str]:
        """What transformers is told, so that its quantizer leaves these modules alone."""
        return list(modules)

    @abstractmethod
    def why_slower(self, place: Place) -> str:
        """Why it can decode more slowly there than 16 bits do: the rest of "slower: …"."""

    def why_not_smaller(self, place: Place) -> str:
        """A sentence on why it holds more there than its options promise; empty where it does not."""
        return ""

    def no_speed(self, place: Place) -> str:
        """A sentence on why it is not faster there whatever was measured; empty where that is not so."""
        return ""

    @property
    def identity(self) -> tuple[object, ...]:
        """What a precision is named after: the options that are fixed in a ready one."""
        return tuple(getattr(self, option.name) for option in self.options if option.is_fixed)
