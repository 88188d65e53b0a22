"""Reading a process's memory as the operating system counts it."""

import contextlib
import sys
from pathlib import Path

import msgspec
import psutil


class ProcessMemory(msgspec.Struct, frozen=True):
    """Resident memory of one process at one moment.

    `anonymous_bytes` is memory that exists only in RAM; `file_bytes` are pages of mapped files, which the system
    can drop. Their sum is the resident set size that `top` shows. Where the system does not tell them apart, all of
    it counts as anonymous.
    """

    anonymous_bytes: int
    file_bytes: int

    @property
    def resident_bytes(self) -> int:
        """Resident set size."""
        return self.anonymous_bytes + self.file_bytes


class PhasePeak(msgspec.Struct, frozen=True):
    """The highest resident set size of an engine in one phase of its work."""

    name: str
    peak_resident_bytes: int


class VramFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Memory of one GPU that one engine takes: allocated to tensors, reserved by torch for them, the most allocated.

    `driver_bytes` is all that the driver counts for the process, None where it does not tell (in a container, say).
    """

    allocated_bytes: int
    reserved_bytes: int
    peak_bytes: int
    driver_bytes: int | None = None

    @property
    def context_bytes(self) -> int | None:
        """CUDA's own share, which no tensor is in."""
        return None if self.driver_bytes is None else max(0, self.driver_bytes - self.reserved_bytes)


class MemorySample(msgspec.Struct, frozen=True):
    """One reading from outside an engine; `time_s` is `time.monotonic`, which all processes of a machine share.

    `vram`: bytes that the driver counts for it, by GPU.
    """

    time_s: float
    memory: ProcessMemory
    vram: dict[str, int] = {}


def read_process_memory(process: psutil.Process) -> ProcessMemory:
    """Read a process's resident memory. Raises psutil.NoSuchProcess once it has ended."""
    info = process.memory_info()
    file_bytes = info.shared if sys.platform == "linux" else 0
    return ProcessMemory(info.rss - file_bytes, file_bytes)


def shared_bytes() -> int:
    """What of the calling process's resident memory other processes hold too, and would not be given back by its end.

    0 where the system does not tell.
    """
    if sys.platform != "linux":
        return 0
    memory = psutil.Process().memory_full_info()
    return max(0, int(memory.rss) - int(memory.uss))


def peak_resident_bytes() -> int:
    """The highest resident set size that the calling process has had, as the kernel recorded it."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    if sys.platform == "linux":  # getrusage has the peak of the process that this one was before exec, too
        with contextlib.suppress(OSError, StopIteration):
            lines = Path("/proc/self/status").read_text().splitlines()
            return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def forget_peak() -> None:
    """Let the calling process's peak start again from what it holds now. Only Linux can; elsewhere nothing happens."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
