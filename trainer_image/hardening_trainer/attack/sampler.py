"""Sampling variants of prompts with the attacker: fill the template, sample, read, classify."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hardening_api.training import Attacker
from hardening_trainer.attack.templates import TEMPLATES
from hardening_trainer.attack.variants import RawVariant, Variant, classified
from hardening_trainer.data import Prompt
from hardening_trainer.inference.chat import encode_prompt
from hardening_trainer.inference.sampling import DEFAULT_BATCH_ROWS, Sampled, SamplingParams, sample
from hardening_trainer.models import end_of_turn_ids
from hardening_trainer.storage.resume_cache import Records


class AttackSampler:
    """Draws variants. The noise belongs to (seed, prompt's id, variant), so that shards draw what one pod would."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: Attacker, count: int, seed: int
    ) -> None:
        self._model, self._tokenizer, self._count, self._seed = model, tokenizer, count, seed
        self._template, self._min_faithfulness = TEMPLATES[settings.template], settings.min_faithfulness
        sampling = settings.sampling
        self._params = SamplingParams(sampling.temperature, sampling.top_p, sampling.max_new_tokens)
        self._ends = end_of_turn_ids(model, tokenizer)
        self.tokens = 0
        """Tokens read and written so far."""

    @property
    def prompts_per_batch(self) -> int:
        """Prompts that fit into one batch of the sampler."""
        return max(1, DEFAULT_BATCH_ROWS // self._count)

    def encode(self, prompt: Prompt) -> list[int]:
        """Return the attacker's prompt as token ids."""
        return encode_prompt(self._tokenizer, self._template.fill(prompt.prompt))

    def draw(self, prompts: Sequence[Prompt]) -> list[list[Variant]]:
        """Return `count` classified variants of each prompt."""
        encoded = [self.encode(prompt) for prompt in prompts]
        keys = [noise_key(prompt.id) for prompt in prompts]
        drawn = sample(self._model, encoded, self._count, self._params, seed=self._seed, eos_ids=self._ends, keys=keys)
        self.tokens += sum(map(len, encoded)) + sum(len(one.token_ids) for several in drawn for one in several)
        return [
            classified(prompt.prompt, [self._raw_variant(prompt, one) for one in several], self._min_faithfulness)
            for prompt, several in zip(prompts, drawn, strict=True)
        ]

    def _raw_variant(self, prompt: Prompt, sampled: Sampled) -> RawVariant:
        output = str(self._tokenizer.decode(sampled.token_ids, skip_special_tokens=True))
        written, complete = self._template.read(output, sampled.ended)
        return RawVariant(self._template.compose(prompt.prompt, written), written, complete)


def draw_variants(
    prompts: Sequence[Prompt],
    attacker: str,
    count: int,
    make: Callable[[], AttackSampler],
    records: Records[Variant],
    advance: Callable[[int, int], None],
) -> list[list[Variant]]:
    """Return `count` variants of each prompt by the attacker with this digest; only those not drawn yet are drawn.

    `make` is called if there are any. Prompts of a like length share a batch, so that little of it is padding; the
    batches are the same whatever is drawn already. `advance(variants, tokens)` is called after each batch, and may
    raise Interrupted.
    """
    keys = [[(attacker, prompt.id, prompt.prompt, str(index)) for index in range(count)] for prompt in prompts]
    missing = [any(key not in records for key in several) for several in keys]
    advance((len(prompts) - sum(missing)) * count, 0)
    if any(missing):
        sampler = make()
        order = sorted(range(len(prompts)), key=lambda place: (len(sampler.encode(prompts[place])), place))
        for start in range(0, len(order), sampler.prompts_per_batch):
            batch = order[start : start + sampler.prompts_per_batch]
            todo = sum(missing[place] for place in batch)
            if todo:
                before = sampler.tokens
                drawn = sampler.draw([prompts[place] for place in batch])
                pairs = (
                    pair
                    for place, several in zip(batch, drawn, strict=True)
                    for pair in zip(keys[place], several, strict=True)
                )
                records.add(dict(pairs))
                advance(todo * count, sampler.tokens - before)
    return [[records[key] for key in several] for several in keys]


def noise_key(prompt_id: str) -> int:
    """Return a number of 64 bits for a prompt's id."""
    return int.from_bytes(hashlib.sha256(prompt_id.encode()).digest()[:8])


def round_seed(seed: int, round_number: int) -> int:
    """Return the seed of one round, so that the same prompt gets other variants in another round."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{round_number}".encode()).digest()[:4])
