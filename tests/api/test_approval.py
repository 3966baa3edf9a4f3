from __future__ import annotations

from typing import Any

import pytest

from hardening_api.approval import PromotionApproval
from hardening_api.validation import validate_document

DIGEST = "sha256:" + "a" * 64


def approval(**changes: Any) -> dict[str, Any]:
    return {
        "apiVersion": "hardening.dev/v1alpha1",
        "kind": "PromotionApproval",
        "metadata": {"name": "mistral-r3"},
        "spec": {"run": "mistral", "candidate": DIGEST, "approver": "ada"} | changes,
    }


def test_a_good_approval_says_yes_by_default() -> None:
    found = validate_document(approval())
    assert isinstance(found, PromotionApproval)
    assert found.spec.decision == "Approved"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"decision": "Maybe"}, 'spec.decision: got "Maybe": expected one of Approved, Rejected'),
        ({"run": "No Such Name"}, 'spec.run: got "No Such Name": expected a name of 1 to 52 lower-case letters'),
        ({"candidate": "latest"}, 'spec.candidate: got "latest": expected text'),
        ({"aprover": "ada"}, 'spec.aprover: got "ada": expected a known field: approver'),
    ],
)
def test_a_faulty_approval_is_refused_by_field(changes: dict[str, Any], line: str) -> None:
    errors = validate_document(approval(**changes))
    assert isinstance(errors, list)
    assert [str(error)[: len(line)] for error in errors] == [line]


def test_another_kind_is_refused_with_the_known_ones() -> None:
    [error] = validate_document({**approval(), "kind": "Approval"})
    assert str(error).startswith('kind: got "Approval": expected one of HardeningRun, PromotionApproval')
