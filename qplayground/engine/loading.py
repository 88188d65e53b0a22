"""Loading a model so that "loaded" is true: every weight in memory, quantized as asked, finite, and run once."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from qplayground.core.estimate import ContextSize, Estimate, WeightKinds
from qplayground.core.memory import ProcessMemory, read_process_memory, shared_bytes
from qplayground.core.messages import Load, Phase
from qplayground.core.precision import FourBit, Precision
from qplayground.core.processor import read_processor, used_by_others
from qplayground.engine import allocator
from qplayground.engine.accounting import device_map, kinds_by_module, weight_bytes
from qplayground.engine.checkpoint import Checkpoint, bytes_read_from_disk, loading_progress
from qplayground.engine.context import ContextSizes
from qplayground.engine.estimating import estimated, weights_by_module
from qplayground.engine.machine import pick_device, synchronize
from qplayground.engine.preflight import Preflight, inspect_model
from qplayground.engine.progress import OnPhase, OnProgress
from qplayground.engine.residency import make_resident
from qplayground.engine.verify import verify_finite, verify_loaded
from qplayground.engine.warmup import warm_libraries


@dataclass
class LoadedModel:
    """A model ready to generate, with the figures of its load.

    `seconds` runs from opening the checkpoint to the end of the first forward; `other_cpus` is how many processors
    other programs kept busy meanwhile; `disk_share` is how much of the checkpoint came from the disk and not from the
    system's page cache. All leave the integrity check out. `estimate` is what was reckoned before a weight was read.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    files: tuple[Path, ...]
    precision: Precision
    device: torch.device
    context_tokens: int | None
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
    vram_load_peak_bytes: int | None = None

    @property
    def weight_bytes(self) -> int:
        return weight_bytes(self.model)

    @property
    def by_kind(self) -> WeightKinds:
        return sum(self.by_module.values(), WeightKinds())

    @property
    def device_map(self) -> dict[str, str]:
        return device_map(self.model)


def load(command: Load, on_phase: OnPhase, on_progress: OnProgress) -> LoadedModel:
    """Carry out a load command.

    Raises PlaygroundError for everything that a person can act on; anything else comes from the libraries as it is
    and is put into words by `failures.explain`.
    """
    on_phase(Phase.START)
    precision = command.precision.checked()
    path = Path(command.path)
    device = pick_device(command.device)
    preflight = inspect_model(path, command.request)
    converted = preflight.shapes.converted_layers(precision)
    checkpoint = Checkpoint.read(path)
    expected = weights_by_module(preflight.shapes, precision, device)
    context = command.context
    if context is None:
        prompt_tokens = len(preflight.prompt_ids)
        tokens = prompt_tokens + command.request.settings.max_new_tokens - 1  # the last is never read
        context = ContextSizes(preflight.shapes).of(prompt_tokens, tokens)
    allocator.enter_loading()
    warm_libraries(precision, device)
    allocator.release()
    runtime_memory = read_process_memory(psutil.Process())
    runtime_bytes = runtime_memory.resident_bytes if device.type == "cpu" else None
    shared = shared_bytes() if command.others else 0
    estimate, *others = (
        estimated(preflight.shapes, each, checkpoint, context, device, runtime_bytes=runtime_bytes, shared_bytes=shared)
        for each in (precision, *command.others)
    )

    on_phase(Phase.QUANTIZE if precision.is_quantized else Phase.LOAD)
    clocks = read_processor()
    read_before = bytes_read_from_disk()
    started = time.monotonic()
    model, info = _from_pretrained(preflight, path, precision, device, checkpoint, on_progress)
    quantized = verify_loaded(
        model, info, precision, device, len(converted)
    )  # the first forward would crash, or read astray
    on_phase(Phase.COPY)
    make_resident(model, on_progress)
    allocator.enter_warm_up()
    on_phase(Phase.WARM_UP)
    _first_forward(model, preflight.prompt_ids, device)  # which repacks weights on some CPUs: still a part of loading
    allocator.enter_decoding()
    synchronize(device)
    if device.type == "cuda":
        torch.cuda.empty_cache()  # transformers sets aside one block of the model's size before it loads
    seconds = time.monotonic() - started
    other_cpus = used_by_others(clocks, read_processor())
    read_after = bytes_read_from_disk()

    vram_load_peak_bytes = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    held = kinds_by_module(model)
    unforeseen = sorted(name for name in expected.keys() | held.keys() if expected.get(name) != held.get(name))
    on_phase(Phase.CHECK)
    verify_finite(model, checkpoint if precision.is_quantized else None, on_progress)
    allocator.release()
    return LoadedModel(
        model=model,
        tokenizer=preflight.tokenizer,
        files=tuple(checkpoint.files),
        precision=precision,
        device=device,
        context_tokens=preflight.context_tokens,
        seconds=seconds,
        other_cpus=other_cpus,
        disk_share=_share(read_before, read_after, checkpoint.total_bytes),
        quantized_modules=quantized,
        runtime_memory=runtime_memory,
        by_module=held,
        estimate=estimate,
        others=tuple(others),
        context=context,
        unforeseen=tuple(unforeseen),
        vram_load_peak_bytes=vram_load_peak_bytes,
    )


def quantization_config(precision: Precision, default_skips: list[str]) -> BitsAndBytesConfig | None:
    """transformers' configuration of a recipe, every default spelled out. None for an unquantized precision.

    A list of skipped modules replaces the library's own, so its defaults are put in front of the user's.
    """
    skips = [*default_skips, *precision.skip_modules] if precision.skip_modules else None
    if precision.quantization is None:
        return None
    if isinstance(precision.quantization, FourBit):
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=precision.quantization.quant_type,
            bnb_4bit_compute_dtype=getattr(torch, precision.quantization.compute_dtype),
            bnb_4bit_use_double_quant=precision.quantization.double_quantization,
            llm_int8_skip_modules=skips,
        )
    return BitsAndBytesConfig(
        load_in_8bit=True, llm_int8_threshold=precision.quantization.threshold, llm_int8_skip_modules=skips
    )


def _from_pretrained(
    preflight: Preflight,
    path: Path,
    precision: Precision,
    device: torch.device,
    checkpoint: Checkpoint,
    on_progress: OnProgress,
) -> tuple[PreTrainedModel, dict[str, Any]]:
    with loading_progress(checkpoint, on_progress):
        model, info = AutoModelForCausalLM.from_pretrained(
            path,
            config=preflight.shapes.config,
            dtype=getattr(torch, precision.dtype),
            quantization_config=quantization_config(precision, preflight.shapes.default_skips),
            device_map={"": device},
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    model.eval()
    model.generation_config = _special_tokens_only(model.generation_config)
    return model, info


def _share(before: int | None, after: int | None, total: int) -> float | None:
    if before is None or after is None or total == 0:
        return None
    return min(1.0, (after - before) / total)


def _special_tokens_only(own: GenerationConfig) -> GenerationConfig:
    """A model's own generation settings without its habits: `generate` takes whatever a request leaves open from them.

    Beams, suppressed tokens or a ban on repetition would change a text, or be refused, and no control shows them.
    """
    return GenerationConfig(bos_token_id=own.bos_token_id, eos_token_id=own.eos_token_id, pad_token_id=own.pad_token_id)


@torch.inference_mode()
def _first_forward(model: PreTrainedModel, prompt_ids: list[int], device: torch.device) -> None:
    """Run the model once on one token: libraries load their kernels here, and bitsandbytes repacks its weights."""
    model(input_ids=torch.tensor([prompt_ids[:1]], device=device), use_cache=False)
