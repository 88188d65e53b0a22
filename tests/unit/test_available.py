"""Available memory is the smallest of the system's and every control group's limit, versions 1 and 2."""

from pathlib import Path

import psutil
import pytest

from qplayground.runtime.machine.available import available_memory

MB = 1_000_000
pytestmark = pytest.mark.skipif(not Path("/proc/self/cgroup").exists(), reason="control groups are Linux's")


def group(tmp_path: Path, version: int, path: str, limit: str, used: int, cached: int = 0) -> Path:
    folder = tmp_path / ("memory" if version == 1 else "") / path
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    prefix = "" if version == 2 else "total_"
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"{prefix}active_file {cached}\n{prefix}inactive_file {cached}\n")
    return folder


def groups(tmp_path: Path, *lines: str) -> Path:
    file = tmp_path / "cgroup"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


@pytest.mark.parametrize(("version", "line"), [(1, "4:memory:/inner"), (1, "4:cpu,memory:/inner"), (2, "0::/inner")])
def test_a_limit_counts_less_what_is_used_but_cached_files(tmp_path: Path, version: int, line: str) -> None:
    group(tmp_path, version, "inner", str(100 * MB), 70 * MB, cached=10 * MB)
    found = available_memory(groups(tmp_path, "9:name=systemd:/", line), tmp_path)
    assert found == (50 * MB, 100 * MB, True)


@pytest.mark.parametrize("version", [1, 2])
def test_the_tightest_of_all_groups_above_counts(tmp_path: Path, version: int) -> None:
    group(tmp_path, version, "outer/inner", str(100 * MB), 10 * MB)
    group(tmp_path, version, "outer", str(90 * MB), 60 * MB)
    line = "0::/outer/inner" if version == 2 else "4:memory:/outer/inner"
    assert available_memory(groups(tmp_path, line), tmp_path) == (30 * MB, 90 * MB, True)


def test_inside_a_container_the_mount_is_the_group(tmp_path: Path) -> None:
    group(tmp_path, 2, "", str(80 * MB), 30 * MB)
    assert available_memory(groups(tmp_path, "0::/not/mounted/here"), tmp_path) == (50 * MB, 80 * MB, True)


def test_more_used_than_allowed_leaves_nothing(tmp_path: Path) -> None:
    group(tmp_path, 2, "", str(80 * MB), 90 * MB)
    assert available_memory(groups(tmp_path, "0::/"), tmp_path).available_bytes == 0


@pytest.mark.parametrize("limit", ["max", "9223372036854771712", ""])
def test_without_a_limit_it_is_the_system_that_counts(tmp_path: Path, limit: str) -> None:
    group(tmp_path, 2, "", limit, 10 * MB)
    found = available_memory(groups(tmp_path, "0::/"), tmp_path)
    assert not found.limited
    assert found.total_bytes == psutil.virtual_memory().total
    assert 0 < found.available_bytes <= found.total_bytes


def test_a_system_without_control_groups(tmp_path: Path) -> None:
    assert not available_memory(tmp_path / "nothing", tmp_path).limited
