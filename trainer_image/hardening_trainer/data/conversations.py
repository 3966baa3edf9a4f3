"""Rows that hold lists of messages (TRL's conversational format, or ShareGPT's `from` and `value`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_ROLES = {
    "user": "Human",
    "human": "Human",
    "assistant": "Assistant",
    "gpt": "Assistant",
    "model": "Assistant",
    "system": "System",
    "developer": "System",
}
_UNREAD = ("tool_calls", "function_call", "reasoning_content", "thinking")


class ConversationError(ValueError):
    """A list of messages cannot be read; the text says what was expected, and never what the messages say."""


def is_conversation(value: object) -> bool:
    """Whether a value is a list of messages."""
    return (
        isinstance(value, list | tuple)
        and bool(value)
        and all(isinstance(message, Mapping) and ("role" in message or "from" in message) for message in value)
    )


def split_conversation(messages: Sequence[Mapping[str, Any]]) -> tuple[str | None, str | None]:
    """Return (prompt, last answer); None for what the messages do not hold.

    A prompt of one turn is the user's bare words, a longer one a transcript. A system message stands before either.
    Raises ConversationError.
    """
    turns = [_turn(place, message) for place, message in enumerate(messages)]
    answer = turns.pop()[1] if turns[-1][0] == "Assistant" else None
    if not turns:
        return None, answer
    systems = [text for role, text in turns if role == "System"]
    spoken = [(role, text) for role, text in turns if role != "System"]
    if len(systems) > 1 or (systems and turns[0][0] != "System"):
        raise ConversationError("expected at most one system message, the first")
    if not spoken or spoken[-1][0] != "Human":
        raise ConversationError("expected a user's message before the answer")
    prompt = spoken[0][1] if len(spoken) == 1 else "\n\n".join(f"{role}: {text}" for role, text in spoken)
    return with_system(systems[0] if systems else None, prompt), answer


def with_system(system: str | None, prompt: str) -> str:
    """Return the prompt behind a system message."""
    return f"{system.strip()}\n\n{prompt}" if system and system.strip() else prompt


def _turn(place: int, message: Mapping[str, Any]) -> tuple[str, str]:
    role = _ROLES.get(str(message.get("role", message.get("from"))).lower())
    if role is None:
        raise ConversationError(f"message {place + 1}: expected a role user, assistant or system")
    unread = [name for name in _UNREAD if message.get(name)]
    if unread:
        raise ConversationError(f"message {place + 1}: {unread[0]}: expected none: only content is read")
    content = message.get("content", message.get("value"))
    if isinstance(content, list | tuple):
        if not all(isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in content):
            raise ConversationError(f"message {place + 1}: content: expected parts of text only")
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise ConversationError(f"message {place + 1}: content: expected text")
    return role, content
