"""What an endpoint takes of the chat protocol, learnt from what it refuses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

Message = dict[str, str]

LONGEST_COMPLAINT = 4000
_REFUSED = (
    r"(?:support|unknown|unrecogni[sz]ed|unexpected|not (?:allowed|permitted|accepted|available)|extra|deprecated"
    r"|only the default|invalid|remove)"
)
_NO_SYSTEM_ROLE = re.compile(
    r"\b(?:system|developer) (?:roles?|messages?|prompts?|instructions?)\b|\brole\W{1,4}(?:is )?\W?system\b"
    r"|\bsystem\b.{0,40}\broles?\b|\broles? must alternate|\bonly\b.{0,60}\b(?:user|assistant)\b.{0,40}\broles?\b"
    r"|\broles? must be\b.{0,40}\buser\b|\bfirst message\b.{0,40}\buser\b|\bunexpected role\b|\binvalid role\b",
    re.DOTALL,
)
# A budget that is out of range is no unknown parameter: another name for it would change nothing.
_OUT_OF_RANGE = re.compile(
    r"too (?:large|big|long|high|small|low)|context|exceed|at (?:most|least)|less than|greater than|maximum"
)


@dataclass(frozen=True)
class Dialect:
    """How a request to one endpoint differs from the protocol's usual form."""

    token_field: str | None = "max_tokens"  # noqa: S105 - the name of a field
    """None where it takes no limit."""
    temperature: bool = True
    system_role: bool = True
    without: frozenset[str] = frozenset()
    """Fields of `extraBody` that it refuses."""

    def body(
        self, model: str, messages: Sequence[Message], max_tokens: int, extra: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the request for `messages`, at temperature 0."""
        body: dict[str, Any] = {"model": model, "messages": self._messages(messages)}
        if self.temperature:
            body["temperature"] = 0
        if self.token_field is not None:
            body[self.token_field] = max_tokens
        return body | {name: value for name, value in extra.items() if name not in self.without}

    def _messages(self, messages: Sequence[Message]) -> list[Message]:
        first, *others = messages
        if self.system_role or first["role"] != "system" or not others:
            return list(messages)
        folded = {**others[0], "content": f"{first['content']}\n\n{others[0]['content']}"}
        return [folded, *others[1:]]

    def after(self, complaint: str, extra: Mapping[str, Any]) -> Dialect | None:
        """Return the dialect to try next, after a server's complaint; None if it complains of no parameter."""
        said = complaint[:LONGEST_COMPLAINT].lower()
        if self.token_field and "max_completion_tokens" in said and self.token_field == "max_tokens":  # noqa: S105
            return replace(self, token_field="max_completion_tokens")  # noqa: S106
        if self.token_field and _refuses(said, self.token_field) and not _OUT_OF_RANGE.search(said):
            other = "max_completion_tokens" if self.token_field == "max_tokens" else None  # noqa: S105
            return replace(self, token_field=other)
        if self.temperature and _refuses(said, "temperature"):
            return replace(self, temperature=False)
        if "response_format" in extra and "response_format" not in self.without and "response_format" in said:
            return replace(self, without=self.without | {"response_format"})
        if self.system_role and _NO_SYSTEM_ROLE.search(said):
            return replace(self, system_role=False)
        return None

    def adaptations(self) -> list[str]:
        """Name what differs from the usual form."""
        usual = Dialect()
        differs = {
            f"limit in {self.token_field}": self.token_field != usual.token_field,
            "no temperature": not self.temperature,
            "no system role": not self.system_role,
        }
        return [words for words, holds in differs.items() if holds] + [f"no {name}" for name in sorted(self.without)]


def _refuses(said: str, parameter: str) -> bool:
    return re.search(rf"\b{parameter}\b", said) is not None and re.search(_REFUSED, said) is not None
