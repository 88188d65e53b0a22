"""Loads a model completely: every weight in memory, quantized as asked and finite, and the model run once."""

import os
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from qplayground.catalog.config import read_json
from qplayground.core.errors import ErrorCode, fail
from qplayground.core.memory.estimate import ContextSize, Estimate, WeightKinds
from qplayground.core.memory.process_memory import ProcessMemory, VramFigures, read_process_memory, shared_bytes
from qplayground.core.messages.commands import Load
from qplayground.core.messages.events import Phase
from qplayground.core.placement import DISK, main_device
from qplayground.core.precision import Precision
from qplayground.core.system.processor import read_processor, used_by_others
from qplayground.engines.transformers.loading.accounting import held_map, kinds_by_device, kinds_by_module, weight_bytes
from qplayground.engines.transformers.loading.preflight import Preflight, inspect_model
from qplayground.engines.transformers.loading.reading import bytes_read_from_disk, loading_progress
from qplayground.engines.transformers.loading.residency import make_resident
from qplayground.engines.transformers.loading.verify import verify_finite, verify_loaded
from qplayground.engines.transformers.machine import allocator
from qplayground.engines.transformers.machine.devices import pick_device, synchronize_all
from qplayground.engines.transformers.machine.vram import VramMeter
from qplayground.engines.transformers.model.checkpoint import Checkpoint
from qplayground.engines.transformers.prediction.context import ContextSizes
from qplayground.engines.transformers.prediction.estimating import estimated, known_context, weights_by_module
from qplayground.engines.transformers.prediction.placement import (
    accelerates_name,
    conversion_at,
    converted_layers,
    device_map,
)
from qplayground.engines.transformers.progress import OnEstimate, OnPhase, OnProgress
from qplayground.engines.transformers.quantizers.kernels import samples, verify_computed
from qplayground.engines.transformers.quantizers.registry import configuration
from qplayground.engines.transformers.quantizers.warmup import warm_libraries


