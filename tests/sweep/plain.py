"""What a person would write with plain transformers."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from tests.engine.tiny import PROMPT
from tests.sweep.building import NEW_TOKENS
from tests.sweep.outcome import Plain

PRECISIONS = ("fp32", "bf16", "int8", "nf4")


def load(folder: Path, precision: str, skips: Sequence[str] = ()) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load with the class and skipped layers that transformers chooses, or with `skips` instead.

    Raises ValueError if the checkpoint lacks tensors of that class: transformers initializes them, and only warns.
    """
    modules = list(skips) or None
    quantization = {
        "int8": lambda: BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=modules),
        "nf4": lambda: BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=torch.bfloat16,
            llm_int8_skip_modules=modules,
        ),
    }
    model, info = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32 if precision == "fp32" else torch.bfloat16,
        quantization_config=quantization[precision]() if precision in quantization else None,
        device_map={"": "cpu"},
        output_loading_info=True,
    )
    if missing := sorted(info["missing_keys"]):
        raise ValueError(f"the checkpoint lacks {len(missing)} tensors of {type(model).__name__}, such as {missing[0]}")
    return model, AutoTokenizer.from_pretrained(folder)


def run(folder: Path, precision: str, skips: Sequence[str] = ()) -> Plain:
    """Load and write a greedy text. If transformers raises, the answer is the error's first line."""
    try:
        return _run(*load(folder, precision, skips))
    except Exception as error:
        return Plain(error=first_line(error))


def first_line(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}"[:300]


def _run(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Plain:
    own = model.generation_config  # keep only the type's special tokens, as the program does
    model.generation_config = GenerationConfig(
        bos_token_id=own.bos_token_id, eos_token_id=own.eos_token_id, pad_token_id=own.pad_token_id
    )
    inputs = tokenizer(PROMPT, return_tensors="pt")
    answer = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False, return_dict_in_generate=True)
    ids = answer.sequences[0, inputs["input_ids"].shape[1] :].tolist()
    cache = getattr(answer, "past_key_values", None)
    return Plain(
        ids=ids,
        weight_bytes=_weight_bytes(model),
        quantized=sum(isinstance(module, (Linear4bit, Linear8bitLt)) for module in model.modules()),
        cache_bytes=_cache_bytes(cache) if len(ids) == NEW_TOKENS else None,
    )


def _weight_bytes(model: PreTrainedModel) -> int:
    """transformers' own sum of parameters and buffers, plus what bitsandbytes stores beside them."""
    scales: list[torch.Tensor | None] = []
    for module in model.modules():
        if isinstance(module, Linear8bitLt):
            scales.append(module.state.SCB if module.state.SCB is not None else module.weight.SCB)
        elif isinstance(module, Linear4bit):
            state = module.weight.quant_state
            nested = getattr(state, "state2", None)
            scales += [state.absmax, state.code, state.offset]
            scales += [nested.absmax, nested.code] if nested is not None else []
    beside = sum(tensor.numel() * tensor.element_size() for tensor in scales if tensor is not None)
    return int(model.get_memory_footprint()) + beside


def _cache_bytes(cache: Any) -> int | None:
    """Bytes of keys, values and states anywhere in the cache. None for a text without a cache."""
    found = {id(tensor): tensor for tensor in _tensors(cache, set())}
    return sum(tensor.numel() * tensor.element_size() for tensor in found.values()) if found else None


def _tensors(value: Any, seen: set[int]) -> Iterator[torch.Tensor]:
    """The floating-point tensors inside containers and the library's objects."""
    if id(value) in seen or isinstance(value, (PretrainedConfig, torch.nn.Module)):
        return
    seen.add(id(value))
    if isinstance(value, torch.Tensor):
        if value.is_floating_point():
            yield value
        return
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    for part in [*inner, *getattr(value, "__dict__", {}).values()]:
        yield from _tensors(part, seen)
