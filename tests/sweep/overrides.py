"""What some types need besides small sizes."""

from typing import Any

ENCODERS = (
    *("bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra", "ernie", "megatron-bert"),
    *("reformer", "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "xlm-roberta"),
    *("xlm-roberta-xl", "xmod"),
)
"""Types whose configs describe encoders unless `is_decoder` is set."""

PUBLISHED: dict[str, str] = {
    "musicgen": "MusicgenForConditionalGeneration",
    "musicgen_melody": "MusicgenMelodyForConditionalGeneration",
}
"""Classes in which such models are published, where transformers' lists do not name them."""

_IMAGES: dict[str, Any] = {"image_size": 28, "patch_size": 14}
_GEMMA3N: dict[str, Any] = {
    "num_hidden_layers": 6,
    "layer_types": ["sliding_attention", "full_attention"] * 3,
    "num_kv_shared_layers": 2,
    "intermediate_size": [128] * 6,
    "activation_sparsity_pattern": [0.0] * 6,
}
_GEMMA4: dict[str, Any] = {"global_head_dim": 64}
_ASSISTANT: dict[str, Any] = {**_GEMMA4, "num_kv_shared_layers": 2}
_DOTS3_NOTE: dict[str, Any] = {
    "swa_num_attention_heads": 4,
    "swa_num_key_value_heads": 4,
    "swa_q_lora_rank": 64,
    "swa_kv_lora_rank": 64,
    "swa_head_dim": 64,
    "swa_qk_nope_head_dim": 32,
    "swa_v_head_dim": 32,
}
_QWEN4_EXP: dict[str, Any] = {
    "indexer_n_heads": 4,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 64,
    "indexer_budget": 16,
    "indexer_compress_ratio": 4,
}

OVERRIDES: dict[str, dict[str, Any]] = {
    **{encoder: {"is_decoder": True} for encoder in ENCODERS},
    "bamba": {"attn_layer_indices": [1]},
    "blt": {
        "encoder_hash_byte_group_vocab": 500,
        "encoder_config": {"hidden_size_global": 64},
        "decoder_config": {"hidden_size_global": 64},
    },
    "cohere_compass_text": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 10000.0}}},
    "dbrx": {"attn_config": {"rope_theta": 10000.0, "clip_qkv": 8}},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": {"n_routed_experts": 32, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "dots3_note": {"text_config": _DOTS3_NOTE},
    "dots3_note_text": _DOTS3_NOTE,
    "emu3": {
        "vq_config": {"base_channels": 32},
        "vocabulary_map": {"<image>": 300, "<|extra_200|>": 301, "<|visual token 000000|>": 302},
    },
    "falcon_h1": {"mamba_d_ssm": 128},
    "gemma3": {"vision_config": _IMAGES, "mm_tokens_per_image": 4},
    "gemma3n": {"text_config": _GEMMA3N},
    "gemma3n_text": _GEMMA3N,
    "gemma4": {"text_config": _GEMMA4},
    "gemma4_assistant": {
        "text_config": {
            **_ASSISTANT,
            "model_type": "gemma4_text",
            "hidden_size_per_layer_input": 0,
            "vocab_size_per_layer_input": 0,
        }
    },
    "gemma4_text": _GEMMA4,
    "gemma4_unified": {"text_config": _GEMMA4},
    "gemma4_unified_assistant": {"text_config": {**_ASSISTANT, "model_type": "gemma4_unified_text"}},
    "gemma4_unified_text": _GEMMA4,
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "helium": {"head_dim": 16},
    "hunyuan_v1_dense": {"head_dim": 32},
    "hunyuan_v1_moe": {"head_dim": 32},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2_moe": {"num_hidden_layers": 3, "layer_types": ["conv", "full_attention", "conv"], "num_dense_layers": 1},
    "llama4": {"vision_config": {"projector_input_dim": 64, "projector_output_dim": 64, "vision_output_dim": 64}},
    "ministral": {"head_dim": 32},
    "mllama": {"text_config": {"num_hidden_layers": 3, "cross_attention_layers": [1]}},
    "nemotron": {"num_key_value_heads": 2},
    "prophetnet": {"pad_token_id": 0, "max_position_embeddings": 512},
    "qwen4_exp": {"text_config": _QWEN4_EXP},
    "qwen4_exp_text": _QWEN4_EXP,
    "recurrent_gemma": {"num_hidden_layers": 3, "block_types": ["recurrent", "recurrent", "attention"]},
    "reformer": {"is_decoder": True, "axial_pos_shape": [64, 64], "axial_pos_embds_dim": [32, 32]},
    "xlnet": {"d_head": 16},
    "xlstm": {"hidden_size": 128, "embedding_dim": 128},
    "xmod": {"is_decoder": True, "default_language": "en_XX"},
    "zamba": {
        "attention_hidden_size": 128,
        "num_hidden_layers": 4,
        "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"],
    },
}
"""By model_type. A mapping goes to the part of that name."""
