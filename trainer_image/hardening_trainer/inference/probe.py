"""At load, a model computes a few tokens in shared rows and by themselves: where that differs, nothing is shared."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedModel
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from hardening_trainer.inference.logprobs import answer_logprobs
from hardening_trainer.inference.sampling import first_logits, generate
from hardening_trainer.inference.sharing import never_cache, never_share, shares_beginnings

_SHARED, _ANSWERS = 9, ([9, 10, 11, 12], [13, 14, 15])
"""Length of the common beginning, and two ways on; as places among the probed tokens."""
_TOKENS = 16
_TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.03, torch.bfloat16: 0.1}
"""Largest difference that may be rounding, in standard deviations of the logits; mixing makes some tenths or more."""

_Measure = Callable[[PreTrainedModel, list[int], list[list[int]]], float]


def probe(model: PreTrainedModel) -> None:
    """Find out whether sequences of `model` may share a row, and whether its own cache is right; both are remembered.

    Not under ZeRO-3, where the model holds no weights yet: there its architecture decides.
    """
    if is_deepspeed_zero3_enabled():  # type: ignore[no-untyped-call]  # transformers leaves it so
        return
    vocabulary = model.config.get_text_config().vocab_size
    tokens = [vocabulary // 3 + (7 * place) % max(1, vocabulary // 2) for place in range(_TOKENS)]
    prompt, answers = tokens[:_SHARED], [[tokens[place] for place in answer] for answer in _ANSWERS]
    if shares_beginnings(model):
        reason = _fault(model, prompt, answers, (_scoring_difference, _sampling_difference))
        if reason:
            never_share(model, f"a shared row {reason}")
    if not shares_beginnings(model):
        reason = _fault(model, prompt, answers, (_cache_difference,))
        if reason:
            never_cache(model, f"the cache {reason}")


def _fault(
    model: PreTrainedModel, prompt: list[int], answers: list[list[int]], measures: Sequence[_Measure]
) -> str | None:
    """What is wrong with the quicker way; None where it gives the numbers of the plain one."""
    try:
        difference = max(measure(model, prompt, answers) for measure in measures)
    except (TypeError, ValueError, IndexError, KeyError, AttributeError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        return f"cannot be computed ({type(error).__name__})"
    tolerance = _TOLERANCE.get(model.dtype, _TOLERANCE[torch.bfloat16])
    return f"changes its numbers by {difference:.2g}" if difference > tolerance else None


def _scoring_difference(model: PreTrainedModel, prompt: list[int], answers: list[list[int]]) -> float:
    """Difference of an answer's log-probability, for each token, between a trie of both answers and each by itself."""
    differences = []
    for answer, shared in zip(answers, answer_logprobs(model, [prompt], [answers])[0], strict=True):
        logps = _plain_logits(model, prompt + answer)[len(prompt) - 1 : -1].log_softmax(dim=-1)
        apart = logps.gather(-1, torch.tensor(answer, device=logps.device)[:, None]).double().sum()
        differences.append(abs(shared - float(apart)) / len(answer) / float(logps.std()))
    return max(differences)


def _sampling_difference(model: PreTrainedModel, prompt: list[int], answers: list[list[int]]) -> float:
    """Difference of a next token's logits between prompts of two lengths in one batch and each by itself."""
    prompts = [prompt + answer for answer in answers]
    differences = []
    for ids, together in zip(prompts, first_logits(model, prompts), strict=True):
        apart = _plain_logits(model, ids)[-1]
        differences.append(_distance(together, apart))
    return max(differences)


def _cache_difference(model: PreTrainedModel, prompt: list[int], answers: list[list[int]]) -> float:
    """Difference of a next token's logits between the model's own generation and each sequence by itself."""
    steps: list[torch.Tensor] = []
    length = min(len(answer) for answer in answers)
    forced = torch.tensor([answer[:length] for answer in answers], device=model.device)

    def choose(step: int, logits: torch.Tensor) -> torch.Tensor:
        steps.append(logits.clone())
        return forced[:, step]

    generate(model, [prompt for _ in answers], length, choose)
    together = torch.stack(steps, dim=1)
    differences = []
    for row, answer in enumerate(answers):
        apart = _plain_logits(model, prompt + answer[:length])[len(prompt) - 1 : -1]
        differences.append(_distance(together[row], apart))
    return max(differences)


def _distance(logits: torch.Tensor, apart: torch.Tensor) -> float:
    """Root mean square of the difference: bfloat16 may be far off for one word in a hundred thousand."""
    return float((logits - apart).pow(2).mean().sqrt() / apart.std())


@torch.inference_mode()
def _plain_logits(model: PreTrainedModel, ids: Sequence[int]) -> torch.Tensor:
    """Logits [T, V] of one sequence by itself."""
    logits: torch.Tensor = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits
    return logits[0].float()
