"""The processor's flags that matter to torch and bitsandbytes, read from what Linux says of it."""

X86_FLAGS = (
    "f16c",
    "fma",
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
)
ARM_FLAGS = ("asimd", "bf16", "i8mm", "sve")
_X86 = frozenset({"x86_64", "amd64", "i386", "i686"})
_ARM = frozenset({"aarch64", "arm64"})


def is_x86(architecture: str) -> bool:
    """Whether `platform.machine()` names an x86 processor."""
    return architecture.lower() in _X86


def cpu_flags(cpuinfo: str, architecture: str) -> dict[str, bool]:
    """Of each flag that matters on that architecture, whether every processor in the text of /proc/cpuinfo has it.

    Empty where the text has no flags, and for other architectures.
    """
    name, wanted = ("flags", X86_FLAGS) if is_x86(architecture) else ("Features", ARM_FLAGS)
    if not is_x86(architecture) and architecture.lower() not in _ARM:
        return {}
    found = [set(value.split()) for key, value in _fields(cpuinfo) if key == name]
    return {flag: all(flag in flags for flags in found) for flag in wanted} if found else {}


def cpu_name(cpuinfo: str) -> str:
    """The first processor's name in the text of /proc/cpuinfo; empty where there is none, as on ARM."""
    return next((value for key, value in _fields(cpuinfo) if key == "model name"), "")


def _fields(cpuinfo: str) -> list[tuple[str, str]]:
    pairs = (line.partition(":") for line in cpuinfo.splitlines())
    return [(key.strip(), value.strip()) for key, _, value in pairs]
