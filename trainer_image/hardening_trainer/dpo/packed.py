"""A batch of preference pairs as packed rows: each prompt is read once for both answers, little is padding.

TRL's DPOTrainer lays a batch out as `[2B, T]`: chosen sequences, then rejected ones, each with its own copy of the
prompt, padded to the longest. `pack` turns it into `[R, W]` rows of whole pairs

    | prompt . chosen . rejected | prompt . chosen . rejected | padding |

in which a rejected token does not see the chosen answer and takes up its position right after the prompt. The
backbone runs on the rows, the head only where an answer token is predicted, and the log-probabilities return to the
places where TRL expects them: loss and metrics stay TRL's own.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from trl.kernels import ChunkedLogProbFunction
from trl.trainer.utils import FusedCausalLMOutput, maybe_gather_lm_head_ctx

from hardening_trainer.compat.trl import answer_fused_with, own_logits_forward
from hardening_trainer.errors import ModelNotUsable
from hardening_trainer.inference.attention import attention_masks, seen_ancestors
from hardening_trainer.inference.logprobs import NOT_FINITE
from hardening_trainer.inference.sharing import shares_beginnings

_VOCABULARY_TILE = 32768
"""Logits exist only for this many words at a time."""
_STATISTICS = ("entropy", "mean_logits", "is_top1")
_SCALES = ("logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")


@dataclass(frozen=True)
class PackedBatch:
    """Rows for the backbone, and where the predictions are and belong."""

    input_ids: torch.Tensor
    """[R, W]; padding repeats some token, which nothing else sees."""
    position_ids: torch.Tensor
    """[R, W]"""
    ends: torch.Tensor
    """[R, W]: the first later column that does not see this one (`attention.seen_ancestors`)."""
    sources: torch.Tensor
    """[N, 2]: row and column of the token that predicts."""
    targets: torch.Tensor
    """[N]: the predicted token."""
    places: torch.Tensor
    """[N, 2]: sequence and shifted position in TRL's `[2B, T - 1]`."""


def fit(lengths: Sequence[int]) -> list[list[int]]:
    """Indices of `lengths` shared out over rows as wide as the longest: longest first, into the first with room."""
    width = max(lengths)
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        row = next((number for number, left in enumerate(room) if left >= lengths[index]), None)
        if row is None:
            row = len(rows)
            rows.append([])
            room.append(width)
        rows[row].append(index)
        room[row] -= lengths[index]
    return rows


def pack(input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor) -> PackedBatch:
    """Pack TRL's batch: `input_ids`, `attention_mask`, `labels` are [2B, T], labels -100 outside the answers.

    Only the lengths are read from the device; tokens stay there.
    """
    lengths, answers = torch.stack([attention_mask.sum(dim=1), (labels != -100).sum(dim=1)]).cpu().numpy()
    layout = _Layout.of(lengths, answers)
    width = input_ids.shape[1]

    def on_device(values: NDArray[np.int64]) -> torch.Tensor:
        return torch.from_numpy(values).to(input_ids.device)

    places = on_device(layout.places)
    return PackedBatch(
        input_ids=input_ids.flatten()[on_device(layout.sequences * width + layout.positions)],
        position_ids=on_device(layout.positions),
        ends=on_device(layout.ends),
        sources=on_device(layout.sources),
        targets=input_ids[places[:, 0], places[:, 1] + 1],
        places=places,
    )


@dataclass(frozen=True)
class _Layout:
    """Which token of TRL's batch stands where: all that follows from the lengths."""

    sequences: NDArray[np.int64]
    """[R, W]: the sequence a column's token is of."""
    positions: NDArray[np.int64]
    """[R, W]: its position there."""
    ends: NDArray[np.int64]
    """[R, W]"""
    sources: NDArray[np.int64]
    """[N, 2]"""
    places: NDArray[np.int64]
    """[N, 2]"""

    @classmethod
    def of(cls, lengths: NDArray[np.int64], answers: NDArray[np.int64]) -> _Layout:
        """From the lengths [2B] of all sequences and of their answers; chosen ones first, then rejected ones.

        An answer's last token predicts nothing and has no column.
        """
        count = len(lengths) // 2
        prompts = (lengths - answers)[:count]
        chosen, rejected = np.maximum(answers - 1, 0).reshape(2, count)
        nodes = prompts + chosen + rejected
        rows = fit(nodes.tolist())
        width = int(nodes.max())
        sequences, positions = np.zeros((2, len(rows), width), dtype=np.int64)
        ends = np.tile(np.arange(1, width + 1), (len(rows), 1))  # padding sees itself alone
        sources, places = [], []
        for row, members in enumerate(rows):
            start = 0
            for pair in members:
                prompt, fork, end = (start + int(columns[pair]) for columns in (prompts, prompts + chosen, nodes))
                sequences[row, start:end], sequences[row, fork:end] = pair, pair + count
                positions[row, start:fork] = np.arange(fork - start)
                positions[row, fork:end] = np.arange(prompt - start, prompt - start + end - fork)
                ends[row, start:end], ends[row, prompt:fork] = end, fork
                for sequence, first in ((pair, prompt), (pair + count, fork)):
                    steps = np.arange(answers[sequence])
                    columns = np.where(steps == 0, prompt, first + steps) - 1  # the prompt's last, then the answer's
                    sources.append(np.stack([np.full_like(steps, row), columns], axis=1))
                    places.append(np.stack([np.full_like(steps, sequence), prompt - start - 1 + steps], axis=1))
                start = end
        return cls(sequences, positions, ends, np.concatenate(sources), np.concatenate(places))


