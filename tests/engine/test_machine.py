"""Devices that this machine may lack: the calls made for them, checked by device name."""

import pytest
import torch
from msgspec.structs import replace

from qplayground.core.placement import Placement
from qplayground.engines.transformers.loading import load
from qplayground.engines.transformers.loading.load import load_model
from qplayground.engines.transformers.machine import devices
from tests.engine import tiny
from tests.engine.conftest import ModelFolder


def test_apples_gpu_is_not_taken_for_the_processor_that_it_is_a_part_of() -> None:
    names = {devices.processor_name(torch.device(device)) for device in ("cpu", "mps")}
    assert len(names) == 2


def test_every_gpu_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: waited.append(str(device)))
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waited.append("mps"))
    devices.synchronize_all(["cuda:1", "cpu", "disk", "cuda:0", "cuda:1", "mps"])
    assert waited == ["cuda:1", "cuda:0", "mps"]


def test_a_load_is_over_when_every_device_of_its_map_is_done(
    model_folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[str] = []
    monkeypatch.setattr(load, "synchronize_all", lambda devices: waited.extend(devices))
    placement = Placement(device="custom", modules={"": "cpu", "model.layers.0": "disk"})
    command = replace(tiny.load_command(model_folder("llama")), placement=placement)
    load_model(command, lambda phase: None, lambda label, done, total: None)
    assert set(waited) == {"cpu", "disk"}
