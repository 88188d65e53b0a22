"""How much memory can still be had: the system's, or what a container's limit leaves of it."""

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
"""By the version of control groups: the files of the limit and of what is used, and what statistics begin with."""


class AvailableMemory(NamedTuple):
    """Bytes that can be taken without swapping, of so many in all. `limited`: by a control group, a container's say."""

    available_bytes: int
    total_bytes: int
    limited: bool = False


def available_memory(groups: Path = Path("/proc/self/cgroup"), root: Path = _ROOT) -> AvailableMemory:
    """Of the system, or of the tightest control group (version 1 or 2) that this process is in.

    Pages of files that the group has cached can be dropped, and count as available.
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
    """The group's folder and those above it, each of which can limit. In a container its own is the mount's root."""
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
    except (OSError, ValueError):  # not there, or `max`
        return None
