"""What every part of `benchmarks/gpu.py` works with: the size of the work, model, pairs, clocks, the machine.

Weights are random and lengths are drawn with a fixed seed, so every arm of a comparison has the same model and the
same token ids, made where it runs.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import random
import resource
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import torch
from transformers import AutoModelForCausalLM, MistralConfig, PreTrainedModel

from benchmarks.one_gpu.flops import Shape, Work, prompt_with_answers, utilisation

VERSIONS = ("torch", "transformers", "peft", "accelerate", "trl", "deepspeed", "pyarrow")
SEED = 0
MISTRAL_7B = {
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 32768, "sliding_window": None,
}  # fmt: skip
TINY = {
    "vocab_size": 256, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024, "sliding_window": None,
}  # fmt: skip


class Skipped(Exception):
    """A part cannot be run here; its text says why."""


@dataclass(frozen=True)
class Size:
    """How large each part's work is. Lengths are in tokens, drawn evenly from (lowest, highest)."""

    shape: dict[str, Any]
    device: str
    dtype: str
    prompt: tuple[int, int]
    answer: tuple[int, int]
    forward: tuple[int, int]
    """Sequences, and tokens of each, of the plain forward pass."""
    scored_pairs: int
    pass_tokens: tuple[int, ...]
    """Sizes of a scoring pass tried besides the Score stage's own."""
    padded_sequences: int
    """Sequences of a padded batch."""
    sampled_prompts: int
    variants: int
    new_tokens: int
    step_pairs: int
    """Pairs of an optimizer step."""
    steps: int
    """Optimizer steps; the first is not measured."""
    full_steps: int
    full_layers: int
    """Layers of the model all of whose weights are trained: its optimizer takes 12 bytes a weight, gradients 4."""
    repeats: int


GPU = Size(
    shape=MISTRAL_7B, device="cuda", dtype="bfloat16", prompt=(64, 512), answer=(64, 512), forward=(8, 1024),
    scored_pairs=48, pass_tokens=(512, 8192), padded_sequences=16, sampled_prompts=48, variants=4, new_tokens=48,
    step_pairs=4, steps=8, full_steps=3, full_layers=16, repeats=2,
)  # fmt: skip
DRY = Size(
    shape=TINY, device="cpu", dtype="float32", prompt=(4, 12), answer=(4, 12), forward=(2, 16),
    scored_pairs=4, pass_tokens=(64,), padded_sequences=4, sampled_prompts=3, variants=2, new_tokens=3,
    step_pairs=2, steps=3, full_steps=3, full_layers=1, repeats=1,
)  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """Token ids of a prompt and two answers."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]

    @property
    def work(self) -> Work:
        """What must be computed of it: the prompt once, each answer once."""
        return prompt_with_answers(len(self.prompt), (len(self.chosen), len(self.rejected)))


@dataclass
class Bench:
    """What every part works with."""

    size: Size
    engine: str | None
    """Of full: `DeepSpeed`, `Torch`, or None for DeepSpeed where it is installed."""
    config: MistralConfig = field(init=False)

    def __post_init__(self) -> None:
        if self.size.device == "cuda" and not torch.cuda.is_available():
            raise Skipped("PyTorch sees no CUDA device: give it one, or --dry-run")
        # Without an end token: every arm then draws as many tokens.
        self.config = MistralConfig(**self.size.shape, tie_word_embeddings=False, eos_token_id=None)
        self.shape = Shape.of(self.config)
        self.dtype = getattr(torch, self.size.dtype)

    def model(self, dtype: torch.dtype | None = None) -> PreTrainedModel:
        """The model, its weights drawn where they stay; equal for equal dtypes."""
        torch.manual_seed(SEED)
        with torch.device(self.size.device):
            model: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
                self.config, dtype=dtype or self.dtype, attn_implementation="sdpa"
            )
        model.train(False)
        return model

    def pairs(self, count: int) -> list[Pair]:
        """The first `count` drawn pairs."""
        source = random.Random(SEED)  # noqa: S311  # lengths and ids, no secrets
        size = self.size

        def ids(span: tuple[int, int]) -> list[int]:
            return [source.randrange(3, self.config.vocab_size) for _ in range(source.randint(*span))]

        return [Pair(ids(size.prompt), ids(size.answer), ids(size.answer)) for _ in range(count)]

    def mfu(self, operations: float, seconds: float) -> dict[str, Any]:
        """Share of the device's peak; None, with the reason, where that is not known."""
        return utilisation(operations, seconds, device_name(self.size.device))

    def wait(self) -> None:
        """Wait until the device has done what it was asked."""
        if self.size.device == "cuda":
            torch.cuda.synchronize()


def device_name(device: str) -> str:
    """The GPU's name, by its driver; or what kind of CPU this is."""
    return torch.cuda.get_device_name() if device == "cuda" else f"a CPU ({platform.machine()})"


def total(pairs: Sequence[Pair]) -> Work:
    """Work of all pairs."""
    work = Work(0, 0, 0)
    for pair in pairs:
        work += pair.work
    return work


def rates(contenders: Mapping[str, tuple[Callable[[], Any], float]], repeats: int) -> dict[str, Any]:
    """Seconds and tokens a second of each contender (work, its tokens), in turns after one unmeasured round."""
    for work, _ in contenders.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, (work, _) in contenders.items():
            started = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - started)
            print(f"{name}: {seconds[name][-1]:.3f} s", flush=True)
    return {
        name: {"seconds": taken, "tokens": contenders[name][1]}
        | {"tokens_per_second": contenders[name][1] / statistics.median(taken)}
        for name, taken in seconds.items()
    }


def machine(size: Size) -> dict[str, Any]:
    """What the figures were measured on, and the size of the work."""
    versions: dict[str, str | None] = {}
    for name in VERSIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    gpu = torch.cuda.get_device_properties(0) if size.device == "cuda" else None
    return {
        "device": device_name(size.device),
        "device_memory_bytes": gpu.total_memory if gpu else None,
        "cuda": torch.version.cuda,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
        "size": dataclasses.asdict(size),
    }


@contextmanager
def peak_memory(device: str) -> Iterator[Callable[[], int]]:
    """Bytes at most held inside the block: PyTorch's on a GPU, the whole process's (ever) on a CPU."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        yield torch.cuda.max_memory_allocated
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        yield lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextmanager
def one_process_group() -> Iterator[None]:
    """Environment of the only process of a group, as torchrun would set it, which DeepSpeed needs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in given.items()}
    try:
        yield
    finally:
        for name in given:
            del os.environ[name]
