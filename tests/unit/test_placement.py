"""Requested placements: their parts, their descriptions, and what is refused on any machine."""

import argparse
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
from msgspec.structs import replace

from qplayground.console.arguments import placement_of
from qplayground.core.comparison.results import from_json, to_json
from qplayground.core.errors import ErrorCode, PlaygroundError
from qplayground.core.placement import (
    Block,
    Placement,
    computes_on_gpu,
    device_of,
    devices_in_order,
    held_bytes,
    is_cuda,
    is_gpu,
    main_device,
    moved,
    named_device,
    parse_max_memory,
    read_map,
)
from qplayground.core.precision import READY_PRECISIONS
from qplayground.core.system.machine import Machine
from qplayground.report.describe import machine_text, settings_text
from qplayground.report.html import to_html
from qplayground.report.markdown import to_markdown
from qplayground.runtime.comparison import request
from qplayground.runtime.comparison.request import as_run_on, check_devices, needs_machine
from qplayground.runtime.machine import devices, gpus
from qplayground.runtime.machine.available import AvailableMemory
from qplayground.runtime.storage.leftovers import clear_leftovers
from qplayground.runtime.storage.offload_folders import OffloadFolders
from tests.comparisons import comparison, done

GIB = 1 << 30
MACHINE = Machine(
    python="", platform="", cpu="", cpu_capability="", cpu_threads=2, cpus=4, ram_total_bytes=1, versions={}
)


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("0=4GiB,cpu=8GiB", {"cuda:0": 4 * GIB, "cpu": 8 * GIB}),
        ("cuda:1=1.5GB", {"cuda:1": 1_500_000_000}),
        ("CPU = 300 MB", {"cpu": 300_000_000}),
        ("cpu=123B", {"cpu": 123}),
        ("cpu=0", {"cpu": 0}),
        ("cpu=2k", {"cpu": 2000}),
    ],
)
def test_limits_are_read(text: str, limits: dict[str, int]) -> None:
    assert parse_max_memory(text) == limits


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4GiB",
        "0=",
        "0=much",
        "tpu=1GB",
        "disk=1GB",
        "cpu=-1",
        "cpu=1GB,",
        "cpu=300",
        "cpu=1MB,cpu=2MB",
        "0=1e9GB",
        "cpu=99999999999GB",
        f"cpu={10**40}",
    ],
)
def test_limits_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(PlaygroundError) as refused:
        parse_max_memory(text)
    assert refused.value.info.code is ErrorCode.BAD_DEVICE


@pytest.mark.parametrize(
    ("name", "is_called"), [(0, "cuda:0"), ("1", "cuda:1"), ("cuda", "cuda:0"), ("CPU", "cpu"), ("mps:0", "mps")]
)
def test_devices_have_one_name(name: object, is_called: str) -> None:
    assert named_device(name) == is_called


@pytest.mark.parametrize("name", ["", "gpu", "cuda:x", "disk", "auto", "cuda:-1", None])
def test_what_is_no_device_is_refused(name: object) -> None:
    with pytest.raises(PlaygroundError, match="is not the name of a device"):
        named_device(name)


def test_a_map_is_read_from_json() -> None:
    assert read_map(b'{"a": 0, "a.b": "cpu", "": "disk"}') == {"a": "cuda:0", "a.b": "cpu", "": "disk"}


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"a": 1.5}', b'{"a": null}', b"\xff", b'{"a": "tpu"}'])
def test_a_map_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(PlaygroundError):
        read_map(data)


@pytest.mark.parametrize(
    "placement",
    [
        Placement(device="gpu"),
        Placement(device="custom"),
        Placement(device="cpu", modules={"": "cpu"}),
        Placement(device="custom", modules={"": "tpu"}),
        Placement(device="cpu", max_memory={"cpu": 1}),
        Placement(max_memory={"disk": 1}),
        Placement(max_memory={"cpu": -1}),
        Placement(max_memory={"cpu": 10**30}),
        Placement(threads=0),
        Placement(offload_folder="\ud800"),
    ],
)
def test_what_cannot_be_anywhere_is_refused(placement: Placement) -> None:
    with pytest.raises(PlaygroundError):
        placement.checked()


def test_the_longest_name_above_decides() -> None:
    modules = {"": "cpu", "model.layers": "cuda:0", "model.layers.1": "disk"}
    assert device_of("model.layers.1.mlp", modules) == "disk"
    assert device_of("model.layers.10.mlp", modules) == "cuda:0"
    assert device_of("lm_head", modules) == "cpu"
    assert device_of("lm_head", {"model": "cpu"}) is None


