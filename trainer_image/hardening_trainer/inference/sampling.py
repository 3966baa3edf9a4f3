"""Sampling K variants of many prompts in batches.

Each prompt is read once: its keys and values are computed, then repeated K times; a beginning common to all
prompts (an instruction, examples) is read once a batch. Rows that have ended leave the batch. Noise belongs to
(seed, key of the prompt, variant, step), never to the place in a batch, so shards and batch sizes draw the same
answers (up to rounding of the model's own arithmetic).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel

from hardening_trainer.errors import ModelNotUsable
from hardening_trainer.inference.attention import attention_masks
from hardening_trainer.inference.chat import common_prefix_length
from hardening_trainer.inference.kv_cache import growing_cache
from hardening_trainer.inference.logprobs import NOT_FINITE, OnBatch
from hardening_trainer.inference.sharing import may_cache, shares_beginnings

DEFAULT_BATCH_ROWS = 96

_HOLE = torch.iinfo(torch.long).max // 2
"""Position of a padded key: after every query, so that none sees it."""

_FIRST_NUCLEUS = 128
"""Most likely tokens looked at before a nucleus is sought among more."""


@dataclass(frozen=True)
class SamplingParams:
    """How tokens are drawn: temperature 0 is greedy; otherwise softmax(logits / temperature) cut to `top_p`."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 256

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(f"temperature: got {self.temperature}: expected a finite number of at least 0")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"topP: got {self.top_p}: expected a number above 0 and at most 1")
        if self.max_new_tokens < 1:
            raise ValueError(f"maxNewTokens: got {self.max_new_tokens}: expected at least 1")


@dataclass(frozen=True)
class Sampled:
    """One variant: its token ids without the end token, and whether it ended by itself or was cut."""

    token_ids: list[int]
    ended: bool


def sample(  # noqa: PLR0913  # each is one independent choice of the caller
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    num_return: int,
    params: SamplingParams,
    *,
    seed: int,
    eos_ids: Sequence[int],
    keys: Sequence[int] | None = None,
    batch_size: int = DEFAULT_BATCH_ROWS,
    on_batch: OnBatch | None = None,
) -> list[list[Sampled]]:
    """Draw `num_return` variants of every prompt; the result is [prompts][num_return].

    `prompts` are token ids (`chat.encode_prompt`), `eos_ids` the tokens that end an answer. `keys` names each
    prompt for its noise (default: its index), so a shard passes the indices in the whole set. `batch_size` is in
    rows (prompts x variants) and bounds memory. Raises ValueError on an empty prompt or num_return below 1,
    ModelNotUsable where the model's logits are no finite numbers.
    """
    if num_return < 1:
        raise ValueError(f"num_return: got {num_return}: expected at least 1")
    for index, prompt in enumerate(prompts):
        if not prompt:
            raise ValueError(f"prompts[{index}]: got no token: expected at least one")
    names = range(len(prompts)) if keys is None else keys
    result: list[list[Sampled]] = [[] for _ in prompts]
    was_training = model.training
    model.train(False)
    try:
        share, done = shares_beginnings(model), 0
        for chosen in _batches(prompts, max(1, batch_size // num_return), equal_lengths=not share):
            noise = _noise(seed, [names[index] for index in chosen], num_return, params)
            texts = [prompts[index] for index in chosen]
            if share:
                drawn = _Batch(model, texts, num_return, noise, params).run(frozenset(eos_ids))
            else:
                drawn = _generate(model, texts, num_return, noise, params, eos_ids)
            for index, variants in zip(chosen, drawn, strict=True):
                result[index] = variants
            done += len(chosen)
            if on_batch is not None:
                on_batch(done, len(prompts))
    finally:
        model.train(was_training)
    return result


def _batches(prompts: Sequence[list[int]], size: int, equal_lengths: bool) -> Iterator[list[int]]:
    """Indices of at most `size` prompts drawn together, shortest first; with `equal_lengths` they need no padding."""
    batch: list[int] = []
    for index in sorted(range(len(prompts)), key=lambda index: len(prompts[index])):
        if batch and (len(batch) == size or (equal_lengths and len(prompts[index]) != len(prompts[batch[0]]))):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _noise(seed: int, keys: Sequence[int], num_return: int, params: SamplingParams) -> torch.Tensor | None:
    """Uniforms in [0, 1), [rows, steps], one generator for each (seed, key, variant); None when greedy."""
    if params.temperature == 0:
        return None
    rows = [
        np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, key, variant)))).random(
            params.max_new_tokens
        )
        for key in keys
        for variant in range(num_return)
    ]
    return torch.from_numpy(np.stack(rows))


