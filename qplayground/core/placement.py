"""Where a model is asked to be: on one device, spread by itself over several, or by hand."""

import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from qplayground.core.errors import ErrorCode, ErrorInfo, fail
from qplayground.core.text import is_text
from qplayground.core.units import bytes_text

AUTO = "auto"
BALANCED = "balanced"
CUSTOM = "custom"
CPU = "cpu"
DISK = "disk"
MPS = "mps"

_NAMED = re.compile(r"cpu|mps|cuda:\d{1,3}")
_MEMORY = re.compile(r"(\d+(?:\.\d+)?) *(?:([KMGT])(i?)B?|B)?", re.IGNORECASE)
_MOST_BYTES = 10**18
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for.

    `device`: `auto` (NVIDIA's GPUs first, then RAM, then disk; without such a GPU and without a limit all of it in
    RAM), `balanced` (the GPUs evenly), one device (`cpu`, `mps`, `cuda:N`), or `custom`, where `modules` says it for
    each module's name and those below it. `max_memory`: at most so many bytes of weights on a device, for `auto` and
    `balanced`. `offload_folder`: where weights go that are on disk and cannot be read from the checkpoint in place;
    empty: the cache folder. `threads`: how many the processor computes with, all of them by default.
    """

    device: str = AUTO
    modules: dict[str, str] = {}
    max_memory: dict[str, int] = {}
    offload_folder: str = ""
    threads: int | None = None

    @property
    def is_single(self) -> bool:
        """Whether one device is asked for by its name."""
        return self.device not in (AUTO, BALANCED, CUSTOM)

    @property
    def same_weights(self) -> "Placement":
        """As far as it matters to where weights are: threads do not."""
        return msgspec.structs.replace(self, threads=None)

    def checked(self) -> "Placement":
        """Itself. Raises PlaygroundError(BAD_DEVICE) for what cannot be on any machine."""
        if self.device not in (AUTO, BALANCED, CUSTOM):
            named_device(self.device)
        if (self.device == CUSTOM) != bool(self.modules):
            raise fail(
                ErrorCode.BAD_DEVICE,
                "A placement by hand has a device for each module, and no other placement has.",
                "Give a map of modules, or choose another device.",
            )
        for device in self.modules.values():
            named_device(device, disk=True)
        for device, limit in self.max_memory.items():
            named_device(device)
            if not 0 <= limit <= _MOST_BYTES:
                raise fail(ErrorCode.BAD_DEVICE, f"{device} cannot hold {limit} bytes.", "Give 0 or more, up to 1 EB.")
        if self.max_memory and self.device not in (AUTO, BALANCED):
            how = "by hand" if self.device == CUSTOM else f"on {self.device}"
            sentence = f"Memory limits have no effect where modules are placed {how}."
            raise fail(ErrorCode.BAD_DEVICE, sentence, "Choose auto or balanced, or leave the limits out.")
        if self.threads is not None and self.threads < 1:
            raise fail(ErrorCode.BAD_SETTINGS, f"{self.threads} threads compute nothing.", "Give 1 or more.")
        if not is_text(self.offload_folder):
            raise fail(ErrorCode.BAD_SETTINGS, "The offload folder's name is not valid text.", "Rename it.")
        return self

    def __str__(self) -> str:
        """For people: `auto, at most 4.29 GB on cuda:0, 1 thread`; one device as `CPU`, `GPU 0`."""
        names = {CUSTOM: "by hand", CPU: "CPU", MPS: "Apple GPU"}
        parts = [names.get(self.device, self.device.replace("cuda:", "GPU "))]
        parts += [f"at most {bytes_text(limit)} on {device}" for device, limit in self.max_memory.items()]
        if self.threads is not None:
            parts.append(f"{self.threads} thread{'s' * (self.threads != 1)}")
        return ", ".join(parts)


class Block(msgspec.Struct, frozen=True):
    """A part of a model that stays together: a layer, an embedding. Bytes as the precision has it on a device that
    quantizes, and `plain_bytes` where nothing is quantized. `tied` names another block that shares its weight.
    """

    name: str
    num_bytes: int
    plain_bytes: int
    tied: str = ""


class PlacementPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a placement comes to for one precision: its blocks in the model's order, and each one's device.

    With a `problem` it cannot be loaded so; `caution` is what should be known of it. `rewritten_bytes`: of what is on
    disk, the weights that a load must write into the offload folder; all others are read where they are.
    """

    precision: str
    quantized: bool
    blocks: tuple[Block, ...] = ()
    devices: tuple[str, ...] = ()
    problem: ErrorInfo | None = None
    caution: str = ""
    rewritten_bytes: int = 0


