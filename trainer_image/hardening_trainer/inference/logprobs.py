"""Direct harmfulness R: how much more likely the defender finds the harmful answer than the safe one.

Many sequences to score share their beginning: the system prompt, the prompt of two answers, the start of a
refusal. So the sequences are laid into rows as tries (`trie`): each distinct beginning is computed once, a token
attends only to its own ancestors (a 4-D mask) and carries its depth as position. There is no padding, and logits are
taken only where an answer token is predicted. Models whose layers would mix what shares a row (see `sharing`) read
every sequence by itself instead, in batches padded on the right.

    rows = pack(prompts, answers) -> one forward pass per row -> log p(token | ancestors) -> sum per answer
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from hardening_trainer.errors import ModelNotUsable
from hardening_trainer.inference.attention import attention_masks, seen_ancestors
from hardening_trainer.inference.sharing import shares_beginnings
from hardening_trainer.inference.trie import Row, pack

OnBatch = Callable[[int, int], None]
"""Called after each batch with (prompts done, prompts in all)."""

BATCH_TOKENS = {"cpu": 512, "accelerator": 2048}
"""Tokens of a forward pass. A CPU computes what a mask hides, so larger rows cost it more; a GPU they keep busy."""
_LOGITS_AT_ONCE = 256
"""Positions whose logits are held in float32 at a time."""
NOT_FINITE = "expected a finite number: look for NaN in its weights, and try HARDENING_DTYPE=float32"

_Value = tuple[int, int, float]
"""A prompt's index, its answer's, and the answer's log-probability."""


def answer_logprobs(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    answers: Sequence[Sequence[list[int]]],
    max_batch_tokens: int | None = None,
    on_batch: OnBatch | None = None,
) -> list[list[float]]:
    """Sum of log-probabilities (nats) of the tokens of every answer, given its prompt.

    `prompts[i]` are token ids, `answers[i]` any number of answers to it; the result has the shape of `answers`.
    `max_batch_tokens` (None: `BATCH_TOKENS`) bounds the tokens of one forward pass, hence memory: logits are [answer
    positions, vocabulary], the mask [tokens, tokens]. A longer sequence goes alone, and one prompt with its answers
    may have twice as many. Log-softmax is in float32, sums in float64. The figures do not depend on
    `max_batch_tokens` beyond rounding. Raises ValueError on an empty prompt, ModelNotUsable
    where the model computes no finite number.
    """
    _check(prompts, answers)
    result = [[0.0] * len(of_prompt) for of_prompt in answers]
    remaining = [len(of_prompt) for of_prompt in answers]
    done = sum(1 for count in remaining if not count)
    was_training = model.training
    model.train(False)
    try:
        for values in _batches(model, prompts, answers, max_batch_tokens or batch_tokens(model)):
            for prompt, answer, value in values:
                if not math.isfinite(value):
                    raise ModelNotUsable(model.name_or_path, f"the log-probability of an answer is {value}", NOT_FINITE)
                result[prompt][answer] = value
                remaining[prompt] -= 1
                done += not remaining[prompt]
            if on_batch is not None:
                on_batch(done, len(prompts))
    finally:
        model.train(was_training)
    return result


def batch_tokens(model: PreTrainedModel) -> int:
    """Return how many tokens a forward pass of this model takes by default."""
    return BATCH_TOKENS["cpu" if model.device.type == "cpu" else "accelerator"]


def direct_harmfulness(
    defender_preferred: float,
    defender_dispreferred: float,
    reference_preferred: float | None = None,
    reference_dispreferred: float | None = None,
    alpha: float = 0.0,
    token_counts: tuple[int, int] | None = None,
) -> float:
    """R(x') = [log pi_def(y_l|x') - log pi_def(y_w|x')] - alpha * [log pi_ref(y_l|x') - log pi_ref(y_w|x')].

    Arguments are summed log-probabilities in nats (`answer_logprobs`); higher R means the defender leans further
    to the harmful answer. With `alpha` 0 no reference is needed; with `alpha` 1, -beta * R is TRL's
    `rewards/margins`. `token_counts` (preferred, dispreferred) turns sums into means per token, so that R compares
    across pairs.
    Raises ValueError on a negative or non-finite alpha, a missing reference, or a count below 1.
    """
    if not (math.isfinite(alpha) and alpha >= 0):
        raise ValueError(f"alpha: got {alpha}: expected a finite number of at least 0")
    preferred_count, dispreferred_count = token_counts or (1, 1)
    if min(preferred_count, dispreferred_count) < 1:
        raise ValueError(f"token_counts: got {token_counts}: expected at least one token in each answer")
    defender = defender_dispreferred / dispreferred_count - defender_preferred / preferred_count
    if alpha == 0:
        return defender
    if reference_preferred is None or reference_dispreferred is None:
        raise ValueError(f"alpha: got {alpha} without reference log-probabilities: give both, or alpha 0")
    reference = reference_dispreferred / dispreferred_count - reference_preferred / preferred_count
    return defender - alpha * reference