class _Batch:
    """Rows drawn together: those of prompt p are p*K .. p*K+K-1. Each carries the positions of its past keys."""

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Sequence[list[int]],
        num_return: int,
        noise: torch.Tensor | None,
        params: SamplingParams,
    ) -> None:
        self.model, self.params, self.num_return = model, params, num_return
        self.noise = None if noise is None else noise.to(model.device)
        repeated = [prompt for prompt in prompts for _ in range(num_return)]
        self.rows = torch.arange(len(repeated), device=model.device)
        self.last = torch.tensor([prompt[-1] for prompt in repeated], device=model.device)
        self.position = torch.tensor([len(prompt) - 1 for prompt in repeated], device=model.device)
        self.cache = growing_cache()
        self.past = self.position.new_empty(1, 0)
        """Positions [B, T] of the keys in the cache; _HOLE where there is none to see."""
        self._read([prompt[:-1] for prompt in prompts])

    @torch.inference_mode()
    def _read(self, prompts: Sequence[list[int]]) -> None:
        """Fill the cache with all prompts but their last tokens, and repeat it for the variants."""
        shared = _common_length(prompts)
        if shared:
            positions = torch.arange(shared, device=self.past.device)[None]
            self._forward(torch.tensor([prompts[0][:shared]], device=self.past.device), positions, positions)
        self._repeat(len(prompts))
        rests = [prompt[shared:] for prompt in prompts]
        width = max(len(rest) for rest in rests)
        if width:
            # Padding goes to the right: a padded query then still sees real keys, and nothing sees its own.
            ids = torch.tensor([rest + [0] * (width - len(rest)) for rest in rests], device=self.past.device)
            lengths = torch.tensor([len(rest) for rest in rests], device=self.past.device)
            offsets = torch.arange(width, device=self.past.device)[None]
            positions = (shared + offsets).expand(len(prompts), -1)
            self._forward(ids, positions, positions.masked_fill(offsets >= lengths[:, None], _HOLE))
        self._repeat(self.num_return)

    def _repeat(self, times: int) -> None:
        self.cache.batch_repeat_interleave(times)
        self.past = self.past.repeat_interleave(times, dim=0)

    def _forward(self, ids: torch.Tensor, positions: torch.Tensor, as_keys: torch.Tensor) -> torch.Tensor:
        """Append `ids` [B, Q] to the past and return logits [B, V] of the last, in float32."""
        self.past = torch.cat([self.past.expand(len(ids), -1), as_keys], dim=1)
        seen = positions[:, :, None] >= self.past[:, None, :]
        output = self.model(
            input_ids=ids,
            position_ids=positions,
            attention_mask=attention_masks(self.model, seen, positions, self.past),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: torch.Tensor = output.logits[:, -1].float()
        return logits

    @torch.inference_mode()
    def run(self, eos_ids: frozenset[int]) -> list[list[Sampled]]:
        """Draw until every row has ended or is cut; the result is [prompts][num_return]."""
        total = len(self.rows)
        tokens: list[list[int]] = [[] for _ in range(total)]
        ended = [False] * total
        for step in range(self.params.max_new_tokens):
            self.last = self._step(step)
            self.position = self.position + 1
            alive = []
            for place, (row, token) in enumerate(zip(self.rows.tolist(), self.last.tolist(), strict=True)):
                ended[row] |= token in eos_ids
                if not ended[row]:
                    tokens[row].append(token)
                    alive.append(place)
            if not alive:
                break
            self._compact(alive)
        variants = [Sampled(ids, end) for ids, end in zip(tokens, ended, strict=True)]
        return [variants[start : start + self.num_return] for start in range(0, total, self.num_return)]

    @torch.inference_mode()
    def next_logits(self) -> torch.Tensor:
        """Logits [B, V] of the token after the last of every row, which joins the past."""
        positions = self.position[:, None]
        return self._forward(self.last[:, None], positions, positions)

    def _step(self, step: int) -> torch.Tensor:
        """The next token of every row, [B]."""
        return _choose(
            self.model, self.next_logits(), None if self.noise is None else self.noise[self.rows, step], self.params
        )

    def _compact(self, alive: list[int]) -> None:
        """Drop ended rows, once they are an eighth of the batch: dropping copies the cache."""
        if 8 * (len(self.rows) - len(alive)) < len(self.rows):
            return
        kept = torch.tensor(alive, device=self.rows.device)
        self.cache.batch_select_indices(kept)
        self.rows, self.last, self.position = self.rows[kept], self.last[kept], self.position[kept]
        self.past = self.past[kept]


def first_logits(model: PreTrainedModel, prompts: Sequence[list[int]]) -> torch.Tensor:
    """Logits [P, V] of the token after each prompt, all read in one batch with a common beginning."""
    return _Batch(model, prompts, 1, None, SamplingParams(temperature=0)).next_logits()


def _generate(  # as `sample`, for prompts of one length
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    num_return: int,
    noise: torch.Tensor | None,
    params: SamplingParams,
    eos_ids: Sequence[int],
) -> list[list[Sampled]]:
    """As `_Batch.run`, through the model's own `generate` and cache: for layers that keep other things than keys."""
    rows = [prompt for prompt in prompts for _ in range(num_return)]
    uniforms = None if noise is None else noise.to(model.device)

    def chosen(step: int, logits: torch.Tensor) -> torch.Tensor:
        return _choose(model, logits, None if uniforms is None else uniforms[:, step], params)

    variants = []
    for row in generate(model, rows, params.max_new_tokens, chosen, eos_ids):
        end = next((place for place, token in enumerate(row) if token in eos_ids), None)
        variants.append(Sampled(row[:end], end is not None))
    return [variants[start : start + num_return] for start in range(0, len(variants), num_return)]


def generate(
    model: PreTrainedModel,
    rows: Sequence[list[int]],
    count: int,
    choose: Callable[[int, torch.Tensor], torch.Tensor],
    eos_ids: Sequence[int] = (),
) -> list[list[int]]:
    """Continue `rows`, of one length, by at most `count` tokens through the model's `generate`.

    `choose` is given the step, from 0, and logits [B, V] in float32, and returns tokens [B].
    """
    ids = torch.tensor(rows, device=model.device)
    ends = sorted(eos_ids) or None
    config = GenerationConfig(  # type: ignore[no-untyped-call]  # transformers leaves it so
        do_sample=False,
        max_new_tokens=count,
        eos_token_id=ends,
        pad_token_id=ends[0] if ends else 0,
        use_cache=may_cache(model),
    )
    with _without_settings_of_its_own(model), torch.inference_mode():
        whole = model.generate(  # type: ignore[operator]  # typed as a submodule
            ids,
            attention_mask=torch.ones_like(ids),
            generation_config=config,
            logits_processor=LogitsProcessorList([_Chooser(ids.shape[1], choose)]),
        )
    new: list[list[int]] = whole[:, ids.shape[1] :].tolist()
    return new


class _Chooser(LogitsProcessor):
    """Leaves one token of each row, the one that is chosen."""

    def __init__(self, prompt_length: int, choose: Callable[[int, torch.Tensor], torch.Tensor]) -> None:
        self._prompt_length, self._choose = prompt_length, choose

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Logits [B, V] that allow the chosen tokens only."""
        tokens = self._choose(input_ids.shape[1] - self._prompt_length, scores)
        return torch.full_like(scores, -torch.inf).scatter(-1, tokens[:, None], 0.0)


@contextmanager
def _without_settings_of_its_own(model: PreTrainedModel) -> Iterator[None]:
    """For this block the model's generation config, which may hold penalties and limits, is a plain one."""
    own = model.generation_config
    model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]  # as above
    try:
        yield
    finally:
        model.generation_config = own


