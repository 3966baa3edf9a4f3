"""The parts `scoring` and `sampling` of `benchmarks/gpu.py`: the project's own against a plain loop and `generate`."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from benchmarks.one_gpu.bench import SEED, Bench, Pair, Size, rates, total
from benchmarks.one_gpu.flops import Work, causal
from hardening_trainer.inference.logprobs import answer_logprobs, batch_tokens
from hardening_trainer.inference.sampling import DEFAULT_BATCH_ROWS, SamplingParams, sample


def scoring(bench: Bench) -> dict[str, Any]:
    """A plain forward pass, and pairs scored by ours and in padded batches."""
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

    passes = tuple(dict.fromkeys((batch_tokens(model), *bench.size.pass_tokens)))
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
    size = bench.size
    model, prompts = bench.model(), [pair.prompt for pair in bench.pairs(size.sampled_prompts)]
    prompts = [prompt[: size.prompt[1] // 2] for prompt in prompts]
    params = SamplingParams(temperature=1.0, top_p=0.95, max_new_tokens=size.new_tokens)
    rows = {"default batch": DEFAULT_BATCH_ROWS, "large batch": len(prompts) * size.variants}
    tokens = float(len(prompts) * size.variants * size.new_tokens)

    def ours(batch: int) -> Callable[[], Any]:
        return lambda: sample(model, prompts, size.variants, params, seed=SEED, eos_ids=[], batch_size=batch)

    def theirs(batch: int) -> Callable[[], Any]:
        return lambda: generate(model, prompts, size, params, batch)

    contenders: dict[str, tuple[Callable[[], Any], float]] = {}
    for name, batch in rows.items():
        contenders[name] = (ours(batch), tokens)
        contenders[f"generate, {name}"] = (theirs(batch), tokens)
    return {**rates(contenders, size.repeats), "rows": rows, "new_tokens_of_a_variant": size.new_tokens}


def generate(model: Any, prompts: Sequence[list[int]], size: Size, params: SamplingParams, rows: int) -> None:
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
