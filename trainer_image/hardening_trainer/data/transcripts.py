"""HH-RLHF transcripts (arXiv 2204.05862): two dialogues that differ in the assistant's last answer."""

from __future__ import annotations

HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"


def is_transcript(text: object) -> bool:
    """Whether a value is a dialogue of this form."""
    return isinstance(text, str) and text.startswith(HUMAN) and ASSISTANT in text


def split_transcript(text: str) -> tuple[str, str]:
    """Return (prompt, last answer).

    A dialogue of one turn gives the human's bare words; a longer one stays a transcript, without the marker that
    opens the last answer.
    """
    before, _, answer = text.rpartition(ASSISTANT)
    turns = before.removeprefix(HUMAN)
    if HUMAN in turns or ASSISTANT in turns:
        turns = before
    return turns.strip(), answer.strip()