def test_what_moved_is_told_by_the_finer_maps_names() -> None:
    whole, split = {"": "cpu"}, {"a": "cpu", "b.0": "disk", "b.1": "cpu"}
    assert moved(whole, split) == {"b.0": ("cpu", "disk")} and moved(split, whole) == {"b.0": ("disk", "cpu")}
    assert moved(whole, {"": "disk"}) == {"": ("cpu", "disk")}
    assert moved({}, split) == moved(split, {}) == moved(split, split) == {}


def test_the_first_gpu_computes_and_without_one_the_processor() -> None:
    assert devices_in_order(["disk", "cuda:10", "cpu", "cuda:2", "cpu"]) == ["cuda:2", "cuda:10", "cpu", "disk"]
    assert main_device(["disk", "cpu", "cuda:1"]) == "cuda:1"
    assert main_device(["disk"]) == main_device(["disk", "cpu"]) == "cpu"


def test_what_stays_unquantized_counts_as_that() -> None:
    blocks = [Block("a", 10, 40), Block("b", 10, 40), Block("c", 10, 40)]
    assert held_bytes(blocks, ["cuda:0", "cuda:0", "cpu"], quantized=True) == {"cuda:0": 20, "cpu": 40}
    assert held_bytes(blocks, ["cpu"] * 3, quantized=True) == {"cpu": 30}
    assert held_bytes(blocks, ["cpu", "cpu", "disk"], quantized=False) == {"cpu": 80, "disk": 40}


def test_what_this_machine_lacks_is_refused() -> None:
    check_devices(Placement(device="cpu", threads=4), MACHINE)
    for placement in (
        Placement(device="cuda:0"),
        Placement(device="mps"),
        Placement(max_memory={"cuda:0": 1}),
        Placement(device="custom", modules={"": "cpu", "a": "cuda:0"}),
        Placement(threads=5),
    ):
        with pytest.raises(PlaygroundError):
            check_devices(placement, MACHINE)


def test_a_gpu_without_bfloat16_is_torchs_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = READY_PRECISIONS
    own = replace(ready[-1], name="mine")
    old = replace(MACHINE, gpus=("An old one",), bfloat16=False)
    on_cpu = Placement(device="custom", modules={"": "cpu", "a": "disk"})
    assert as_run_on(MACHINE, Placement(), ready) == ready
    for placement in (Placement(device="cpu"), on_cpu):
        assert as_run_on(old, placement, ready) == ready
    found = as_run_on(old, Placement(), (*ready, own))
    assert found == (*(precision.without_bfloat16() for precision in ready), own) != (*ready, own)
    monkeypatch.setattr(request, "list_gpus", list)
    assert not needs_machine(Placement(), ready) and needs_machine(Placement(device="cuda:0"), ready)
    monkeypatch.setattr(request, "list_gpus", lambda: ["the driver's"])
    assert needs_machine(Placement(), ready) and not needs_machine(Placement(), ready[:3])
    assert not needs_machine(Placement(device="cpu"), ready)


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = gpus.Gpu(index=0, name="Pretended", total_bytes=8 * GIB, free_bytes=4 * GIB, bfloat16=True)
    monkeypatch.setattr(devices, "list_gpus", lambda: [gpu])
    monkeypatch.setattr(devices, "available_memory", lambda: AvailableMemory(3 * GIB, 9 * GIB))


@pytest.mark.usefixtures("pretended")
def test_limits_are_what_is_free_unless_others_are_set() -> None:
    free = devices.weight_limits(Placement(), 1)
    assert free["cpu"] == 3 * GIB and 3 * GIB < free["cuda:0"] < 4 * GIB
    assert devices.weight_limits(Placement(), 0) == {"cpu": 3 * GIB}  # the driver reports one, but torch cannot use it
    assert devices.weight_limits(Placement(max_memory={"cuda:0": 7}), 1) == {"cuda:0": 7, "cpu": 3 * GIB}
    assert devices.weight_limits(Placement(device="cpu"), 1) == {}
    assert devices.weight_limits(Placement(device="custom", modules={"": "cpu"}), 1) == {}


