"""Preferences and prompts by URI, checked row by row."""

from hardening_trainer.data.read import read_pairs, read_prompts
from hardening_trainer.data.rows import Pair, PairTable, Prompt, PromptTable, prompt_hash

__all__ = ["Pair", "PairTable", "Prompt", "PromptTable", "prompt_hash", "read_pairs", "read_prompts"]