def named_device(name: object, *, disk: bool = False) -> str:
    """A device's name as it is used here: `0` is `cuda:0`, `cuda` too. Raises PlaygroundError(BAD_DEVICE)."""
    text = str(name).strip().lower()
    if text.isdecimal() and len(text) <= 3:
        text = f"cuda:{int(text)}"
    text = {"cuda": "cuda:0", "mps:0": MPS}.get(text, text)
    if not (_NAMED.fullmatch(text) or (disk and text == DISK)):
        known = "cpu, mps, cuda:N" + (" or disk" if disk else "")
        raise fail(ErrorCode.BAD_DEVICE, f"{str(name)[:100]!r} is not the name of a device.", f"Name one of {known}.")
    return text


def parse_max_memory(text: str) -> dict[str, int]:
    """`0=4GiB,cpu=8GiB` as bytes by device. Raises PlaygroundError(BAD_DEVICE)."""
    limits: dict[str, int] = {}
    for part in text.split(","):
        name, separator, amount = part.partition("=")
        found = _MEMORY.fullmatch(amount.strip())
        base = 1024 if found is not None and found[3] else 1000
        size = 0.0 if found is None else float(found[1]) * base ** _POWERS[(found[2] or "").upper()]
        has_unit = found is not None and (amount.strip()[-1:].isalpha() or size == 0)
        if not separator or not has_unit or size > _MOST_BYTES:
            raise fail(
                ErrorCode.BAD_DEVICE,
                f"{part.strip()!r} is not a memory limit.",
                "Write it like 0=4GiB,cpu=8GiB; units are B, MB, MiB, GB, GiB, TB, TiB.",
            )
        device = named_device(name)
        if device in limits:
            raise fail(ErrorCode.BAD_DEVICE, f"{device} has two memory limits.", "Give one.")
        limits[device] = int(size)
    return limits


def read_map(data: bytes) -> dict[str, str]:
    """A map of modules as JSON: an object of names and devices. Raises PlaygroundError(BAD_FILE or BAD_DEVICE)."""
    try:
        found = msgspec.json.decode(data, type=dict[str, str | int])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise fail(
            ErrorCode.BAD_FILE,
            "The device map is not a JSON object of module names and devices.",
            'Write it like {"": "cpu", "model.layers.0": "disk"}, where "" stands for all the others.',
            str(error),
        ) from error
    if not found:
        raise fail(ErrorCode.BAD_FILE, "The device map is empty.", "Name a device for each module.")
    return {name: named_device(device, disk=True) for name, device in found.items()}


def device_of(name: str, modules: Mapping[str, str]) -> str | None:
    """The device of a module or tensor: that of the longest name above it. None where the map has none."""
    while name not in modules:
        if not name:
            return None
        name = name.rpartition(".")[0]
    return modules[name]


def moved(expected: Mapping[str, str], found: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Modules that are elsewhere than was expected, each with both devices; where one map is finer, by its names."""
    names = dict.fromkeys((*expected, *found))
    wider = {above for name in names for above in names_above(name)}
    places = {name: (device_of(name, expected), device_of(name, found)) for name in names if name not in wider}
    return {name: (one, other) for name, (one, other) in places.items() if one and other and one != other}


def names_above(name: str) -> Iterator[str]:
    """The modules that hold a module, the nearest first and `""`, the whole model, last."""
    while name:
        name = name.rpartition(".")[0]
        yield name


def is_cuda(device: str) -> bool:
    """Whether it is one of NVIDIA's GPUs, with memory that torch counts, and a context that takes some of it."""
    return device.startswith("cuda")


def is_gpu(device: str) -> bool:
    """Whether it is a GPU, NVIDIA's or Apple's."""
    return is_cuda(device) or device == MPS


def computes_on_gpu(devices: Iterable[str]) -> bool:
    """Whether a model with modules on those devices computes on a GPU; not where it is nowhere yet."""
    return any(is_gpu(device) for device in devices)


def devices_in_order(devices: Iterable[str]) -> list[str]:
    """Each once: GPUs by number, then the processor, then the disk."""
    order = {CPU: (2, 0), DISK: (3, 0), MPS: (1, 0)}
    return sorted(set(devices), key=lambda name: order.get(name) or (0, int(name.rpartition(":")[2])))


def main_device(devices: Iterable[str]) -> str:
    """Where a model with modules on those devices computes: its first GPU; without one the processor."""
    return devices_in_order(devices)[0] if devices_in_order(devices)[:1] != [DISK] else CPU


def stays_unquantized(device: str, devices: Iterable[str]) -> bool:
    """Whether quantizers leave modules there unquantized: on the processor or disk, where others are elsewhere."""
    return device in (CPU, DISK) and set(devices) != {CPU}


def held_bytes(blocks: Iterable[Block], devices: Iterable[str], *, quantized: bool) -> dict[str, int]:
    """What each device holds of the blocks; of a quantized precision what stays plain counts as that."""
    devices = tuple(devices)
    found = dict.fromkeys(devices_in_order(devices), 0)
    for block, device in zip(blocks, devices, strict=True):
        plain = not quantized or stays_unquantized(device, devices)
        found[device] += block.plain_bytes if plain else block.num_bytes
    return found
