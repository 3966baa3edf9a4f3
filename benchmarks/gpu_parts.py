"""The parts of `benchmarks/gpu.py`, each run alone: `python -m benchmarks.gpu_parts PART SETTINGS RECORD`.

Weights are random and lengths are drawn with a fixed seed, so every arm of a comparison has the same model and the
same token ids, made where it runs.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import platform
import random
import resource
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from benchmarks.flops import Shape, Work, causal, prompt_with_answers, utilisation
from transformers import AutoModelForCausalLM, MistralConfig, PreTrainedModel

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


class Skipped(Exception):  # noqa: N818  # a part that is left out is no error
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
    repeats: int


GPU = Size(
    shape=MISTRAL_7B, device="cuda", dtype="bfloat16", prompt=(64, 512), answer=(64, 512), forward=(8, 1024),
    scored_pairs=48, pass_tokens=(2048, 8192), padded_sequences=16, sampled_prompts=48, variants=4, new_tokens=48,
    step_pairs=4, steps=8, full_steps=3, repeats=2,
)  # fmt: skip
DRY = Size(
    shape=TINY, device="cpu", dtype="float32", prompt=(4, 12), answer=(4, 12), forward=(2, 16),
    scored_pairs=4, pass_tokens=(64,), padded_sequences=4, sampled_prompts=3, variants=2, new_tokens=3,
    step_pairs=2, steps=3, full_steps=3, repeats=1,
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
            model: PreTrainedModel = AutoModelForCausalLM.from_config(
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


def scoring(bench: Bench) -> dict[str, Any]:
    """A plain forward pass, and pairs scored by ours and in padded batches."""
    from hardening_trainer.scoring import DEFAULT_BATCH_TOKENS, answer_logprobs  # noqa: PLC0415  # a part's own

    model, pairs = bench.model(), bench.pairs(bench.size.scored_pairs)
    unique = total(pairs).tokens
    rows, length = bench.size.forward
    ids = torch.randint(3, bench.config.vocab_size, (rows, length), device=bench.size.device)
    sums: dict[str, list[float]] = {}

    def forward() -> None:
        with torch.inference_mode():
            model(input_ids=ids, use_cache=False)
        bench.wait()

    def ours(name: str, pass_tokens: int) -> Callable[[], None]:
        def score() -> None:
            answers = [[pair.chosen, pair.rejected] for pair in pairs]
            scored = answer_logprobs(model, [pair.prompt for pair in pairs], answers, pass_tokens)
            sums[name] = [value for both in scored for value in both]

        return score

    def padded() -> None:
        sums["padded"] = padded_logprobs(model, pairs, bench.size.padded_sequences)

    passes = (DEFAULT_BATCH_TOKENS, *bench.size.pass_tokens)
    contenders: dict[str, tuple[Callable[[], Any], float]] = {"forward": (forward, rows * length)}
    contenders |= {f"ours, {tokens} tokens a pass": (ours(f"ours {tokens}", tokens), unique) for tokens in passes}
    contenders["padded"] = (padded, unique)
    figures = rates(contenders, bench.size.repeats)
    own = [figures[f"ours, {tokens} tokens a pass"] for tokens in passes]
    work = Work(0, 0, 0)
    for _ in range(rows):
        work += causal(length)
    forward_seconds = statistics.median(figures["forward"]["seconds"])
    figures["forward"] |= bench.mfu(bench.shape.forward(work), forward_seconds)
    largest = max(abs(a - b) for name in sums for a, b in zip(sums[name], sums["padded"], strict=True))
    return {
        **figures,
        "default pass": own[0],
        "best pass": max(own, key=lambda figure: float(figure["tokens_per_second"])),
        "tokens_read_with_every_prompt_twice": sum(
            2 * len(pair.prompt) + len(pair.chosen) + len(pair.rejected) for pair in pairs
        ),
        "largest_difference_nats": largest,
    }


@torch.inference_mode()
def padded_logprobs(model: PreTrainedModel, pairs: Sequence[Pair], batch: int) -> list[float]:
    """Sums of answers' log-probabilities (nats), chosen then rejected of each pair, as a plain loop computes them.

    Sequences of like length share a batch, padded on the right; logits are taken everywhere, a sequence at a time
    made float32.
    """
    sequences = [(pair.prompt, answer) for pair in pairs for answer in (pair.chosen, pair.rejected)]
    order = sorted(range(len(sequences)), key=lambda index: -len(sequences[index][0]) - len(sequences[index][1]))
    sums: list[torch.Tensor] = [torch.empty(0)] * len(sequences)
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        wholes = [sequences[index][0] + sequences[index][1] for index in chosen]
        width = max(len(whole) for whole in wholes)
        ids = torch.tensor([whole + [0] * (width - len(whole)) for whole in wholes], device=model.device)
        mask = torch.tensor([[1] * len(whole) + [0] * (width - len(whole)) for whole in wholes], device=model.device)
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        for row, index in enumerate(chosen):
            begin, end = len(sequences[index][0]), len(wholes[row])
            logps = logits[row, begin - 1 : end - 1].float().log_softmax(dim=-1)
            sums[index] = logps.gather(-1, ids[row, begin:end, None]).sum(dtype=torch.float64)
    return [float(value) for value in torch.stack(sums).tolist()]


def sampling(bench: Bench) -> dict[str, Any]:
    """Variants of prompts, by ours and by `generate`, in batches of the same rows; no answer ends early."""
    from hardening_trainer.sampling import DEFAULT_BATCH_ROWS, SamplingParams, sample  # noqa: PLC0415

    size = bench.size
    model, prompts = bench.model(), [pair.prompt for pair in bench.pairs(size.sampled_prompts)]
    prompts = [prompt[: size.prompt[1] // 2] for prompt in prompts]
    params = SamplingParams(temperature=1.0, top_p=0.95, max_new_tokens=size.new_tokens)
    rows = {"default batch": DEFAULT_BATCH_ROWS, "large batch": len(prompts) * size.variants}
    tokens = float(len(prompts) * size.variants * size.new_tokens)

    def ours(batch: int) -> Callable[[], Any]:
        return lambda: sample(model, prompts, size.variants, params, seed=SEED, eos_ids=[], batch_size=batch)

    contenders: dict[str, tuple[Callable[[], Any], float]] = {}
    for name, batch in rows.items():
        contenders[name] = (ours(batch), tokens)
        contenders[f"generate, {name}"] = (lambda batch=batch: generate(model, prompts, size, params, batch), tokens)
    return {**rates(contenders, size.repeats), "rows": rows, "new_tokens_of_a_variant": size.new_tokens}


def generate(model: Any, prompts: Sequence[list[int]], size: Size, params: Any, rows: int) -> None:
    """The same variants' count by `generate`: prompts of like length together, padded on the left."""
    ordered = sorted(prompts, key=len)
    count = max(1, rows // size.variants)
    for start in range(0, len(ordered), count):
        batch = ordered[start : start + count]
        width = max(len(prompt) for prompt in batch)
        ids = [[0] * (width - len(prompt)) + prompt for prompt in batch]
        mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in batch]
        model.generate(
            torch.tensor(ids, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            do_sample=True, temperature=params.temperature, top_p=params.top_p, top_k=0,
            num_return_sequences=size.variants, max_new_tokens=params.max_new_tokens,
            eos_token_id=None, pad_token_id=0,
        )  # fmt: skip


def dpo(bench: Bench, method: str, stock: bool) -> dict[str, Any]:
    """Optimizer steps of one arm: seconds, MFU, peak memory, losses."""
    from benchmarks import gpu_dpo  # noqa: PLC0415  # TRL and datasets, which a device may lack

    return gpu_dpo.steps(bench, method, stock)


PARTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "scoring": scoring,
    "sampling": sampling,
    "lora": lambda bench: dpo(bench, "LoRA", stock=False),
    "lora_trl": lambda bench: dpo(bench, "LoRA", stock=True),
    "full": lambda bench: dpo(bench, "Full", stock=False),
    "full_trl": lambda bench: dpo(bench, "Full", stock=True),
}


