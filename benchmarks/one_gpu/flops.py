"""Arithmetic of a decoder with grouped-query attention and a gated MLP, counted: what MFU divides by time and peak.

A product with a weight matrix costs 2 operations for each weight and token. Attention costs 4 for each unit of the
queries' width and each key a query sees, causally counted. Backward costs as much again for the activations, and as
much again for the weights that are trained; attention has only activations, two for each it multiplied. Norms,
softmax, embeddings and recomputation are not counted (model FLOPs, as in PaLM, arXiv 2204.02311, appendix B).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

PEAK_BF16 = {"A100": 312e12, "H100": 989e12, "H100 PCIe": 756e12, "H100 NVL": 835e12, "H200": 989e12}
"""Dense bfloat16 operations a second by NVIDIA's data sheets; a bare name is the SXM part."""


@dataclass(frozen=True)
class Work:
    """What a forward pass does: counts over its whole batch."""

    tokens: int
    """Tokens through the layers."""
    seen: int
    """Keys seen, summed over queries."""
    predictions: int
    """Places whose logits are needed."""

    def __add__(self, other: Work) -> Work:
        return Work(self.tokens + other.tokens, self.seen + other.seen, self.predictions + other.predictions)


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder that its arithmetic depends on."""

    layers: int
    hidden: int
    queries: int
    """Query heads x head size."""
    keys: int
    """Key heads x head size."""
    intermediate: int
    vocabulary: int

    @classmethod
    def of(cls, config: Any) -> Shape:
        """Read them from a configuration of transformers (Llama, Mistral, Qwen2)."""
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return cls(
            layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            queries=config.num_attention_heads * size,
            keys=config.num_key_value_heads * size,
            intermediate=config.intermediate_size,
            vocabulary=config.vocab_size,
        )

    @property
    def weights(self) -> int:
        """Weights of the layers' matrices; the head's are apart."""
        attention = self.hidden * (2 * self.queries + 2 * self.keys)
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    def forward(self, work: Work) -> float:
        """Operations of a forward pass."""
        return self._matrices(work) + self._attention(work)

    def step(self, work: Work, adapters: int | None = None) -> float:
        """Operations of forward and backward: of full training, or of `adapters` LoRA weights on a frozen model."""
        attention = 3 * self._attention(work)
        if adapters is None:
            return 3 * self._matrices(work) + attention
        return 2 * self._matrices(work) + attention + 6 * adapters * work.tokens

    def _matrices(self, work: Work) -> float:
        return 2.0 * (self.weights * work.tokens + self.hidden * self.vocabulary * work.predictions)

    def _attention(self, work: Work) -> float:
        return 4.0 * self.layers * self.queries * work.seen


def causal(length: int) -> Work:
    """A sequence of `length` tokens, with logits everywhere."""
    return Work(length, length * (length + 1) // 2, length)


def prompt_with_answers(prompt: int, answers: Iterable[int]) -> Work:
    """A prompt read once, and answers (lengths) that each see the prompt and themselves; logits for answers alone."""
    work = Work(prompt, prompt * (prompt + 1) // 2, 0)
    for length in answers:
        work += Work(length, length * prompt + length * (length + 1) // 2, length)
    return work


def peak(device: str) -> float | None:
    """Dense bfloat16 peak of a GPU by its driver's name; None where the table has it not."""
    names = [name for name in PEAK_BF16 if all(word in device.replace("-", " ").split() for word in name.split())]
    return PEAK_BF16[max(names, key=len)] if names else None


def utilisation(operations: float, seconds: float, device: str) -> dict[str, Any]:
    """`mfu`, the share of the device's bfloat16 peak; None, with `mfu_reason`, where that is not known."""
    highest = peak(device)
    if highest is None:
        return {"mfu": None, "mfu_reason": f"no bfloat16 peak is known for {device}"}
    return {"mfu": operations / seconds / highest}
