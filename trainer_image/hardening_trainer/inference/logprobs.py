"""Direct harmfulness R: how much more likely the defender finds the harmful answer than the safe one.

Many sequences to score share their beginning: the system prompt, the prompt of two answers, the start of a
refusal. So the sequences are laid into *rows* as tries: each distinct beginning is computed once, a token attends
only to its own ancestors (a 4-D mask) and carries its depth as position. There is no padding, and logits are taken
only where an answer token is predicted. Models whose layers would mix what shares a row (see `sharing`) read every
sequence by itself instead, in batches padded on the right.

    rows = pack(prompts, answers) -> one forward pass per row -> log p(token | ancestors) -> sum per answer
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedModel

from hardening_trainer.errors import ModelNotUsable
from hardening_trainer.inference.attention import attention_masks
from hardening_trainer.inference.sharing import shares_beginnings

Progress = Callable[[int, int], None]
"""Called with (prompts done, prompts in all)."""

DEFAULT_BATCH_TOKENS = 512
NOT_FINITE = "expected a finite number: look for NaN in its weights, and try HARDENING_DTYPE=float32"


_Value = tuple[int, int, float]
"""A prompt's index, its answer's, and the answer's log-probability."""


@dataclass
class _Row:
    """A trie of sequences, flattened: node i holds `tokens[i]`; its parent comes before it (-1 at a root)."""

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    answers: list[tuple[int, int, list[int]]] = field(default_factory=list)
    """For each answer: its prompt's index, its own index, the nodes of its tokens."""
    children: dict[tuple[int, int], int] = field(default_factory=dict)
    """(parent, token) -> node."""

    def missing(self, sequence: Sequence[int]) -> int:
        """How many nodes `sequence` would add."""
        node = -1
        for depth, token in enumerate(sequence):
            child = self.children.get((node, token))
            if child is None:
                return len(sequence) - depth
            node = child
        return 0

    def insert(self, sequence: Sequence[int]) -> list[int]:
        """Add `sequence` and return its nodes."""
        nodes: list[int] = []
        node = -1
        for depth, token in enumerate(sequence):
            child = self.children.get((node, token))
            if child is None:
                child = len(self.tokens)
                self.children[node, token] = child
                self.tokens.append(token)
                self.parents.append(node)
                self.depths.append(depth)
            nodes.append(child)
            node = child
        return nodes


def answer_logprobs(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    answers: Sequence[Sequence[list[int]]],
    max_batch_tokens: int = DEFAULT_BATCH_TOKENS,
    progress: Progress | None = None,
) -> list[list[float]]:
    """Sum of log-probabilities (nats) of the tokens of every answer, given its prompt.

    `prompts[i]` are token ids, `answers[i]` any number of answers to it; the result has the shape of `answers`.
    `max_batch_tokens` bounds the tokens of one forward pass (a longer sequence goes alone), hence memory: logits
    are [answer positions, vocabulary], the mask [tokens, tokens]. Log-softmax is in float32, sums in float64. The
    figures do not depend on `max_batch_tokens` beyond rounding. Raises ValueError on an empty prompt, ModelNotUsable
    where the model computes no finite number.
    """
    _check(prompts, answers)
    result = [[0.0] * len(of_prompt) for of_prompt in answers]
    remaining = [len(of_prompt) for of_prompt in answers]
    done = sum(1 for count in remaining if not count)
    was_training = model.training
    model.train(False)
    try:
        for values in _batches(model, prompts, answers, max_batch_tokens):
            for prompt, answer, value in values:
                if not math.isfinite(value):
                    raise ModelNotUsable(model.name_or_path, f"the log-probability of an answer is {value}", NOT_FINITE)
                result[prompt][answer] = value
                remaining[prompt] -= 1
                done += not remaining[prompt]
            if progress is not None:
                progress(done, len(prompts))
    finally:
        model.train(was_training)
    return result


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
        for row in _pack(prompts, answers, max_tokens):
            values = _row_logprobs(model, row)
            yield [(prompt, answer, value) for (prompt, answer, _), value in zip(row.answers, values, strict=True)]
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


def _pack(prompts: Sequence[list[int]], answers: Sequence[Sequence[list[int]]], max_tokens: int) -> Iterator[_Row]:
    """Rows of at most `max_tokens` nodes, filled in token order: there neighbours share the most."""
    row = _Row()
    for prompt in sorted(range(len(prompts)), key=lambda index: prompts[index]):
        start = len(prompts[prompt])
        for answer, ids in enumerate(answers[prompt]):
            sequence = prompts[prompt] + ids
            if row.answers and len(row.tokens) + row.missing(sequence) > max_tokens:
                yield row
                row = _Row()
            row.answers.append((prompt, answer, row.insert(sequence)[start:]))
    if row.answers:
        yield row


@torch.inference_mode()
def _row_logprobs(model: PreTrainedModel, row: _Row) -> list[float]:
    device = model.device
    predicted = [node for _, _, nodes in row.answers for node in nodes]
    if not predicted:
        return [0.0] * len(row.answers)
    sources = [row.parents[node] for node in predicted]
    kept = sorted(set(sources))
    logits = model(
        input_ids=torch.tensor([row.tokens], device=device),
        position_ids=torch.tensor([row.depths], device=device),
        attention_mask=_masks(model, row),
        use_cache=False,
        logits_to_keep=torch.tensor(kept, device=device),
    ).logits[0]
    place = {node: index for index, node in enumerate(kept)}
    at = torch.tensor([place[node] for node in sources], device=device)
    tokens = torch.tensor([row.tokens[node] for node in predicted], device=device)
    logits = logits.float()
    logps = (logits[at, tokens] - logits.logsumexp(dim=-1)[at]).double().tolist()
    return list(_sums(logps, (len(nodes) for _, _, nodes in row.answers)))


def _sums(values: list[float], counts: Iterable[int]) -> Iterator[float]:
    start = 0
    for count in counts:
        yield math.fsum(values[start : start + count])
        start += count


def _masks(model: PreTrainedModel, row: _Row) -> torch.Tensor | dict[str, torch.Tensor]:
    """Masks by which a node sees itself and its ancestors."""
    size = len(row.tokens)
    seen = torch.zeros(size, size, dtype=torch.bool)
    for node, parent in enumerate(row.parents):
        if parent >= 0:
            seen[node] = seen[parent]
        seen[node, node] = True
    depths = torch.tensor([row.depths], device=model.device)
    return attention_masks(model, seen[None].to(model.device), depths, depths)
