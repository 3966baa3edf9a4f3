"""The one walk over what is inside a document of the contract."""

from __future__ import annotations

from hardening_api.base import SecretRef, walk
from hardening_api.evaluation import Evaluation


def test_every_value_is_met_once_under_the_name_a_document_has_for_it() -> None:
    judge = {"name": "a", "type": "OpenAI", "baseUrl": "http://h/v1", "model": "m", "secretRef": {"name": "key"}}
    evaluation = Evaluation.model_validate({"judges": [{"name": "w", "type": "RefusalPattern"}, judge]})
    met = list(walk(evaluation, "spec.evaluation"))
    paths = [path for path, _ in met]
    assert len(set(paths)) == len(paths)
    found = dict(met)
    assert found["spec.evaluation"] is evaluation
    assert found["spec.evaluation.judges[1].baseUrl"] == "http://h/v1"
    assert found["spec.evaluation.judges[1].secretRef"] == SecretRef(name="key")
    assert found["spec.evaluation.judges[1].secretRef.name"] == "key"
    assert paths.index("spec.evaluation.judges[0]") < paths.index("spec.evaluation.judges[1]")
    assert dict(walk(evaluation))["judges[0].name"] == "w"
