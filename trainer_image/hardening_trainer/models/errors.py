"""What can be wrong with a model, told to the person who named it."""

from __future__ import annotations


class ModelNotUsable(Exception):
    """The model cannot be used as it is; trying again changes nothing. Says what was found and what to do."""

    def __init__(self, uri: object, found: str, advice: str) -> None:
        super().__init__(f"model {uri}: {found}: {advice}")


class ModelUnavailable(Exception):
    """The place that holds the model could not be reached; a later try may succeed."""

    def __init__(self, uri: object, found: str) -> None:
        super().__init__(f"model {uri}: {found}: try again, or fetch it once and name it by file://")