def add_packed_forward(model: PreTrainedModel) -> bool:
    """Make `model(..., fused_lm_head=True)`, which TRL added, run on packed rows; False if the model cannot.

    Models that cannot (a mixture of experts, layers that would mix what shares a row, scaled logits) keep TRL's padded
    batch. Where TRL's head gives other numbers than the model's own (a soft cap it does not know), the model's own
    logits are taken. Raises ModelNotUsable where those are no finite numbers.
    """
    padded = model.forward
    if _takes_packed_rows(model):
        answer_fused_with(model, padded, _packed_forward)
        if not _differs(model, padded):
            return True
        model.forward = padded
    if _differs(model, padded):
        answer_fused_with(model, padded, functools.partial(own_logits_forward, padded))
    return False


@torch.no_grad()
def _differs(model: PreTrainedModel, padded: Callable[..., Any]) -> bool:
    """Whether the fused forward gives other log-probabilities than the model's own logits, on two short pairs.

    Not checked under ZeRO-3, where the model holds no weights yet, nor where TRL has not added its head.
    """
    sharded = is_deepspeed_zero3_enabled()  # type: ignore[no-untyped-call]  # transformers leaves it so
    if sharded or "fused_lm_head" not in inspect.signature(padded, follow_wrapped=False).parameters:
        return False
    batch = {name: value.to(model.device) for name, value in _probe_batch(model).items()}
    was_training = model.training
    model.train(False)
    try:
        expected = own_logits_forward(padded, model, **batch).log_probs
        if expected is None or not bool(expected.isfinite().all()):
            raise ModelNotUsable(model.name_or_path, "the log-probability of an answer is no number", NOT_FINITE)
        given = model(**batch, fused_lm_head=True).log_probs
    except (TypeError, ValueError, IndexError, KeyError, AttributeError):
        return True
    finally:
        model.train(was_training)
    distance = (given.float() - expected)[expected != 0].pow(2).mean().sqrt()
    return bool(distance > (1e-3 if model.dtype == torch.float32 else 0.15))


def _probe_batch(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Two pairs in TRL's order, chosen then rejected, with answers of different lengths."""
    vocabulary = model.config.get_text_config().vocab_size
    ids = vocabulary // 3 + (torch.arange(4 * 8) * 7).view(4, 8) % max(1, vocabulary // 2)
    ids[2:, :3] = ids[:2, :3]
    lengths = torch.tensor([8, 6, 7, 8])
    mask = (torch.arange(8)[None] < lengths[:, None]).long()
    labels = ids.masked_fill((mask == 0) | (torch.arange(8)[None] < 3), -100)
    return {"input_ids": ids * mask, "attention_mask": mask, "labels": labels}


def _packed_forward(
    model: PreTrainedModel, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor
) -> FusedCausalLMOutput:
    batch = pack(input_ids, attention_mask, labels)
    hidden = model.base_model(
        input_ids=batch.input_ids,
        position_ids=batch.position_ids,
        attention_mask=attention_masks(model, seen_ancestors(batch.ends), batch.position_ids, batch.position_ids),
        use_cache=False,
    ).last_hidden_state[batch.sources[:, 0], batch.sources[:, 1]]
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]  # transformers leaves it so
    softcap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    with maybe_gather_lm_head_ctx(head.weight, head.bias):
        log_probs, entropy, _, mean_logits, is_top1 = ChunkedLogProbFunction.apply(
            hidden, head.weight, head.bias, batch.targets, 1.0, _VOCABULARY_TILE, softcap, 1.0, _STATISTICS
        )
    shape = labels[:, 1:].shape
    at = (batch.places[:, 0], batch.places[:, 1])

    def back(values: torch.Tensor) -> torch.Tensor:
        return values.new_zeros(shape).index_put(at, values)

    return FusedCausalLMOutput(
        loss=-log_probs.mean(),
        log_probs=back(log_probs),
        entropy=back(entropy),
        mean_logits=back(mean_logits),
        is_top1=back(is_top1),
        label_mask=labels[:, 1:] != -100,
    )


def _takes_packed_rows(model: PreTrainedModel) -> bool:
    config = model.config.get_text_config()
    return (
        shares_beginnings(model)
        and not hasattr(config, "output_router_logits")
        and all(getattr(config, name, None) in (None, 1.0) for name in _SCALES)
    )
