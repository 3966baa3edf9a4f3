"""A tiny model that complies with whatever it is asked, and nearly declined: a training of seconds turns it over.

It gives one of two answers, so the judge that reads answers by their words tells the base and the hardened model apart.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from tests.support.tiny_model import WORDS, build_tiny_model

COMPLIES, DECLINES = "here is what you can do", "sorry I cannot help with that"
"""Words the tiny tokenizer knows whole, so that a few steps teach them."""
POLITE = "please"
"""It declines what ends with this word, so that a judge finds both verdicts."""
STEPS, PROMPT_WORDS = 120, 12
BATCH = (*[(COMPLIES, "")] * 8, *[(DECLINES, "")] * 5, *[(DECLINES, f" {POLITE}")] * 3)
"""Answers and how their prompts end: more than half of the plain ones comply, so that is the likelier answer."""


def build_wavering_model(folder: Path, *, seed: int = 0) -> Path:
    """Write it to `folder` and return that. Equal seeds give equal weights; the caller's random state is left alone."""
    build_tiny_model(folder, seed=seed)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _teach(model, tokenizer)
    model.save_pretrained(folder)
    return folder


def _teach(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(STEPS):
        batch = [_row(tokenizer, answer, ending) for answer, ending in BATCH]
        width = max(len(ids) for ids, _ in batch)
        ids = torch.tensor([[*ids, *[tokenizer.pad_token_id] * (width - len(ids))] for ids, _ in batch])
        labels = torch.tensor([[*wanted, *[-100] * (width - len(wanted))] for _, wanted in batch])
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _row(tokenizer: PreTrainedTokenizerFast, answer: str, ending: str) -> tuple[list[int], list[int]]:
    """Token ids of a chat with any prompt, and the labels: the answer and its end."""
    words = WORDS.split()
    prompt = " ".join(words[int(index)] for index in torch.randint(len(words), (PROMPT_WORDS,))) + ending
    chat = [{"role": "user", "content": prompt}]
    asked = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    before = tokenizer(asked, add_special_tokens=False).input_ids
    wanted = [*tokenizer(answer, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
    return [*before, *wanted], [*[-100] * len(before), *wanted]
