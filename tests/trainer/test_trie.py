"""Rows as tries, and what their nodes see, against the definition: a node sees itself and its ancestors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, MistralConfig, PreTrainedModel

from hardening_trainer.inference.attention import attention_masks, seen_ancestors
from hardening_trainer.inference.trie import Row, pack

TOKENS = st.integers(0, 2)
"""So few that beginnings are shared often, and a sequence is often the beginning of another."""
PROMPTS = st.lists(TOKENS, min_size=1, max_size=6)
ANSWERS = st.lists(st.lists(TOKENS, max_size=6), max_size=4)
WORK = st.lists(st.tuples(PROMPTS, ANSWERS), max_size=6)


def rows_of(work: list[tuple[list[int], list[list[int]]]], max_tokens: int) -> list[Row]:
    return list(pack([prompt for prompt, _ in work], [answers for _, answers in work], max_tokens))


def seen_in(row: Row) -> list[list[bool]]:
    return cast("list[list[bool]]", seen_ancestors(torch.from_numpy(row.ends[None]))[0].tolist())


def beginnings(row: Row) -> list[tuple[int, ...]]:
    """What each node stands for, read from the definition: the tokens it sees, in order of their depth."""
    found = []
    for seen in seen_in(row):
        ancestors = sorted((int(row.depths[node]), int(row.tokens[node])) for node, sees in enumerate(seen) if sees)
        assert [depth for depth, _ in ancestors] == list(range(len(ancestors)))
        found.append(tuple(token for _, token in ancestors))
    return found


@given(WORK, st.integers(1, 40))
def test_every_node_sees_itself_and_its_ancestors_and_nothing_else(
    work: list[tuple[list[int], list[list[int]]]], max_tokens: int
) -> None:
    for row in rows_of(work, max_tokens):
        nodes = beginnings(row)
        sequences = [tuple(work[prompt][0] + work[prompt][1][answer]) for prompt, answer in row.answers]
        assert set(nodes) == {tokens[: end + 1] for tokens in sequences for end in range(len(tokens))}
        assert len(nodes) == len(set(nodes))
        expected = [[query[: len(key)] == key for key in nodes] for query in nodes]
        assert seen_in(row) == expected


@given(WORK, st.integers(1, 40))
def test_every_answer_token_is_predicted_once_by_what_comes_before_it(
    work: list[tuple[list[int], list[list[int]]]], max_tokens: int
) -> None:
    rows = rows_of(work, max_tokens)
    expected = [(prompt, answer) for prompt, (_, answers) in enumerate(work) for answer in range(len(answers))]
    assert sorted(key for row in rows for key in row.answers) == expected
    for row in rows:
        nodes = beginnings(row)
        predicted = [(nodes[node], token) for node, token in zip(row.sources, row.targets, strict=True)]
        sequences = [(work[prompt][0], work[prompt][1][answer]) for prompt, answer in row.answers]
        assert row.counts == [len(answer) for _, answer in sequences]
        assert predicted == [
            (tuple(prompt + answer[:place]), token)
            for prompt, answer in sequences
            for place, token in enumerate(answer)
        ]


@given(WORK, st.integers(1, 40))
def test_a_row_is_larger_only_for_one_sequence_or_for_the_answers_to_one_prompt(
    work: list[tuple[list[int], list[list[int]]]], max_tokens: int
) -> None:
    for row in rows_of(work, max_tokens):
        if len(row.tokens) > max_tokens and len(row.answers) > 1:
            assert len({prompt for prompt, _ in row.answers}) == 1
            assert len(row.tokens) <= 2 * max_tokens


def test_a_prompt_is_read_once_for_answers_that_fit_a_row_of_twice_the_size() -> None:
    work = [([1, 1, 1], [[2], [3]]), ([4, 4, 4], [[5], [6]]), ([7, 7, 7], [[8], [9, 9, 9, 9, 9, 9]])]
    rows = rows_of(work, 8)
    assert [[prompt for prompt, _ in row.answers] for row in rows] == [[0, 0], [1, 1], [2, 2]]
    assert [len(row.tokens) for row in rows] == [5, 5, 10]
    assert [len(row.tokens) for row in rows_of(work[2:], 4)] == [4, 9]


def test_prompts_and_answers_that_fork_share_what_comes_before() -> None:
    # 1 2 | 3 4, 1 2 | 3 5 and 1 6 | 7, in token order: 1 2 3 4, then 5, then 6 7
    [row] = rows_of([([1, 6], [[7]]), ([1, 2], [[3, 5], [3, 4]])], 512)
    assert row.tokens.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert row.depths.tolist() == [0, 1, 2, 3, 3, 1, 2]
    assert row.ends.tolist() == [7, 5, 5, 4, 5, 7, 7]
    assert row.answers == [(1, 1), (1, 0), (0, 0)]
    assert row.sources.tolist() == [1, 2, 1, 2, 5]
    assert row.targets.tolist() == [3, 4, 3, 5, 7]


def model_of(implementation: str, **config: Any) -> PreTrainedModel:
    made = (MistralConfig if "sliding_window" in config else LlamaConfig)(**config)
    made._attn_implementation = implementation
    return cast("PreTrainedModel", SimpleNamespace(config=made, dtype=torch.float32))


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize(("config", "window"), [({}, 99), ({"sliding_window": 2}, 2)])
def test_masks_allow_what_is_seen_within_the_window(implementation: str, config: dict[str, Any], window: int) -> None:
    [row] = rows_of([([1, 6], [[7]]), ([1, 2], [[3, 5], [3, 4]])], 512)
    depths = torch.from_numpy(row.depths[None])
    seen = seen_ancestors(torch.from_numpy(row.ends[None]))
    mask = attention_masks(model_of(implementation, **config), seen, depths, depths)
    assert isinstance(mask, torch.Tensor)
    assert mask.dtype == (torch.bool if implementation == "sdpa" else torch.float32)
    allowed = mask if implementation == "sdpa" else mask == 0
    near = depths[0][:, None] - depths[0][None] < window
    assert torch.equal(allowed[0, 0], torch.tensor(seen_in(row)) & near)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_a_query_that_sees_nothing_still_gets_a_number(implementation: str) -> None:
    seen = torch.tensor([[[True, False], [False, False]]])
    places = torch.tensor([[0, 1]])
    mask = attention_masks(model_of(implementation), seen, places, places)
    values = torch.ones(1, 1, 2, 4)
    assert torch.nn.functional.scaled_dot_product_attention(values, values, values, attn_mask=mask).isfinite().all()
