"""Models of a few hundred kilobytes with random weights, made from a config, and tokenizers for them.

Layer widths are multiples of 64: bitsandbytes' AVX512_BF16 kernel refuses less than 32, and a block has 64 elements.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    FalconConfig,
    FalconForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from qplayground.core.generation import GenerationRequest, GenerationSettings
from qplayground.core.messages.commands import Load
from qplayground.core.placement import Placement
from qplayground.core.precision import READY_PRECISIONS, Precision

VOCABULARY = 320
CONTEXT = 4096
BEGIN, END = "<s>", "</s>"
CHAT_TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"
PROMPT = "the cat sat on the mat"

_WIDTHS = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.4,  # large, so that the top logit stands out in every precision
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
_CORPUS = [
    "the quick brown fox jumps over the lazy dog and the cat sat on the mat with another hat in the rain",
    "there is nothing that this thing can bring in the morning and everything is interesting to the ring bearer",
    "in the beginning there was the word and the word was written in the sand of the land by the hand of the stand",
]


def llama(*, tied: bool = False, **changes: Any) -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**{**_WIDTHS, "tie_word_embeddings": tied, **changes}))


def gpt2() -> PreTrainedModel:
    """Its linear layers are Conv1D, whose weight is stored transposed."""
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=CONTEXT, n_embd=64, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=1
    )
    config.initializer_range = 0.4
    return GPT2LMHeadModel(config)


def mistral() -> PreTrainedModel:
    """Its sliding window is shorter than the text that the tests generate."""
    return MistralForCausalLM(MistralConfig(**_WIDTHS, sliding_window=8, tie_word_embeddings=False))


def qwen2() -> PreTrainedModel:
    """Has biases in its attention."""
    return Qwen2ForCausalLM(Qwen2Config(**_WIDTHS, tie_word_embeddings=True))


def mixtral() -> PreTrainedModel:
    """Its experts are parameters, not linear layers, so only its attention is quantized."""
    return MixtralForCausalLM(MixtralConfig(**_WIDTHS, num_local_experts=2, num_experts_per_tok=1))


FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": llama,
    "llama-tied": lambda: llama(tied=True),
    "gpt2": gpt2,
    "mistral": mistral,
    "qwen2": qwen2,
    "mixtral": mixtral,
}


def gemma3() -> PreTrainedModel:
    """Six layers with a sliding window, then one without."""
    config = Gemma3TextConfig(**{**_WIDTHS, "num_hidden_layers": 7}, head_dim=32, sliding_window=8)
    return Gemma3ForCausalLM(config)


def opt() -> PreTrainedModel:
    """Has learned positions, and biases everywhere."""
    return OPTForCausalLM(
        OPTConfig(
            vocab_size=VOCABULARY,
            hidden_size=64,
            word_embed_proj_dim=64,
            ffn_dim=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=CONTEXT,
            init_std=0.4,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )


def falcon(*, grouped: bool) -> PreTrainedModel:
    """With one key head for all queries, or grouped ones."""
    return FalconForCausalLM(
        FalconConfig(
            vocab_size=VOCABULARY,
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_kv_heads=2,
            new_decoder_architecture=grouped,
            multi_query=True,
            bias=grouped,
            initializer_range=0.4,
            bos_token_id=0,
            eos_token_id=1,
        )
    )


ARCHITECTURES: dict[str, Callable[[], PreTrainedModel]] = {
    **FAMILIES,
    "llama-biases": lambda: llama(attention_bias=True, mlp_bias=True),
    "qwen2-untied": lambda: Qwen2ForCausalLM(Qwen2Config(**_WIDTHS, tie_word_embeddings=False)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**_WIDTHS, head_dim=32, tie_word_embeddings=True)),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**_WIDTHS, head_dim=32, sliding_window=8)),
    "gemma3": gemma3,
    "phi": lambda: PhiForCausalLM(PhiConfig(**_WIDTHS)),
    "gpt-neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**_WIDTHS)),
    "opt": opt,
    "falcon": lambda: falcon(grouped=False),
    "falcon-grouped": lambda: falcon(grouped=True),
}
"""More architectures, for tests that must hold for all."""

UNQUANTIZABLE = ("falcon", "falcon-grouped")


def is_quantized(module: torch.nn.Module) -> bool:
    """Whether a library quantized its weight, judged by class names."""
    names = {type(module).__name__, type(module._parameters.get("weight")).__name__}
    return bool(names & {"Linear4bit", "Linear8bitLt", "Int8Tensor"})


def takes(family: str, precision: Precision) -> bool:
    """Whether a quantizer converts layers of that family. None converts Falcon's, and torchao not GPT-2's Conv1D."""
    if not precision.is_quantized:
        return True
    return family not in (UNQUANTIZABLE if precision.name != "int8-ao" else (*UNQUANTIZABLE, "gpt2"))


"""Falcon's linear layers have a class that transformers does not replace with bitsandbytes' layers."""


def save_model(model: PreTrainedModel, folder: Path, tokenizer: PreTrainedTokenizerFast | None = None) -> Path:
    """Write a model and its tokenizer as a loadable folder."""
    model.save_pretrained(folder)
    (tokenizer or byte_level_tokenizer()).save_pretrained(folder)
    return folder


def make(
    folder: Path,
    family: str | Callable[[], PreTrainedModel] = "llama",
    tokenizer: PreTrainedTokenizerFast | None = None,
) -> Path:
    """Make one of ARCHITECTURES, or the given model, with the same weights every time."""
    build = ARCHITECTURES[family] if isinstance(family, str) else family
    with torch.random.fork_rng():
        torch.manual_seed(1234)
        return save_model(build(), folder, tokenizer)


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """GPT-2's kind: any text, one token a byte except for merges, 320 tokens in all."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        _CORPUS,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=[BEGIN, END],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if tokenizer.get_vocab_size() != VOCABULARY:
        raise ValueError(f"the corpus is too small for {VOCABULARY} tokens")
    return _wrapped(tokenizer, chat_template=CHAT_TEMPLATE)


