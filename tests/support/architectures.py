"""Tiny random models of many architectures, and how each is scored, sampled and trained.

Windows and chunks are 8 tokens long, shorter than the sequences of the tests.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

WINDOW = 8
_COMMON: dict[str, Any] = {
    "vocab_size": 256,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,  # wide enough that next-token distributions are far from flat
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_ALTERNATING = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
_MAMBA2 = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1}
_LINEAR = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}


@dataclass(frozen=True)
class Architecture:
    """One model type of transformers, and what is expected of it."""

    type: str
    layers: str
    """What its layers do, for the table in the docs."""
    settings: dict[str, Any] = field(default_factory=dict)
    attention: str = "sdpa"
    shares: bool = True
    """Whether sequences share rows in scoring and sampling."""
    packs: bool = True
    """Whether pairs share rows in training."""

    def config(self) -> PretrainedConfig:
        """Of a model of a few ten thousand parameters."""
        if self.type == "gemma3":
            vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
            text = {**_COMMON, "head_dim": 8, **_ALTERNATING, "model_type": "gemma3_text"}
            tokens = {"image_token_index": 250, "boi_token_index": 251, "eoi_token_index": 252}
            return AutoConfig.for_model("gemma3", text_config=text, vision_config=vision, **tokens)
        return AutoConfig.for_model(self.type, **{**_COMMON, **self.settings})

    def build(self, folder: Path, seed: int = 0) -> Path:
        """Write the model to `folder`, without a tokenizer, and return that."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = AutoModelForCausalLM.from_config(self.config())
        model.save_pretrained(folder)
        return folder

    @property
    def row(self) -> str:
        """Its row of the table in the docs."""
        shared = "shared" if self.shares else "apart"
        return (
            f"| `{self.type}` | {self.layers} | {self.attention} | {shared} | {'packed' if self.packs else 'padded'} |"
        )


_WINDOWED, _MIXED, _FULL = "sliding window", "sliding window and full attention", "full attention"
_RECURRENT = "state space"


def _apart(type_: str, layers: str, settings: dict[str, Any], attention: str = "sdpa") -> Architecture:
    return Architecture(type_, layers, settings, attention, shares=False, packs=False)


