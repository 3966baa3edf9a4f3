"""Rows that hold sequences as tries: each distinct beginning stands once.

Sequences are laid in token order. So the nodes of a row stand in preorder: all that descends from a node follows it
without a gap, up to its *end*, and whether one node is an ancestor of another is a comparison of numbers
(`attention.seen_ancestors`). Python works once for each sequence, numpy for each token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

Nodes = NDArray[np.int64]

_STRETCH = 2
"""How many times the usual size a row may have rather than read a prompt twice."""


@dataclass(frozen=True)
class Row:
    """One forward pass: N nodes, and the M answer tokens that they predict."""

    tokens: Nodes
    """[N]"""
    depths: Nodes
    """[N]: a node's position in its sequences."""
    ends: Nodes
    """[N]: the first later node that does not descend from this one; N where there is none."""
    sources: Nodes
    """[M]: the node that predicts each answer token, one answer after the other."""
    targets: Nodes
    """[M]: the predicted tokens."""
    answers: list[tuple[int, int]]
    """The index of its prompt, and its own, for each answer."""
    counts: list[int]
    """Tokens of each answer; M in all."""


def pack(prompts: Sequence[list[int]], answers: Sequence[Sequence[list[int]]], max_tokens: int) -> Iterator[Row]:
    """Rows of at most `max_tokens` nodes, filled in token order: there neighbours share the most.

    So that a prompt is read once, its answers stay in one row, which may then have up to twice as many nodes. A longer
    sequence has a row to itself. No prompt may be empty.
    """
    growing = _Growing()
    for unit in _units(prompts, answers, _STRETCH * max_tokens):
        if growing.answers and growing.size + growing.missing(unit) > max_tokens:
            yield growing.row()
            growing = _Growing()
        for sequence in unit:
            growing.add(sequence)
    if growing.answers:
        yield growing.row()


@dataclass(frozen=True)
class _Sequence:
    tokens: Nodes
    prompt: int
    answer: int
    start: int
    """Where its answer begins."""


def _units(
    prompts: Sequence[list[int]], answers: Sequence[Sequence[list[int]]], largest: int
) -> Iterator[list[_Sequence]]:
    """What stays in one row, in token order: a prompt with its answers or, if that has over `largest` nodes, each."""
    ordered = sorted(
        (prompts[prompt] + ids, prompt, answer) for prompt, own in enumerate(answers) for answer, ids in enumerate(own)
    )
    for _, group in groupby(ordered, key=lambda item: item[1]):
        unit = [
            _Sequence(np.array(tokens, dtype=np.int64), prompt, answer, len(prompts[prompt]))
            for tokens, prompt, answer in group
        ]
        if _Growing().missing(unit) <= largest:
            yield unit
        else:
            yield from ([sequence] for sequence in unit)


def _nothing() -> Nodes:
    return np.empty(0, dtype=np.int64)


@dataclass
class _Growing:
    """A row to which sequences are added in token order: each shares nodes with the one before, or with none."""

    size: int = 0
    answers: list[tuple[int, int]] = field(default_factory=list)
    last: Nodes = field(default_factory=_nothing)
    """The sequence added last."""
    path: Nodes = field(default_factory=_nothing)
    """Its nodes."""
    chains: list[tuple[int, Nodes]] = field(default_factory=list)
    """For each sequence, how many nodes it shares with the one before, and the tokens it adds."""
    sources: list[Nodes] = field(default_factory=list)
    targets: list[Nodes] = field(default_factory=list)

    def missing(self, sequences: Sequence[_Sequence]) -> int:
        """How many nodes `sequences`, in token order, would add."""
        tokens = (self.last, *(sequence.tokens for sequence in sequences))
        return sum(len(after) - _common_length(before, after) for before, after in pairwise(tokens))

    def add(self, sequence: _Sequence) -> None:
        tokens = sequence.tokens
        shared = _common_length(self.last, tokens)
        size = self.size + len(tokens) - shared
        self.path = np.concatenate([self.path[:shared], np.arange(self.size, size)])
        self.chains.append((shared, tokens[shared:]))
        self.sources.append(self.path[sequence.start - 1 : -1])
        self.targets.append(tokens[sequence.start :])
        self.answers.append((sequence.prompt, sequence.answer))
        self.last, self.size = tokens, size

    def row(self) -> Row:
        return Row(
            tokens=np.concatenate([chain for _, chain in self.chains]),
            depths=np.concatenate([np.arange(shared, shared + len(chain)) for shared, chain in self.chains]),
            ends=self._ends(),
            sources=np.concatenate(self.sources),
            targets=np.concatenate(self.targets),
            answers=self.answers,
            counts=[len(targets) for targets in self.targets],
        )

    def _ends(self) -> Nodes:
        """A node ends where the next chain begins that branches off at its depth or above."""
        ends = np.empty(self.size, dtype=np.int64)
        branching = np.full(max(shared + len(chain) for shared, chain in self.chains), self.size)
        after = self.size
        for shared, chain in reversed(self.chains):
            first = after - len(chain)
            ends[first:after] = branching[shared : shared + len(chain)]
            branching[shared:] = first
            after = first
        return ends


def _common_length(one: Nodes, other: Nodes) -> int:
    length = min(len(one), len(other))
    differing = np.flatnonzero(one[:length] != other[:length])
    return int(differing[0]) if differing.size else length