@dataclass
class LoadedModel:
    """A model ready to generate, with the figures of its load.

    `seconds`: from opening the checkpoint to the end of the first forward.
    `other_cpus`: CPUs that other programs kept busy meanwhile.
    `disk_share`: share of the checkpoint that came from the disk, not from the system's page cache.
    `estimate`: the prediction from before a weight was read.

    The first three exclude the integrity check.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    files: tuple[Path, ...]
    precision: Precision
    device: torch.device
    context_tokens: int | None
    position_limit: int | None
    seconds: float
    other_cpus: float | None
    disk_share: float | None
    quantized_modules: int
    runtime_memory: ProcessMemory
    by_module: dict[str, WeightKinds]
    estimate: Estimate
    others: tuple[Estimate, ...] = ()
    context: ContextSize | None = None
    unforeseen: tuple[str, ...] = ()
    skips: tuple[str, ...] = ()
    attention: str = ""
    vram: dict[str, VramFigures] = field(default_factory=dict)

    @property
    def weight_bytes(self) -> int:
        return weight_bytes(self.model)

    @property
    def by_kind(self) -> WeightKinds:
        return sum(self.by_module.values(), WeightKinds())

    @property
    def device_map(self) -> dict[str, str]:
        return held_map(self.model)

    @property
    def by_device(self) -> dict[str, WeightKinds]:
        return kinds_by_device(self.model)


def load_model(
    command: Load, on_phase: OnPhase, on_progress: OnProgress, on_estimate: OnEstimate | None = None
) -> LoadedModel:
    """Carry out a load command.

    Raises PlaygroundError for everything that the user can act on. Other exceptions come unchanged from the libraries;
    `explaining.explain` puts them into words.
    """
    on_phase(Phase.START)
    precision = command.precision.checked()
    path = Path(command.path)
    preflight = inspect_model(path, command.request)
    placed = device_map(preflight.shapes, precision, command.placement, command.limits)
    placed = {name: pick_device(asked) for name, asked in placed.items()}  # fails before anything large is done
    device = torch.device(main_device(placed.values()))
    shapes, checkpoint = preflight.shapes, preflight.checkpoint
    converted = converted_layers(shapes, precision, placed)
    skips = conversion_at(shapes, precision, placed).skips
    expected = weights_by_module(shapes, precision, placed)
    context, unknown = command.context, ""
    if context is None:
        prompt_tokens = len(preflight.prompt_ids)
        tokens = prompt_tokens + command.request.settings.max_new_tokens - 1  # the last is never fed back
        context, unknown = known_context(ContextSizes(shapes), prompt_tokens, tokens)
    allocator.enter_loading()
    warm_libraries(precision, device)
    allocator.release()
    runtime_memory = read_process_memory(psutil.Process())
    estimate_for = partial(
        estimated,
        shapes,
        placement=command.placement,
        limits=command.limits,
        checkpoint=checkpoint,
        note=preflight.note,
        context=context,
        unknown=unknown,
        runtime_bytes=runtime_memory.resident_bytes,
        shared_bytes=shared_bytes(),
    )
    estimate, *others = (estimate_for(each) for each in (precision, *command.others))
    if on_estimate is not None:
        on_estimate(estimate)

    on_phase(Phase.QUANTIZE if precision.is_quantized else Phase.LOAD)
    clocks = read_processor()
    read_before = bytes_read_from_disk()
    started = time.monotonic()
    folder = command.placement.offload_folder
    if DISK in placed.values() and folder:
        _make_folder(Path(folder))
    model, info = _from_pretrained(preflight, path, precision, skips, placed, folder, checkpoint, on_progress)
    quantized = verify_loaded(
        model, info, precision, placed, len(converted)
    )  # or the first forward would crash, or read the wrong memory
    on_phase(Phase.COPY)
    make_resident(model, on_progress)
    use = shapes.layer_use
    computing = use.ran - use.rescaled  # text goes through them, and the model's code leaves their weights alone
    sampled = samples(model, precision.quantization, computing) if precision.quantization else []
    allocator.enter_warm_up()
    on_phase(Phase.WARM_UP)
    _first_forward(model, preflight.prompt_ids, device)  # repacks weights on some CPUs: still loading
    allocator.enter_decoding()
    synchronize_all(placed.values())
    if device.type == "cuda":
        torch.cuda.empty_cache()  # transformers allocates one block of the model's size before it loads
    vram = VramMeter(placed.values()).read()
    seconds = time.monotonic() - started
    other_cpus = used_by_others(clocks, read_processor())
    read_after = bytes_read_from_disk()

    held = kinds_by_module(model)
    unforeseen = sorted(name for name in expected.keys() | held.keys() if expected.get(name) != held.get(name))
    on_phase(Phase.CHECK)
    reads_source = precision.is_quantized or DISK in placed.values()
    verify_finite(model, checkpoint if reads_source else None, on_progress)
    verify_computed(model, sampled, precision)
    allocator.release()
    return LoadedModel(
        model=model,
        tokenizer=preflight.tokenizer,
        files=tuple(checkpoint.files),
        precision=precision,
        device=device,
        context_tokens=preflight.context_tokens,
        position_limit=preflight.position_limit,
        seconds=seconds,
        other_cpus=other_cpus,
        disk_share=disk_share(read_before, read_after, checkpoint.total_bytes),
        quantized_modules=quantized,
        runtime_memory=runtime_memory,
        by_module=held,
        estimate=estimate,
        others=tuple(others),
        context=context,
        unforeseen=tuple(unforeseen),
        skips=skips,
        attention=str(model.config._attn_implementation or "") if shapes.asked_for_more else "",
        vram=vram,
    )


def _from_pretrained(
    preflight: Preflight,
    path: Path,
    precision: Precision,
    skips: tuple[str, ...],
    placed: dict[str, str],
    offload_folder: str,
    checkpoint: Checkpoint,
    on_progress: OnProgress,
) -> tuple[PreTrainedModel, dict[str, Any]]:
    with loading_progress(checkpoint, on_progress):
        model, info = AutoModelForCausalLM.from_pretrained(
            path,
            config=preflight.shapes.config,
            dtype=getattr(torch, precision.dtype),
            quantization_config=configuration(precision, skips, offloads=len(set(placed.values())) > 1),
            device_map={name: accelerates_name(place) for name, place in placed.items()},
            offload_folder=offload_folder or None,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            generation_config=GenerationConfig(),  # so that the model's own, which can say anything, is not read
            adapter_kwargs={"subfolder": os.devnull},  # nor an adapter, which PEFT would put into the model
            output_loading_info=True,
        )
    model.eval()
    model.generation_config = _special_tokens(path, model)
    return model, info


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise fail(
            ErrorCode.BAD_FILE,
            f"The offload folder {path.parent} cannot be written: {error.strerror or error}.",
            "Choose another one.",
        ) from error


def disk_share(before: int | None, after: int | None, total: int) -> float | None:
    """Share of `total` bytes that came from the disk, 0 to 1. `before`, `after`: bytes read from the disk by then.

    None where those are unknown.
    """
    if before is None or after is None or total == 0:
        return None
    return min(1.0, (after - before) / total)


def _special_tokens(path: Path, model: PreTrainedModel) -> GenerationConfig:
    """A model's own generation config, reduced to its special tokens.

    `generate` fills from it whatever a request leaves open. Beams, suppressed tokens or a ban on repetition would
    change a text, or be refused, and no control shows them. Values that cannot be tokens are dropped.
    """
    try:
        fields = read_json(path / "generation_config.json")
    except (OSError, ValueError):
        fields = None
    if not isinstance(fields, dict):
        fields = GenerationConfig.from_model_config(model.config).to_dict()
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    return GenerationConfig(**{name: _tokens(fields.get(name)) for name in names})


def _tokens(found: object) -> int | list[int] | None:
    """One or several token ids from a file; None for anything else."""
    if isinstance(found, list):
        ids = [token for token in map(_tokens, found) if isinstance(token, int)]
        return ids or None
    return found if type(found) is int and 0 <= found < 2**31 else None


@torch.inference_mode()
def _first_forward(model: PreTrainedModel, prompt_ids: list[int], device: torch.device) -> None:
    """Run the model once on one token. Libraries load their kernels here, and some repack their weights."""
    model(input_ids=torch.tensor([prompt_ids[:1]], device=device), use_cache=False)
