"""R of held-out questions that carry both answers, from the log-probabilities in the journal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hardening_api.training import Scoring
from hardening_trainer.errors import DataFault
from hardening_trainer.evaluation.answers import score_key
from hardening_trainer.evaluation.questions import Question
from hardening_trainer.evaluation.served import ServedModel
from hardening_trainer.inference.logprobs import direct_harmfulness
from hardening_trainer.models import ResolvedModel


@dataclass(frozen=True)
class HarmfulnessOf:
    """R of one defender; `reference` is None where alpha is 0."""

    journal: Mapping[str, Any]
    defender: ResolvedModel | ServedModel
    reference: ResolvedModel | None
    scoring: Scoring

    def __call__(self, question: Question) -> float | None:
        """Return R of a question; None without its answers, and of a served model. Raises DataFault if not finite."""
        if not question.is_scored or isinstance(self.defender, ServedModel):
            return None
        preferred, dispreferred, *counts = self.journal[score_key(self.defender, question)]
        of_reference = (None, None)
        if self.reference is not None:
            of_reference = self.journal[score_key(self.reference, question)][:2]
        value = direct_harmfulness(
            preferred,
            dispreferred,
            *of_reference,
            alpha=self.scoring.alpha,
            token_counts=(counts[0], counts[1]) if self.scoring.length_normalize else None,
        )
        if not math.isfinite(value):
            raise DataFault(f"{self.defender.uri}: gives log-probabilities that are not finite", "ModelNotFinite")
        return value