def _choose(
    model: PreTrainedModel, logits: torch.Tensor, uniforms: torch.Tensor | None, params: SamplingParams
) -> torch.Tensor:
    """The next token of every row, [B]: the likeliest, or where there are `uniforms` the one drawn by them."""
    largest = logits.amax(dim=-1)
    if not bool(largest.isfinite().all()):
        found = float(largest[~largest.isfinite()][0])
        raise ModelNotUsable(model.name_or_path, f"the largest logit of a next token is {found}", NOT_FINITE)
    if uniforms is None:
        return logits.argmax(dim=-1)
    return draw(logits, uniforms, params.temperature, params.top_p)


def draw(logits: torch.Tensor, uniforms: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """Tokens [B] by inverse CDF: row b takes the token in whose share of [0, 1) `uniforms[b]` falls.

    Shares are softmax(logits [B, V] / temperature); with `top_p` below 1 only the most likely tokens whose
    probability first reaches `top_p` count, renormalised (nucleus sampling, arXiv 1904.09751).
    """
    scaled = logits.float() / temperature
    if top_p >= 1:
        return _invert(scaled.softmax(dim=-1), uniforms)
    total = scaled.logsumexp(dim=-1, keepdim=True)
    size = min(_FIRST_NUCLEUS, logits.shape[-1])
    while True:
        values, tokens = scaled.topk(size, dim=-1)
        shares = (values - total).exp()
        if size == logits.shape[-1] or bool((shares.sum(dim=-1) >= top_p).all()):
            break
        size = min(8 * size, logits.shape[-1])
    before = shares.cumsum(dim=-1) - shares
    nucleus = torch.where(before < top_p, shares, 0.0)
    return tokens.gather(-1, _invert(nucleus, uniforms)[:, None])[:, 0]


def _invert(shares: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """Index [B] where the running sum of `shares` [B, N] first exceeds `uniforms` [B] of their total."""
    running = shares.double().cumsum(dim=-1)
    target = uniforms.double()[:, None] * running[:, -1:]
    index = torch.searchsorted(running, target, right=True)[:, 0]
    # Rounding may carry the target up to the total: the last token with a share is then meant.
    last = (shares > 0).cumsum(dim=-1).argmax(dim=-1)
    return torch.minimum(index, last)


def _common_length(prompts: Sequence[list[int]]) -> int:
    """Length of the beginning common to all prompts."""
    first = prompts[0]
    return min((common_prefix_length(first, prompt) for prompt in prompts), default=0)
