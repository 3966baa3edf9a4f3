"""The set `attacked`: variants of the held-out prompts by the current attacker, drawn and judged valid as in Attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hardening_api.stages import EvaluateConfig
from hardening_trainer.attack.sampler import AttackSampler
from hardening_trainer.data import Prompt
from hardening_trainer.evaluation.answers import Advance, chunks, free_memory
from hardening_trainer.evaluation.questions import Question
from hardening_trainer.models import ResolvedModel, load_causal_lm, load_tokenizer
from hardening_trainer.runtime.resume_cache import Journal, key_of


def attacked_questions(
    config: EvaluateConfig,
    seed: int,
    attacker: ResolvedModel,
    prompts: Sequence[Question],
    journal: Journal,
    advance: Advance,
) -> list[Question]:
    """Return every variant of every prompt; those that are not valid are not asked. Units are variants."""
    count = config.evaluation.variants_per_prompt
    keys = [key_of("variants", attacker.digest, prompt.prompt_id, prompt.prompt) for prompt in prompts]
    missing = [key for key in keys if key not in journal]
    advance((len(keys) - len(missing)) * count, 0)
    if missing:
        try:
            _draw(config, seed, attacker, dict(zip(keys, prompts, strict=True)), journal, advance)
        finally:
            free_memory()
    return [
        replace(prompt, set="attacked", asked=text, variant_index=index, status=status)
        for key, prompt in zip(keys, prompts, strict=True)
        for index, (text, status) in enumerate(journal[key])
    ]


def _draw(
    config: EvaluateConfig,
    seed: int,
    attacker: ResolvedModel,
    prompts: dict[str, Question],
    journal: Journal,
    advance: Advance,
) -> None:
    """Draw the variants the journal lacks, in the batches that would be made if it had none."""
    count = config.evaluation.variants_per_prompt
    model, tokenizer = load_causal_lm(attacker.path), load_tokenizer(attacker.path)
    sampler = AttackSampler(model, tokenizer, config.settings, count, seed)
    rows = {key: Prompt(question.prompt_id, question.prompt) for key, question in prompts.items()}
    lengths = {key: len(sampler.encode(row)) for key, row in rows.items()}
    for keys in chunks(sorted(rows, key=lambda key: (lengths[key], key)), sampler.prompts_per_batch):
        todo = [key for key in keys if key not in journal]
        if not todo:
            continue
        before = sampler.tokens
        drawn = dict(zip(keys, sampler.draw([rows[key] for key in keys]), strict=True))
        journal.add({key: [[variant.text, variant.status] for variant in drawn[key]] for key in todo})
        advance(len(todo) * count, sampler.tokens - before)