def byte_fallback_tokenizer() -> PreTrainedTokenizerFast:
    """Llama 2's kind: `▁` for spaces, and `<0xE4>` for each byte of a character without a token."""
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    letters = ["▁", *"abcdefghijklmnopqrstuvwxyz"]
    merges = [("▁", "t"), ("h", "e"), ("▁t", "he")]
    vocabulary = [BEGIN, END, *bytes_, *letters, *("".join(pair) for pair in merges)]
    tokenizer = Tokenizer(
        models.BPE({token: index for index, token in enumerate(vocabulary)}, merges, byte_fallback=True, fuse_unk=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(BEGIN, special=True), AddedToken(END, special=True)])
    return _wrapped(tokenizer)


def word_tokenizer() -> PreTrainedTokenizerFast:
    """Every token is a whole ASCII word, so no text is ever held back."""
    vocabulary = {BEGIN: 0, END: 1, **{f"w{index}": index for index in range(2, VOCABULARY)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=BEGIN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _wrapped(tokenizer)


def _wrapped(tokenizer: Tokenizer, chat_template: str | None = None) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BEGIN, eos_token=END, chat_template=chat_template
    )


def precision(name: str) -> Precision:
    """One of the ready precisions."""
    return next(ready for ready in READY_PRECISIONS if ready.name == name)


def request(prompt: str = PROMPT, **settings: Any) -> GenerationRequest:
    return GenerationRequest(prompt=prompt, settings=GenerationSettings(**{"max_new_tokens": 12, **settings}))


def load_command(folder: Path, recipe: str | Precision = "fp32", asked: GenerationRequest | None = None) -> Load:
    chosen = precision(recipe) if isinstance(recipe, str) else recipe
    return Load(id=1, path=str(folder), precision=chosen, placement=Placement(device="cpu"), request=asked or request())


def edit_json(path: Path, **changes: Any) -> None:
    """Set fields of a JSON file, which is created if missing. None removes a field."""
    fields = json.loads(path.read_text("utf-8")) if path.exists() else {}
    fields.update(changes)
    path.write_text(json.dumps({name: value for name, value in fields.items() if value is not None}), "utf-8")