def record(part: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A part's figures under `status` done, or why there are none."""
    try:
        bench = Bench(DRY if settings["dry_run"] else GPU, settings["engine"])
        done: dict[str, Any] = {"status": "done", "machine": machine(bench.size), **PARTS[part](bench)}
        return done
    except Skipped as reason:
        return {"status": "skipped", "reason": str(reason)}
    except Exception as error:
        package = _missing_package(error)
        if package is not None:
            return {"status": "skipped", "reason": f"{package} is not installed: carry its wheel with --wheels"}
        lines = str(error).strip().splitlines() or [""]
        return {"status": "failed", "reason": f"{type(error).__name__}: {lines[0]}"[:500]}


def _missing_package(error: Exception) -> str | None:
    """The package an import failed for, if it is not there at all; a missing module of one that is there is a fault."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return None
    package = error.name.partition(".")[0]
    return package if importlib.util.find_spec(package) is None else None


def machine(size: Size) -> dict[str, Any]:
    """What the figures were measured on, and the size of the work."""
    versions = {}
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


def main(part: str, settings: str, path: str) -> int:
    """Run one part and leave its record."""
    figures = record(part, json.loads(settings))
    answer = Path(path)
    with tempfile.NamedTemporaryFile("w", dir=answer.parent, delete=False) as unfinished:
        json.dump(figures, unfinished)
    Path(unfinished.name).replace(answer)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
