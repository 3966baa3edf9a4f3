"""A random chat model small enough for any test: seconds to build, milliseconds to run.

It has what a real one has and our code relies on: grouped-query attention, a byte-level BPE tokenizer with a
chat template that ends each turn with its own token, and safetensors weights written by `save_pretrained`.
"""

from __future__ import annotations

import string
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

START, END, UNKNOWN = "<|im_start|>", "<|im_end|>", "<|endoftext|>"

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

WORDS = (
    "user assistant system how do I bake bread water the plants please tell me about a walk in the park "
    "sorry I cannot help with that here is what you can do first second then finally yes no thank you "
    "the quick brown fox jumps over the lazy dog and naps under an old apple tree until the rain begins"
)

_ARCHITECTURES: dict[str, tuple[type, type]] = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
}


def build_tiny_tokenizer(vocab_size: int = 400) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on fixed words, with a ChatML template; no text is unknown to it."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[UNKNOWN, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([WORDS, string.printable], trainer)
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers leaves it so
        tokenizer_object=bpe, bos_token=START, eos_token=END, pad_token=END, unk_token=UNKNOWN
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def build_spaced_tokenizer(prepend_scheme: str) -> PreTrainedTokenizerFast:
    """A tokenizer that writes spaces as `▁` and may put one before what it is given, as SentencePiece's do."""
    special = [UNKNOWN, START, END, *(f"<0x{byte:02X}>" for byte in range(256))]
    bpe = Tokenizer(models.BPE(unk_token=UNKNOWN, byte_fallback=True))
    bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend_scheme, split=False)
    bpe.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=list(string.printable), show_progress=False
    )
    bpe.train_from_iterator([WORDS, string.printable], trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers leaves it so
        tokenizer_object=bpe, bos_token=START, eos_token=END, unk_token=UNKNOWN
    )


def build_tiny_model(
    folder: str | Path,
    *,
    seed: int = 0,
    architecture: str = "llama",
    hidden_size: int = 32,
    vocab_size: int = 400,
) -> Path:
    """Write a random two-layer chat model and its tokenizer to `folder`, and return it.

    `architecture` is one of "llama", "mistral", "qwen2". Equal seeds give equal weights, and the caller's own
    random state is left as it was.
    """
    folder = Path(folder)
    tokenizer = build_tiny_tokenizer(vocab_size)
    config_class, model_class = _ARCHITECTURES[architecture]
    config = config_class(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.2,  # wide enough that next-token distributions are far from flat
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = model_class(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
