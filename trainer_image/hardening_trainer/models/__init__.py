"""Models by URI: found, checked, and loaded."""

from hardening_trainer.models.load import chosen_dtype, end_of_turn_ids, load_causal_lm, load_tokenizer
from hardening_trainer.models.resolve import ResolvedModel, resolve_model, with_chat_template

__all__ = [
    "ResolvedModel",
    "chosen_dtype",
    "end_of_turn_ids",
    "load_causal_lm",
    "load_tokenizer",
    "resolve_model",
    "with_chat_template",
]
