"""Placement of a model's parts: the preview against accelerate's own answer, loads against the preview."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import accelerate
import bitsandbytes
import pytest
import torch
import transformers.modeling_utils
from msgspec.structs import replace
from transformers import AutoModelForCausalLM

from qplayground.catalog.headers import read_header
from qplayground.core.errors import ErrorCode, PlaygroundError
from qplayground.core.messages.commands import EstimateMemory, Generate, PlanPlacement
from qplayground.core.messages.events import Failed, Loaded, MemoryEstimated, PlacementPlanned
from qplayground.core.placement import CPU, CUSTOM, DISK, Placement, held_bytes, named_device
from qplayground.core.precision import READY_PRECISIONS
from qplayground.engines.transformers.loading.accounting import kinds_by_device, weight_bytes
from qplayground.engines.transformers.loading.load import load_model
from qplayground.engines.transformers.loading.residency import make_resident
from qplayground.engines.transformers.loading.verify import verify_loaded
from qplayground.engines.transformers.model.shapes import Shapes
from qplayground.engines.transformers.prediction.estimating import weights_by_module
from qplayground.engines.transformers.prediction.placement import (
    block_names,
    by_device,
    caution,
    converted_layers,
    device_map,
)
from qplayground.engines.transformers.quantizers.registry import configuration
from tests.daily import daily
from tests.engine import tiny
from tests.engine.conftest import ModelFolder, carry_out, load_quietly, tokens_of

FAMILIES = ("llama", "gpt2", "gemma2", "qwen2-untied", "mixtral", "opt")
READY = {precision.name: precision for precision in READY_PRECISIONS}
SPLITS = [name for name in READY if name != "int8-ao"]


class _AnsweredError(Exception):
    pass


@pytest.fixture
def accelerates_answer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a load with `device_map="auto"` and these limits would do, taken from the load itself."""

    def ask(folder: Path, precision: str, device: str, limits: Mapping[str, int]) -> dict[str, str]:
        found: dict[str, Any] = {}
        original = transformers.modeling_utils._get_device_map

        def remember(*arguments: Any) -> Any:
            found.update(original(*arguments))
            raise _AnsweredError

        monkeypatch.setattr(transformers.modeling_utils, "_get_device_map", remember)
        recipe = READY[precision]
        skips = Shapes.read(folder).default_skips
        with pytest.raises(_AnsweredError):
            AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=getattr(torch, recipe.dtype),
                quantization_config=configuration(recipe, skips, offloads=True),
                device_map=device,
                max_memory={int(name[5:]) if name.startswith("cuda") else name: size for name, size in limits.items()},
            )
        monkeypatch.undo()
        return {name: named_device(place, disk=True) for name, place in found.items()}

    return ask


def whole(found: dict[str, str]) -> dict[str, str]:
    """A map with one device everywhere, as a single entry."""
    places = set(found.values())
    return {"": places.pop()} if len(places) == 1 and DISK not in found.values() else found


@pytest.mark.parametrize("device", ["auto", "balanced"])
@pytest.mark.parametrize("precision", SPLITS)
@pytest.mark.parametrize("family", daily(FAMILIES, "llama", "gpt2"))
def test_the_preview_is_accelerates_own_answer(
    model_folder: ModelFolder, accelerates_answer: Any, family: str, precision: str, device: str
) -> None:
    folder = model_folder(family)
    shapes = Shapes.read(folder)
    size = sum(kinds.total for kinds in weights_by_module(shapes, READY[precision], {"": "cuda:0"}).values())
    seen = []
    for share, second, ram in ((9, 0, 9), (0.9, 0, 9), (0.7, 0.5, 9), (0.6, 0, 0.3), (0.01, 0, 9)):
        limits = {"cuda:0": int(share * size), "cpu": int(ram * size)}
        if second:
            limits["cuda:1"] = int(second * size)
        answer = whole(accelerates_answer(folder, precision, device, limits))
        try:
            found = device_map(shapes, READY[precision], Placement(device=device, max_memory=limits), limits)
        except PlaygroundError as error:
            assert error.info.code is ErrorCode.BAD_DEVICE
            assert not converted_layers(shapes, READY[precision], answer)
            continue
        assert found == answer
        seen.append(tuple(sorted(set(found.values()))))
    assert ("cuda:0",) in seen and len(set(seen)) > 1


