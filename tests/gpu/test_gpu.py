"""Tests for an NVIDIA GPU: tokens, accounting, placement and freed memory, on the first GPU."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from qplayground.core.errors import ErrorCode
from qplayground.core.generation import GenerationRequest, GenerationSettings
from qplayground.core.messages.commands import Generate, Load
from qplayground.core.messages.events import Event, Failed, Generated, Hello, Loaded, TokensGenerated
from qplayground.core.placement import CPU, DISK, Placement
from qplayground.core.precision import READY_PRECISIONS, Precision
from qplayground.engines.transformers.model.shapes import Shapes
from qplayground.engines.transformers.prediction.placement import block_names
from qplayground.engines.transformers.quantizers.registry import configuration
from qplayground.runtime.machine.devices import weight_limits
from qplayground.runtime.machine.gpus import list_gpus
from qplayground.runtime.processes.launcher import Launcher, fork_is_safe
from qplayground.runtime.processes.process import ChildProcess
from tests.engine import tiny

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")]

DEVICE = "cuda:0"
READY = {precision.name: precision for precision in READY_PRECISIONS}
REQUEST = GenerationRequest(prompt=tiny.PROMPT, settings=GenerationSettings(max_new_tokens=24))
GIVEN_BACK_BYTES = 5_000_000


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 100 million parameters with random weights: large enough for the allocator's rounding not to matter."""
    config = LlamaConfig(
        vocab_size=tiny.VOCABULARY,
        hidden_size=1024,
        intermediate_size=2816,
        num_hidden_layers=8,
        num_attention_heads=16,
        num_key_value_heads=4,
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = LlamaForCausalLM(config)
    return tiny.save_model(model, tmp_path_factory.mktemp("models") / "llama-100m")


@pytest.fixture(scope="session")
def launcher() -> Iterator[Launcher]:
    launcher = Launcher()
    yield launcher
    launcher.close()


@contextmanager
def engine(launcher: Launcher) -> Iterator[tuple[ChildProcess, Iterator[Event]]]:
    with launcher.engine() as child:
        events = child.events()
        assert isinstance(next(events), Hello)
        yield child, events


def load(folder: Path, precision: Precision, placement: Placement) -> Load:
    limits = weight_limits(placement, torch.cuda.device_count())
    return Load(id=1, path=str(folder), precision=precision, placement=placement, limits=limits, request=REQUEST)


def loaded_on(conversation: tuple[ChildProcess, Iterator[Event]], command: Load) -> Loaded:
    child, events = conversation
    child.send(command)
    answer = next(event for event in events if isinstance(event, Loaded | Failed))
    assert isinstance(answer, Loaded), answer
    return answer


def written(conversation: tuple[ChildProcess, Iterator[Event]]) -> tuple[list[int], Generated]:
    child, events = conversation
    child.send(Generate(id=2, request=REQUEST))
    ids: list[int] = []
    for event in events:
        assert not isinstance(event, Failed), event
        if isinstance(event, TokensGenerated):
            ids += [token.id for token in event.tokens]
        if isinstance(event, Generated):
            return ids, event
    raise AssertionError("the engine ended early")


def plain_tokens(folder: Path, precision: Precision) -> list[int]:
    """Tokens of plain transformers, in this process."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=getattr(torch, precision.dtype),
        quantization_config=configuration(precision, Shapes.read(folder).default_skips),
        device_map={"": 0},
    )
    inputs = tokenizer(REQUEST.prompt, return_tensors="pt").to(DEVICE)
    output = model.generate(**inputs, max_new_tokens=24, do_sample=False)
    ids = [int(token) for token in output[0, inputs["input_ids"].shape[1] :]]
    del model, inputs, output
    gc.collect()
    torch.cuda.empty_cache()
    return ids


@pytest.mark.parametrize("name", READY)
def test_the_tokens_are_those_of_transformers_alone_and_the_bytes_are_torchs(
    folder: Path, launcher: Launcher, name: str
) -> None:
    with engine(launcher) as conversation:
        loaded = loaded_on(conversation, load(folder, READY[name], Placement(device=DEVICE)))
        ids, generated = written(conversation)
    assert loaded.device_map == {"": DEVICE} and not loaded.unforeseen
    assert loaded.estimate is not None and loaded.by_device == loaded.estimate.by_device
    held, allocated = loaded.by_device[DEVICE].total, loaded.vram[DEVICE].allocated_bytes
    assert abs(held - allocated) <= 0.02 * allocated
    figures = generated.vram[DEVICE]
    assert figures.allocated_bytes <= figures.peak_bytes and figures.allocated_bytes <= figures.reserved_bytes
    assert loaded.vram[DEVICE].peak_bytes >= allocated
    assert ids == plain_tokens(folder, READY[name])


@pytest.mark.parametrize("name", ["bf16", "int8", "nf4"])
def test_a_model_is_split_over_gpu_ram_and_disk(folder: Path, launcher: Launcher, name: str) -> None:
    modules = dict.fromkeys(block_names(Shapes.read(folder)), DEVICE)
    modules["model.layers.6"] = CPU
    if not READY[name].is_quantized:
        modules["model.layers.7"] = DISK
    with engine(launcher) as conversation:
        loaded = loaded_on(conversation, load(folder, READY[name], Placement(device="custom", modules=modules)))
        ids, _ = written(conversation)
    assert loaded.estimate is not None and not loaded.unforeseen
    assert loaded.by_device == loaded.estimate.by_device and set(loaded.by_device) == set(modules.values())
    assert loaded.device_map == loaded.estimate.device_map
    assert len(ids) == 24
    if not READY[name].is_quantized:
        assert ids == plain_tokens(folder, READY[name])


@pytest.mark.parametrize("name", ["fp32", "int8", "nf4"])
def test_a_gpu_that_is_too_small_leaves_all_to_the_processor_and_that_is_said(
    folder: Path, launcher: Launcher, name: str
) -> None:
    with engine(launcher) as conversation:
        loaded = loaded_on(conversation, load(folder, READY[name], Placement(max_memory={DEVICE: 1_000_000})))
    assert loaded.device_map == {"": CPU}
    assert loaded.estimate is not None and "No GPU has room" in loaded.estimate.caution


def test_a_gpu_with_room_for_some_takes_some(folder: Path, launcher: Launcher) -> None:
    with engine(launcher) as conversation:
        loaded = loaded_on(conversation, load(folder, READY["bf16"], Placement(max_memory={DEVICE: 120_000_000})))
        ids, _ = written(conversation)
    assert set(loaded.by_device) == {DEVICE, CPU} and len(ids) == 24
    assert loaded.by_device[DEVICE].total <= 120_000_000


@pytest.mark.parametrize("name", ["bf16", "nf4"])
def test_what_an_engine_took_is_given_back_when_it_ends(folder: Path, launcher: Launcher, name: str) -> None:
    torch.cuda.empty_cache()
    before = list_gpus()[0].free_bytes
    with engine(launcher) as conversation:
        loaded_on(conversation, load(folder, READY[name], Placement(device=DEVICE)))
        written(conversation)
        assert list_gpus()[0].free_bytes < before - 100_000_000
    assert abs(list_gpus()[0].free_bytes - before) <= GIVEN_BACK_BYTES


def test_engines_are_not_forked_where_cuda_was_used(folder: Path, launcher: Launcher) -> None:
    torch.zeros(1, device=DEVICE)
    assert not fork_is_safe() and not launcher.forks
    with engine(launcher) as conversation:
        loaded_on(conversation, load(folder, READY["nf4"], Placement(device=DEVICE)))


def test_a_gpu_that_there_is_not_is_refused(folder: Path, launcher: Launcher) -> None:
    with engine(launcher) as (child, events):
        child.send(load(folder, READY["bf16"], Placement(device="cuda:99")))
        failed = next(event for event in events if isinstance(event, Loaded | Failed))
    assert isinstance(failed, Failed) and failed.error.code is ErrorCode.BAD_DEVICE