@pytest.mark.parametrize(
    ("visible", "indices"),
    [(None, [0, 1, 2]), ("2,0", [2, 0]), ("", []), ("1,9,0", [1]), ("GPU-c", [2]), ("GPU-b,0", [1, 0]), ("-1", [])],
)
def test_gpus_are_those_that_cuda_sees(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, indices: list[int]
) -> None:
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    driver: dict[str, Any] = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 3,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetUUID": lambda index: f"GPU-{'abc'[index]}123",
        "nvmlDeviceGetMemoryInfo": lambda index: SimpleNamespace(total=10, free=index),
        "nvmlDeviceGetName": lambda index: b"GPU",
        "nvmlDeviceGetCudaComputeCapability": lambda index: (8, 0),
    }
    for name, answer in driver.items():
        monkeypatch.setattr(pynvml, name, answer)
    found = gpus.list_gpus()
    assert [gpu.free_bytes for gpu in found] == indices
    assert [gpu.index for gpu in found] == list(range(len(indices)))


def arguments(**changes: Any) -> argparse.Namespace:
    given = {"device_map": "auto", "max_memory": None, "offload_folder": None, "threads": None}
    return argparse.Namespace(**{**given, **changes})


def test_the_command_lines_words_become_a_placement(tmp_path: Path) -> None:
    file = tmp_path / "map.json"
    file.write_text('{"": 0}')
    assert placement_of(arguments(device_map=str(file))) == Placement(device="custom", modules={"": "cuda:0"})
    assert placement_of(arguments(device_map="balanced", max_memory="cpu=1MB", threads=2)) == Placement(
        device="balanced", max_memory={"cpu": 1_000_000}, threads=2
    )
    with pytest.raises(PlaygroundError, match="cannot be read"):
        placement_of(arguments(device_map=str(tmp_path / "none.json")))
    with pytest.raises(PlaygroundError, match="not the name of a device"):
        placement_of(arguments(device_map="sequential"))


def test_offload_folders_go_with_their_engines(tmp_path: Path) -> None:
    others = [tmp_path / f"qplayground-offload-{name}" for name in ("backup", "999999999-nf4", f"{9**30}-x")]
    for folder in others:
        folder.mkdir()
    folders, placement = OffloadFolders(), Placement(offload_folder=str(tmp_path))
    made = {name: Path(folders.folder(placement, name)) for name in ("fp32", "bf16")}
    assert all(folder.exists() for folder in others)  # nothing is deleted in the user's own folder
    for folder in made.values():
        folder.mkdir()
    folders.clear("fp32")
    assert not made["fp32"].exists() and made["bf16"].exists()
    folders.clear_all()
    assert not made["bf16"].exists() and all(folder.exists() for folder in others)


def test_what_a_killed_program_left_in_the_cache_is_cleared_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QPLAYGROUND_CONFIG", str(tmp_path))
    mine = Path(OffloadFolders().folder(Placement(), "nf4"))
    ended = mine.with_name(mine.name.replace(f"-{os.getpid()}-", "-999999999-"))
    machine = ended.name.split("-")[2]
    another = ("1" if machine[0] == "0" else "0") + machine[1:]
    elsewhere = mine.with_name(ended.name.replace(machine, another))
    for folder in (mine, ended, elsewhere):
        folder.mkdir(parents=True)
    clear_leftovers.cache_clear()
    clear_leftovers().join()
    assert mine.exists() and elsewhere.exists() and not ended.exists()


def test_reports_say_how_it_was_placed() -> None:
    shown = comparison(done())
    assert "placement" not in settings_text(shown)
    for device, name in (("cpu", "CPU"), ("cuda:0", "GPU 0"), ("balanced", "balanced")):
        shown.device, shown.placement = device, Placement(device=device)
        assert settings_text(shown).endswith(f", placement: {name}")
    shown.placement = Placement()  # earlier versions saved only the device
    assert shown.placed == "balanced"
    shown.device, shown.placement = "custom", Placement(device="custom", modules={"": "cpu"})
    assert settings_text(shown).endswith(", placement: by hand")
    shown.device, shown.placement = "auto", Placement(max_memory={"cpu": 300_000_000}, threads=1)
    assert settings_text(shown).endswith("placement: auto, at most 300 MB on cpu, 1 thread")
    shown.placement_name = "a | small | one"
    said = "a | small | one (auto, at most 300 MB on cpu, 1 thread)"
    assert said in settings_text(shown) and said in to_html(shown) and said.replace("|", "\\|") in to_markdown(shown)
    assert from_json(to_json(shown)).placed == said
    assert "1 threads" in machine_text(shown) or shown.environment is None


def test_what_is_a_gpu() -> None:
    assert all(map(is_gpu, ("cuda:0", "cuda:12", "mps"))) and not any(map(is_gpu, ("cpu", "disk")))
    assert is_cuda("cuda:1") and not is_cuda("mps")
    assert computes_on_gpu(["cpu", "mps", "disk"]) and not computes_on_gpu(["cpu", "disk"]) and not computes_on_gpu([])