@pytest.mark.parametrize("family", FAMILIES)
def test_and_that_of_accelerate_alone(model_folder: ModelFolder, family: str) -> None:
    shapes = Shapes.read(model_folder(family))
    skeleton = shapes.skeleton(READY["bf16"].dtype)
    size = sum(kinds.total for kinds in weights_by_module(shapes, READY["bf16"], {"": CPU}).values())
    limits = {"cuda:0": size // 2, "cpu": 10 * size}
    found = device_map(shapes, READY["bf16"], Placement(max_memory=limits), limits)
    theirs = accelerate.infer_auto_device_map(
        skeleton,
        max_memory={0: limits["cuda:0"], "cpu": limits["cpu"]},
        no_split_module_classes=list(skeleton._no_split_modules or ()),
    )
    assert found == {name: named_device(place, disk=True) for name, place in theirs.items()}


def test_without_a_gpu_and_a_limit_all_of_it_goes_to_ram(
    model_folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This holds however little RAM is free. Only a limit that the user sets sends a part to disk."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    shapes, little = Shapes.read(model_folder("llama")), {CPU: 1000}
    assert device_map(shapes, READY["fp32"], Placement(), little) == {"": CPU}
    assert DISK in device_map(shapes, READY["fp32"], Placement(max_memory=little), little).values()


@pytest.mark.parametrize("precision", daily(["fp32", "bf16", "fp16"], "bf16"))
@pytest.mark.parametrize("family", daily(FAMILIES, "llama", "gpt2"))
def test_weights_on_disk_give_the_same_tokens_and_take_what_was_predicted(
    model_folder: ModelFolder, tmp_path: Path, family: str, precision: str
) -> None:
    folder = model_folder(family)
    command = tiny.load_command(folder, precision)
    size = sum(kinds.total for kinds in weights_by_module(Shapes.read(folder), READY[precision], {"": CPU}).values())
    limits = {"cpu": int(0.8 * size)}
    away = replace(
        command, placement=Placement(max_memory=limits, offload_folder=str(tmp_path / "offload")), limits=limits
    )
    generate = Generate(id=2, request=command.request)
    here, there = carry_out(command, generate), carry_out(away, generate)
    loaded = next(event for event in there if isinstance(event, Loaded))
    assert loaded.estimate is not None and not loaded.unforeseen
    assert loaded.by_device == loaded.estimate.by_device and loaded.by_device[DISK].total
    assert sum(kinds.total for kinds in loaded.by_device.values()) == loaded.weight_bytes == size
    assert DISK in loaded.device_map.values() and loaded.device_map == loaded.estimate.device_map
    assert [token.id for token in tokens_of(here)] == [token.id for token in tokens_of(there)]


@pytest.mark.parametrize(("family", "writes"), [("llama", False), ("gpt2", False), ("mixtral", True)])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_a_load_writes_into_the_offload_folder_is_known_before(
    model_folder: ModelFolder, tmp_path: Path, family: str, writes: bool, precision: str
) -> None:
    """Only parts that are not one tensor of the checkpoint are written, such as a mixture's experts. Another dtype is
    not a reason.
    """
    folder, away = model_folder(family), tmp_path / "offload"
    shapes = Shapes.read(folder)
    size = sum(kinds.total for kinds in weights_by_module(shapes, READY[precision], {"": CPU}).values())
    limits = {CPU: int(0.3 * size)}
    placement = Placement(max_memory=limits, offload_folder=str(away))
    asked = PlanPlacement(id=1, path=str(folder), precisions=(READY[precision],), placement=placement, limits=limits)
    [planned] = [event for event in carry_out(asked) if isinstance(event, PlacementPlanned)]
    load_model(
        replace(tiny.load_command(folder, precision), placement=placement, limits=limits),
        lambda phase: None,
        lambda label, done, total: None,
    )
    written = [info for file in away.glob("*.safetensors") for info in read_header(file).values()]
    assert planned.plans[0].rewritten_bytes == sum(
        end - begin for begin, end in (each.data_offsets for each in written)
    )
    assert bool(written) is writes and DISK in planned.plans[0].devices


@pytest.mark.parametrize("places", [("cuda:0", CPU), ("cuda:0", "cuda:1"), (CPU, DISK), ("cuda:0", DISK)])
def test_torchao_takes_a_model_in_one_place_alone(model_folder: ModelFolder, places: tuple[str, str]) -> None:
    shapes = Shapes.read(model_folder("llama"))
    modules = dict.fromkeys(block_names(shapes), places[0]) | {"model.layers.1": places[1]}
    with pytest.raises(PlaygroundError, match="quantizes a model that is in one place") as refused:
        device_map(shapes, READY["int8-ao"], Placement(device=CUSTOM, modules=modules), {})
    assert refused.value.info.code is ErrorCode.BAD_DEVICE


@pytest.mark.parametrize("precision", [name for name in SPLITS if READY[name].is_quantized])
def test_a_quantized_model_is_not_split_between_ram_and_disk(model_folder: ModelFolder, precision: str) -> None:
    limits = {"cpu": 100_000}
    events = carry_out(
        replace(
            tiny.load_command(model_folder("llama"), precision), placement=Placement(max_memory=limits), limits=limits
        )
    )
    failed = events[-1]
    assert isinstance(failed, Failed) and failed.error.code is ErrorCode.BAD_DEVICE
    assert "nothing would be quantized" in failed.error.message
    estimate = estimated(model_folder("llama"), precision, Placement(max_memory=limits), limits)
    assert estimate.problem == failed.error


def estimated(folder: Path, precision: str, placement: Placement, limits: dict[str, int]) -> Any:
    command = EstimateMemory(id=1, path=str(folder), precisions=(READY[precision],), placement=placement, limits=limits)
    answers = [event for event in carry_out(command) if isinstance(event, MemoryEstimated)]
    return answers[-1].estimates[0]


@pytest.mark.parametrize("precision", SPLITS)
def test_what_is_placed_beside_a_gpu_counts_as_it_stays(model_folder: ModelFolder, precision: str) -> None:
    folder = model_folder("llama")
    shapes, recipe = Shapes.read(folder), READY[precision]
    placed = dict.fromkeys(block_names(shapes), "cuda:0")
    layer = "model.layers.1"
    placed[layer] = CPU
    found = by_device(weights_by_module(shapes, recipe, placed), placed)
    plain = sum(p.numel() for p in shapes.skeleton(recipe.dtype).get_submodule(layer).parameters())
    assert found[CPU].total == found[CPU].plain == plain * recipe.dtype.itemsize
    assert not any(name.startswith(layer) for name in converted_layers(shapes, recipe, placed))
    custom = Placement(device="custom", modules=placed)
    estimate = estimated(folder, precision, custom, {})
    assert estimate.by_device == found and estimate.gpus == ("cuda:0",) and estimate.runtime_bytes is None
    assert ("stay unquantized" in estimate.caution) is recipe.is_quantized


def test_a_gpu_that_is_too_small_is_said_loudly(model_folder: ModelFolder) -> None:
    limits = {"cuda:0": 1000, "cpu": 1 << 30}
    for precision in READY:
        estimate = estimated(model_folder("llama"), precision, Placement(), limits)
        assert estimate.device_map == {"": CPU}
        assert "No GPU has room" in estimate.caution
    assert caution(Shapes.read(model_folder("llama")), READY["nf4"], {"": "cuda:0"}, limits) == ""


@pytest.mark.parametrize(
    ("modules", "said"),
    [
        ({"": "cpu", "model.layers.9": "disk"}, "no module of this model"),
        ({"model.layers": "cpu"}, "has no device for model.embed_tokens"),
        ({"": "cpu", "lm_head": "disk"}, "are one weight"),
        ({"": "cuda:0"}, "no device 'cuda:0'"),
    ],
)
def test_a_map_by_hand_that_cannot_be_is_refused(model_folder: ModelFolder, modules: dict[str, str], said: str) -> None:
    command = tiny.load_command(model_folder("gpt2" if "lm_head" in modules else "llama"))
    if "lm_head" in modules:
        modules = {**modules, "transformer": "cpu"}
    events = carry_out(replace(command, placement=Placement(device="custom", modules=modules)))
    failed = events[-1]
    assert isinstance(failed, Failed) and failed.error.code is ErrorCode.BAD_DEVICE
    assert said in failed.error.message


def test_a_map_by_hand_is_what_is_loaded(model_folder: ModelFolder) -> None:
    modules = {"": "cpu", "model.layers.0": "disk"}
    command = tiny.load_command(model_folder("llama"))
    (loaded,) = [
        event
        for event in carry_out(replace(command, placement=Placement(device="custom", modules=modules)))
        if isinstance(event, Loaded)
    ]
    assert loaded.device_map.pop("model.layers.0") == DISK
    assert set(loaded.device_map) >= {"model.embed_tokens", "model.layers.1"}
    assert set(loaded.device_map.values()) == {CPU} and loaded.by_device[DISK].total


def test_modules_with_buffers_alone_need_no_device(model_folder: ModelFolder) -> None:
    modules = {"model.embed_tokens": CPU, "model.layers": CPU, "model.norm": CPU, "lm_head": DISK}
    command = replace(
        tiny.load_command(model_folder("qwen2-untied")), placement=Placement(device="custom", modules=modules)
    )
    loaded = next(event for event in carry_out(command) if isinstance(event, Loaded))
    assert loaded.device_map["lm_head"] == DISK and loaded.device_map["model.rotary_emb"] == CPU
    assert estimated(model_folder("qwen2-untied"), "fp32", command.placement, {}).by_device == loaded.by_device


def test_another_placement_than_was_asked_for_is_found(model_folder: ModelFolder) -> None:
    model = load_quietly(model_folder("llama")).model
    with pytest.raises(PlaygroundError, match=r"lm_head\.weight on cpu instead of disk"):
        verify_loaded(model, {}, READY["fp32"], {"": CPU, "lm_head": DISK}, 0)


def test_weights_in_ram_for_a_model_that_computes_elsewhere_are_counted(model_folder: ModelFolder) -> None:
    """As beside a GPU, for which the CPU stands in."""
    model = AutoModelForCausalLM.from_pretrained(model_folder("llama"), dtype=torch.float32)
    size = weight_bytes(model)
    accelerate.cpu_offload(model, torch.device(CPU))
    assert next(model.parameters()).is_meta
    assert weight_bytes(model) == size and set(kinds_by_device(model)) == {CPU}
    model(input_ids=torch.tensor([[1, 2]]))
    assert make_resident(model, lambda *_: None) > 0.9 * size  # it was mapped from the file
    assert make_resident(model, lambda *_: None) == 0 and weight_bytes(model) == size


@pytest.mark.parametrize("family", FAMILIES)
def test_a_plan_has_every_byte_in_some_block(model_folder: ModelFolder, family: str) -> None:
    shapes = Shapes.read(model_folder(family))
    limits = {"cuda:0": 200_000, "cpu": 1 << 30}
    asked = tuple(precision for precision in READY_PRECISIONS if tiny.takes(family, precision))
    command = PlanPlacement(
        id=1, path=str(model_folder(family)), precisions=asked, placement=Placement(), limits=limits
    )
    (planned,) = carry_out(command)
    assert isinstance(planned, PlacementPlanned)
    for plan, precision in zip(planned.plans, asked, strict=True):
        assert [block.name for block in plan.blocks] == list(block_names(shapes))
        placed = dict(zip((block.name for block in plan.blocks), ["cuda:0"] * len(plan.blocks), strict=True))
        expected = by_device(weights_by_module(shapes, precision, placed), placed)
        assert held_bytes(plan.blocks, placed.values(), quantized=plan.quantized) == {
            device: kinds.total for device, kinds in expected.items()
        }
    assert {plan.devices for plan in planned.plans}


def test_threads_are_those_that_were_asked_for(model_folder: ModelFolder) -> None:
    command = tiny.load_command(model_folder("llama"))
    threads = torch.get_num_threads()
    try:
        carry_out(replace(command, placement=Placement(device="cpu", threads=1)))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)


def test_a_load_without_limits_asks_for_one_device(model_folder: ModelFolder) -> None:
    (loaded,) = [event for event in carry_out(tiny.load_command(model_folder("llama"))) if isinstance(event, Loaded)]
    assert loaded.device_map == {"": CPU}


@pytest.mark.parametrize("precision", ["int8", "nf4"])
def test_a_bitsandbytes_that_does_not_work_is_found_before_the_load(
    model_folder: ModelFolder, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    def missing(*_arguments: object) -> torch.Tensor:
        raise RuntimeError("libbitsandbytes_cuda999.so: cannot open shared object file")

    layer = bitsandbytes.nn.Linear4bit if precision == "nf4" else bitsandbytes.nn.Linear8bitLt
    monkeypatch.setattr(layer, "forward", missing)
    failed = carry_out(tiny.load_command(model_folder("llama"), precision))[-1]
    assert isinstance(failed, Failed) and failed.error.code is ErrorCode.UNSUPPORTED
    assert bitsandbytes.__version__ in failed.error.message and "packaging/constraints.txt" in failed.error.hint
    assert "cuda999" in failed.error.detail


def test_an_offload_folder_that_cannot_be_is_said(model_folder: ModelFolder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    placement = Placement(
        device="custom", modules={"": CPU, "model.layers.0": DISK}, offload_folder=str(tmp_path / "file" / "folder")
    )
    failed = carry_out(replace(tiny.load_command(model_folder("llama")), placement=placement))[-1]
    assert isinstance(failed, Failed) and "cannot be written" in failed.error.message