ARCHITECTURES = [
    Architecture("llama", _FULL),
    Architecture("mistral", _WINDOWED, {"sliding_window": WINDOW}),
    Architecture("qwen2", _MIXED, {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}),
    Architecture("qwen3", _FULL, {"head_dim": 8}),
    Architecture("phi3", _WINDOWED, {"sliding_window": WINDOW}),
    Architecture("gemma", _FULL, {"head_dim": 8}),
    Architecture("gemma2", f"{_MIXED}, soft cap", {"head_dim": 8, "sliding_window": WINDOW}, "eager"),
    Architecture("gemma3_text", _MIXED, {"head_dim": 8, **_ALTERNATING}),
    Architecture("gemma3", f"{_MIXED}, beside a vision tower"),
    Architecture(
        "gpt_oss",
        f"{_MIXED}, sinks, experts",
        {"head_dim": 8, "sliding_window": WINDOW, "num_local_experts": 4, "num_experts_per_tok": 2},
        "eager",
        packs=False,
    ),
    Architecture("cohere2", f"{_MIXED}, scaled logits", _ALTERNATING, packs=False),
    Architecture("olmo2", _FULL),
    Architecture("olmo3", _MIXED, _ALTERNATING),
    Architecture("smollm3", _FULL),
    Architecture("granite", f"{_FULL}, scaled logits", {"logits_scaling": 4.0}, packs=False),
    Architecture("starcoder2", _WINDOWED, {"sliding_window": WINDOW, "embedding_dropout": 0.0}),
    Architecture("gpt2", _FULL, {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}),
    Architecture("gpt_neox", _FULL),
    Architecture("opt", _FULL, {"ffn_dim": 64, "word_embed_proj_dim": 32, "dropout": 0.0}),
    Architecture("mixtral", f"{_FULL}, experts", {"num_local_experts": 4}, packs=False),
    Architecture("qwen3_moe", f"{_FULL}, experts", {"head_dim": 8, **_EXPERTS}, packs=False),
    Architecture(
        "deepseek_v3",
        "latent attention, experts",
        {
            **_EXPERTS,
            "num_experts": 4,
            "n_routed_experts": 4,
            "n_group": 1,
            "topk_group": 1,
            "first_k_dense_replace": 1,
            "q_lora_rank": 8,
            "kv_lora_rank": 8,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 8,
            "v_head_dim": 8,
            "num_key_value_heads": 4,
        },
        packs=False,
    ),
    _apart(
        "llama4_text",
        "chunked and full attention, experts",
        {
            "head_dim": 8,
            "attention_chunk_size": WINDOW,
            "num_local_experts": 2,
            "intermediate_size_mlp": 64,
            "no_rope_layers": [1, 0],
        },
    ),
    _apart("bloom", f"{_FULL}, ALiBi", {"n_layer": 2, "n_head": 4}, "eager"),
    _apart("mpt", f"{_FULL}, ALiBi", {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 256}, "eager"),
    _apart("falcon", f"{_FULL}, ALiBi", {"alibi": True, "new_decoder_architecture": False}),
    _apart(
        "gpt_neo",
        "local and full attention",
        {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": WINDOW},
        "eager",
    ),
    _apart("lfm2", "short convolutions and attention", {"layer_types": ["conv", "full_attention"]}),
    _apart(
        "qwen3_next",
        "linear and full attention, experts",
        {"head_dim": 8, **_EXPERTS, **_LINEAR, "shared_expert_intermediate_size": 32},
    ),
    _apart("qwen3_5_text", "linear and full attention", {"head_dim": 8, **_LINEAR}),
    _apart(
        "granitemoehybrid",
        f"{_RECURRENT} and attention",
        {"layer_types": ["mamba", "attention"], "num_local_experts": 0, "shared_intermediate_size": 64, **_MAMBA2},
    ),
    _apart(
        "falcon_h1",
        f"{_RECURRENT} beside attention",
        {**_MAMBA2, "mamba_d_ssm": 32, "mamba_d_head": 8, "head_dim": 8, "lm_head_multiplier": 0.5},
    ),
    _apart("bamba", f"{_RECURRENT} and attention", {"attn_layer_indices": [1], **_MAMBA2}),
    _apart(
        "jamba",
        f"{_RECURRENT} and attention, experts",
        {
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "num_experts": 2,
            "num_experts_per_tok": 1,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "mamba_d_state": 8,
            "mamba_dt_rank": 4,
            "use_mamba_kernels": False,
        },
    ),
    _apart(
        "nemotron_h",
        f"{_RECURRENT} and attention",
        {
            "hybrid_override_pattern": "M*",
            "head_dim": 8,
            "mamba_num_heads": 4,
            "mamba_head_dim": 16,
            "ssm_state_size": 8,
            "n_groups": 1,
        },
    ),
    _apart(
        "zamba2",
        f"{_RECURRENT} and shared attention",
        {
            "num_hidden_layers": 3,
            "layers_block_type": ["mamba", "hybrid", "mamba"],
            "mamba_d_state": 8,
            "n_mamba_heads": 4,
            "mamba_ngroups": 1,
            "mamba_headdim": 16,
            "num_key_value_heads": 4,
        },
    ),
    _apart(
        "recurrent_gemma",
        "recurrence and local attention, soft cap",
        {
            "head_dim": 8,
            "attention_window_size": WINDOW,
            "lru_width": 32,
            "num_hidden_layers": 3,
            "block_types": ["recurrent", "attention"],
        },
    ),
    _apart(
        "minimax",
        "linear and full attention, experts",
        {"head_dim": 8, "num_local_experts": 2, "block_size": 16}
        | {"layer_types": ["linear_attention", "full_attention"]},
    ),
    _apart("mamba", _RECURRENT, {"state_size": 8, "time_step_rank": 4}, "eager"),
    _apart(
        "mamba2", _RECURRENT, {"num_heads": 4, "head_dim": 16, "state_size": 8, "n_groups": 1, "expand": 2}, "eager"
    ),
    _apart("falcon_mamba", _RECURRENT, {"state_size": 8, "time_step_rank": 4}, "eager"),
    _apart("rwkv", "recurrence; sampled without its cache", {"attention_hidden_size": 32}, "eager"),
]