def select_pair(scores: Sequence[float | None], epsilon: float) -> tuple[int, int] | None:
    """Indices (argmax, argmin) of the variants of one prompt, for the attacker's preference pair.

    None or NaN marks an invalid variant. Of equal scores the lowest index is taken. Returns None, no pair,
    when fewer than two are valid or when they spread by less than `epsilon` (or not at all).
    """
    valid = [(score, index) for index, score in enumerate(scores) if score is not None and not math.isnan(score)]
    if len(valid) < 2:
        return None
    highest, best = max(valid, key=lambda item: (item[0], -item[1]))
    lowest, worst = min(valid)
    if highest == lowest or highest - lowest < epsilon:
        return None
    return best, worst


def _check(prompts: Sequence[list[int]], answers: Sequence[Sequence[list[int]]]) -> None:
    if len(prompts) != len(answers):
        raise ValueError(f"answers: got {len(answers)} lists for {len(prompts)} prompts: expected one for each")
    for index, prompt in enumerate(prompts):
        if not prompt:
            raise ValueError(f"prompts[{index}]: got no token: expected at least one before the answer")


def _batches(
    model: PreTrainedModel, prompts: Sequence[list[int]], answers: Sequence[Sequence[list[int]]], max_tokens: int
) -> Iterator[list[_Value]]:
    """The log-probability of every answer, as the model's architecture lets them be computed, batch by batch."""
    if shares_beginnings(model):
        for row in pack(prompts, answers, max_tokens):
            values = _row_logprobs(model, row)
            yield [(prompt, answer, value) for (prompt, answer), value in zip(row.answers, values, strict=True)]
        return
    for batch in _pad(prompts, answers, max_tokens):
        values = _padded_logprobs(model, [(prompts[prompt], answers[prompt][answer]) for prompt, answer in batch])
        yield [(prompt, answer, value) for (prompt, answer), value in zip(batch, values, strict=True)]


def _pad(
    prompts: Sequence[list[int]], answers: Sequence[Sequence[list[int]]], max_tokens: int
) -> Iterator[list[tuple[int, int]]]:
    """(prompt, answer) in batches that hold at most `max_tokens` with their padding, shortest sequences first."""
    lengths = {
        (prompt, answer): len(prompts[prompt]) + len(ids)
        for prompt, of_prompt in enumerate(answers)
        for answer, ids in enumerate(of_prompt)
    }
    batch: list[tuple[int, int]] = []
    for key in sorted(lengths, key=lambda key: (lengths[key], key)):
        if batch and (len(batch) + 1) * lengths[key] > max_tokens:
            yield batch
            batch = []
        batch.append(key)
    if batch:
        yield batch


@torch.inference_mode()
def _padded_logprobs(model: PreTrainedModel, batch: Sequence[tuple[list[int], list[int]]]) -> list[float]:
    """Log-probability of each (prompt, answer), each in a row of its own: nothing before a token is padding."""
    width = max(len(prompt) + len(answer) for prompt, answer in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, (prompt, answer) in enumerate(batch):
        length = len(prompt) + len(answer)
        ids[row, :length] = torch.tensor(prompt + answer)
        mask[row, :length] = 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    values = []
    for row, (prompt, answer) in enumerate(batch):
        first, last = len(prompt), len(prompt) + len(answer)
        of_answer = logits[row, first - 1 : last - 1].float()
        taken = of_answer.gather(-1, ids[row, first:last, None])[:, 0] - of_answer.logsumexp(dim=-1)
        values.append(math.fsum(taken.double().tolist()))
    return values


@torch.inference_mode()
def _row_logprobs(model: PreTrainedModel, row: Row) -> list[float]:
    if not row.targets.size:
        return [0.0] * len(row.answers)
    device = model.device
    kept, at = (torch.from_numpy(nodes).to(device) for nodes in np.unique(row.sources, return_inverse=True))
    tokens, depths, targets = (
        torch.from_numpy(nodes).to(device) for nodes in (row.tokens[None], row.depths[None], row.targets)
    )
    seen = seen_ancestors(torch.from_numpy(row.ends[None]).to(device))
    logits = model(
        input_ids=tokens,
        position_ids=depths,
        attention_mask=attention_masks(model, seen, depths, depths),
        use_cache=False,
        logits_to_keep=kept,
    ).logits[0]
    normalisers = torch.cat([part.float().logsumexp(dim=-1) for part in logits.split(_LOGITS_AT_ONCE)])
    logps = (logits[at, targets].float() - normalisers[at]).double().tolist()
    return list(_sums(logps, row.counts))


def _sums(values: list[float], counts: Iterable[int]) -> Iterator[float]:
    start = 0
    for count in counts:
        yield math.fsum(values[start : start + count])
        start += count
