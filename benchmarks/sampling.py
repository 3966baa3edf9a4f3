"""Drawing K variants a prompt: ours in batches against `generate`, one variant at a time.

    python -m benchmarks.sampling --model FOLDER --pairs FILE.jsonl --rows 16

Speed is in new tokens a second, since the two draw different answers; greedy answers of both must be the same.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import torch
from transformers import PreTrainedModel, set_seed

from benchmarks.harness import arguments, interleaved, ratios, read_rows, report
from hardening_trainer.inference.chat import encode_prompt
from hardening_trainer.inference.sampling import DEFAULT_BATCH_ROWS, Sampled, SamplingParams, sample
from hardening_trainer.models import end_of_turn_ids, load_causal_lm, load_tokenizer

GOALS = {"generate, one by one": 5.0}
CHECKED_PROMPTS = 3


def one_by_one(
    model: PreTrainedModel, prompts: list[list[int]], num_return: int, params: SamplingParams, eos: list[int]
) -> list[list[list[int]]]:
    """New token ids, the end token included, by `generate` for each variant of each prompt."""
    generate: Any = model.generate
    drawing: dict[str, Any] = {"do_sample": False}
    if params.temperature > 0:
        drawing = {
            "do_sample": True,
            "temperature": params.temperature,
            "top_p": params.top_p,
            "top_k": 0,
        }

    def draw(prompt: list[int]) -> list[int]:
        ids = torch.tensor([prompt], device=model.device)
        whole = generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=params.max_new_tokens,
            eos_token_id=eos,
            pad_token_id=eos[0],
            **drawing,
        )
        return [int(token) for token in whole[0, len(prompt) :]]

    return [[draw(prompt) for _ in range(num_return)] for prompt in prompts]


def new_tokens(variants: list[list[Sampled]]) -> int:
    """Tokens drawn, the end token included."""
    return sum(len(variant.token_ids) + variant.ended for own in variants for variant in own)


def greedy_differences(model: PreTrainedModel, prompts: list[list[int]], params: SamplingParams, eos: list[int]) -> int:
    """Prompts whose greedy answers differ between the two."""
    greedy = SamplingParams(temperature=0, max_new_tokens=params.max_new_tokens)
    drawn = sample(model, prompts, 1, greedy, seed=0, eos_ids=eos)
    expected = one_by_one(model, prompts, 1, greedy, eos)
    return sum(
        variant.token_ids != theirs[: len(theirs) - variant.ended]
        for [variant], [theirs] in zip(drawn, expected, strict=True)
    )


def main() -> int:
    """Measure, print, write; 1 when greedy answers differ."""
    parser = arguments("Sampling against one-by-one generate", rows=16)
    parser.add_argument("--variants", type=int, default=4, help="K, variants of each prompt")
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=DEFAULT_BATCH_ROWS, help="rows a batch, ours")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    return _measure(options)


def _measure(options: argparse.Namespace) -> int:
    model, tokenizer = load_causal_lm(options.model), load_tokenizer(options.model)
    rows = read_rows(options.pairs, options.rows)
    prompts = [encode_prompt(tokenizer, row["prompt"]) for row in rows]
    eos = end_of_turn_ids(model, tokenizer)
    params = SamplingParams(temperature=1.0, top_p=0.95, max_new_tokens=options.max_new_tokens)
    count = options.variants

    def ours() -> float:
        drawn = sample(model, prompts, count, params, seed=0, eos_ids=eos, batch_size=options.batch_size)
        return float(new_tokens(drawn))

    def theirs() -> float:
        set_seed(0)
        drawn = one_by_one(model, prompts, count, params, eos)
        return float(sum(len(ids) for own in drawn for ids in own))

    seconds = interleaved({"ours": ours, "generate, one by one": theirs}, options.repeats)
    differing = greedy_differences(model, prompts[:CHECKED_PROMPTS], params, eos)
    result = {
        "prompts": len(prompts),
        "variants": count,
        "max_new_tokens": params.max_new_tokens,
        "prompt_tokens": sum(len(prompt) for prompt in prompts),
        "dtype": str(model.dtype),
        "seconds_per_new_token": seconds,
        "times_faster_than": ratios(seconds, "ours"),
        "goals": GOALS,
        "greedy_answers_that_differ": differing,
    }
    report("sampling", result, options.output)
    print(f"greedy answers that differ: {differing} of {CHECKED_PROMPTS}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
