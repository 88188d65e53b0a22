"""Available memory of the system, or of the container that limits it."""

import sys
from pathlib import Path
from typing import NamedTuple

import psutil

_ROOT = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60
_FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    2: ("memory.max", "memory.current", ""),
}
"""By cgroup version: the limit file, the usage file, and the prefix of the keys in `memory.stat`."""


class AvailableMemory(NamedTuple):
    """Memory in bytes. `available_bytes` can be taken without swapping. `limited` by a cgroup, such as a container."""

    available_bytes: int
    total_bytes: int
    limited: bool = False


def available_memory(groups: Path = Path("/proc/self/cgroup"), root: Path = _ROOT) -> AvailableMemory:
    """Available memory of the system, or of the tightest cgroup (version 1 or 2) of this process.

    The cgroup's page cache counts as available, because the kernel can drop it.
    """
    system = psutil.virtual_memory()
    found = AvailableMemory(int(system.available), int(system.total))
    if sys.platform != "linux":
        return found
    for folder, version in _folders(groups, root):
        limit_file, used_file, prefix = _FILES[version]
        limit, used = _number(folder / limit_file), _number(folder / used_file)
        if limit is None or limit >= _UNLIMITED or used is None:
            continue
        cached = _statistics(folder)
        used -= cached.get(f"{prefix}active_file", 0) + cached.get(f"{prefix}inactive_file", 0)
        left = max(0, limit - used)
        if left < found.available_bytes or limit < found.total_bytes:
            found = AvailableMemory(min(left, found.available_bytes), min(limit, found.total_bytes), limited=True)
    return found


def _folders(groups: Path, root: Path) -> list[tuple[Path, int]]:
    """The cgroup's folder and its parents; each can set a limit. In a container, the mount's root is its own cgroup."""
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            base, version = root, 2
        elif "memory" in controllers.split(","):
            base, version = root / "memory", 1
        else:
            continue
        folder = base / path.strip("/")
        for place in (folder, *folder.parents):
            if place.is_relative_to(base):
                found.append((place, version))
    return found


def _statistics(folder: Path) -> dict[str, int]:
    try:
        pairs = (line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return {name: int(number) for name, number in pairs}
    except (OSError, ValueError):
        return {}


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # missing, or `max`
        return None
