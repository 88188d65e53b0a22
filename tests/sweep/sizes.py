"""What is made small in a config, by field name."""

from tests.engine import tiny

NUMBER_OF_LAYERS = (
    "num_hidden_layers",
    "n_layer",
    "n_layers",
    "num_layers",
    "decoder_layers",
    "num_decoder_layers",
    "num_blocks",
    "depth",
)
"""The first of these in a config is its number of layers. Lists of that length have an entry for each layer."""

_SIZES: dict[int, str] = {
    tiny.VOCABULARY: "vocab_size vocab_size_per_layer_input decoder_vocab_size unpadded_vocab_size audio_vocab_size",
    tiny.CONTEXT: "max_position_embeddings n_positions n_ctx max_seq_len context_length max_target_positions",
    128: "intermediate_size d_inner ffn_dim decoder_ffn_dim encoder_ffn_dim dff dim_ff ffn_hidden_size n_inner"
    " feed_forward_size mlp_dim shared_intermediate_size dense_intermediate_size intermediate_size_mlp"
    " prefix_dense_intermediate_size",
    64: "hidden_size d_model n_embd emb_dim embedding_dim embedding_size input_embedding_size output_embedding_size"
    " word_embed_proj_dim moe_intermediate_size shared_expert_intermediate_size expert_ffn_hidden_size"
    " moe_shared_expert_intermediate_size hidden_size_per_layer_input laurel_rank q_lora_rank kv_lora_rank o_lora_rank"
    " global_head_dim mamba_dt_rank time_step_rank lru_width out_hidden_size pronunciation_embed_dim shape_embed_dim"
    " prompt_mid_dim router_hidden_size linear_head_dim hc_lowrank adapter_in_dim adapter_out_dim"
    " adapter_input_size index_head_dim qk_nope_head_dim gated_norm_rank adapter_rank attention_hidden_size",
    32: "head_dim attention_head_size kv_channels d_head dim_head swa_head_dim v_head_dim qk_rope_head_dim"
    " mamba_n_heads mamba_num_heads mamba_d_state state_size ssm_state_size linear_num_key_heads"
    " linear_num_value_heads index_n_heads indexer_n_heads num_experts n_routed_experts num_local_experts"
    " moe_num_experts zero_expert_num mamba_chunk_size chunk_size query_pre_attn_scalar",
    16: "num_position_embeddings index_topk pronunciation_vocab_size shape_vocab_size",
    8: "sliding_window sliding_window_size attention_window_size local_attention local_attention_window_len"
    " keep_window_size rotary_dim window_size linear_key_head_dim linear_value_head_dim attention_chunk_size",
    4: "num_attention_heads n_head n_heads decoder_attention_heads encoder_attention_heads attention_heads"
    " num_decoder_attention_heads num_encoder_attention_heads num_heads linear_num_heads swa_num_attention_heads"
    " mamba_d_head mamba_head_dim",
    2: " ".join((*NUMBER_OF_LAYERS, "encoder_layers num_encoder_layers num_global_layers")),
}
SIZES = {name: size for size, names in _SIZES.items() for name in names.split()}

_AT_MOST: dict[int, str] = {
    2: "num_experts_per_tok moe_topk moe_top_k moe_k top_k_experts experts_per_token",
    1: "n_group topk_group n_shared_experts num_shared_experts first_k_dense_replace num_nextn_predict_layers"
    " moe_layer_start_index mamba_n_groups n_groups mamba_ngroups num_nextn_predict_layers",
}
AT_MOST = {name: size for size, names in _AT_MOST.items() for name in names.split()}

QUERY_HEADS = ("num_attention_heads", "n_heads", "swa_num_attention_heads")
KEY_VALUE_HEADS = ("num_key_value_heads", "num_kv_heads", "kv_n_heads", "swa_num_key_value_heads")

NO_TOKEN = ("forced_eos_token_id", "forced_bos_token_id", "suppress_tokens", "begin_suppress_tokens")
"""Settings of `generate` that a type's config gives its models. The program drops them."""
