"""What one round's attack and scoring cost as K (variants a prompt) and n (prompts) grow: linear, or less.

    python -m benchmarks.growth --model FOLDER --pairs FILE.jsonl

The exponent is the slope of log seconds over log size, by least squares over all rounds: 1 is linear, below 1 is
cheaper (what the variants of a prompt share is read once), 2 would be quadratic.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks.harness import RESULTS, arguments, interleaved, machine, read_rows, write
from hardening_trainer.inference.chat import encode_pair, encode_prompt
from hardening_trainer.inference.logprobs import answer_logprobs
from hardening_trainer.inference.sampling import SamplingParams, sample
from hardening_trainer.models import end_of_turn_ids, load_causal_lm, load_tokenizer

PROMPTS, VARIANTS = (4, 8, 16), (2, 4, 8)
MOST = 1.15
"""Greatest exponent that passes for linear, given the noise of a few rounds."""


def attack_and_score(
    model: Any, tokenizer: Any, rows: Sequence[dict[str, str]], variants: int, tokens: int
) -> Callable[[], float]:
    """One pass: sample `variants` of every row's prompt, then score both answers behind each."""
    prompts = [encode_prompt(tokenizer, row["prompt"]) for row in rows]
    ends = end_of_turn_ids(model, tokenizer)
    params = SamplingParams(temperature=1.0, top_p=0.95, max_new_tokens=tokens)

    def run() -> float:
        drawn = sample(model, prompts, variants, params, seed=0, eos_ids=ends)
        pairs = [
            encode_pair(
                tokenizer, f"{tokenizer.decode(one.token_ids)} {row['prompt']}", row["preferred"], row["dispreferred"]
            )
            for row, several in zip(rows, drawn, strict=True)
            for one in several
        ]
        answer_logprobs(model, [pair.prompt for pair in pairs], [[pair.preferred, pair.dispreferred] for pair in pairs])
        return 1.0

    return run


def exponent(sizes: Sequence[int], seconds: Sequence[Sequence[float]]) -> float:
    """Slope of log seconds over log size."""
    points = [
        (math.log(size), math.log(value)) for size, values in zip(sizes, seconds, strict=True) for value in values
    ]
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


def main() -> int:
    """Measure, print, write; 1 where the cost grows faster than linearly."""
    parser = arguments(str(__doc__).splitlines()[0], rows=max(PROMPTS))
    parser.add_argument("--max-new-tokens", type=int, default=24)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model, tokenizer = load_causal_lm(options.model), load_tokenizer(options.model)
    rows = read_rows(options.pairs, max(PROMPTS))
    middle = VARIANTS[1]
    ways = {
        f"n {count}": attack_and_score(model, tokenizer, rows[:count], middle, options.max_new_tokens)
        for count in PROMPTS
    }
    ways |= {
        f"K {count}": attack_and_score(model, tokenizer, rows[: PROMPTS[1]], count, options.max_new_tokens)
        for count in VARIANTS
    }
    ways["n 4"]()  # the first pass pays for what is loaded late
    seconds = interleaved(ways, options.repeats)
    exponents = {
        name: exponent(sizes, [seconds[f"{name} {size}"] for size in sizes])
        for name, sizes in (("n", PROMPTS), ("K", VARIANTS))
    }
    result = {
        "max_new_tokens": options.max_new_tokens,
        "n_at_K": middle,
        "K_at_n": PROMPTS[1],
        "dtype": str(model.dtype),
        "seconds": seconds,
        "exponents": exponents,
        "goal": f"at most {MOST}",
    }
    write({"machine": machine(), **result}, options.output or RESULTS / "growth.json")
    print(exponents)
    return 0 if max(exponents.values()) <= MOST else 1


if __name__ == "__main__":
    sys.exit(main())
