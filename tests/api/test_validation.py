from __future__ import annotations

import math
from typing import Any

import pytest

from hardening_api.run import HardeningRun
from hardening_api.schema import schema_of
from hardening_api.validation import FieldError, validate_run
from tests.api.manifests import FAULTS, OTHER_WORKSPACES, Fault, full, patched, small


def faults_of(document: Any) -> list[FieldError]:
    outcome = validate_run(document)
    assert isinstance(outcome, list), "the document was taken"
    return outcome


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.at}={fault.put[:20]}")
def test_a_fault_is_one_error_that_names_the_field_and_shows_the_value(fault: Fault) -> None:
    errors = faults_of(fault.document())
    if fault.put == "{url: a}":  # two faults: the missing field and the unknown one
        errors = errors[:1]
    assert [(error.path, error.got) for error in errors] == [(fault.names, fault.got)]
    assert errors[0].expected
    assert "\n" not in str(errors[0])


def test_the_manifest_of_the_design_is_valid() -> None:
    run = validate_run(full())
    assert isinstance(run, HardeningRun)
    assert run.spec.training.learning_rate == 5e-6
    assert run.spec.promotion.gates.win_rate is not None
    assert run.spec.promotion.gates.win_rate.min == 0.6


def test_ten_lines_are_enough() -> None:
    run = validate_run(small())
    assert isinstance(run, HardeningRun)
    assert run.spec.rounds == 3
    assert [judge.type for judge in run.spec.evaluation.judges] == ["RefusalPattern"]


@pytest.mark.parametrize("workspace", OTHER_WORKSPACES)
def test_each_kind_of_workspace_is_valid(workspace: dict[str, Any]) -> None:
    assert isinstance(validate_run(patched(full(), "spec.workspace", workspace)), HardeningRun)


STAGES = ("all", "score", "trainAttacker", "trainDefender", "evaluate", "promote")


def paths_of(schema: dict[str, Any], at: str = "") -> set[str]:
    found = {at}
    for name, field in schema.get("properties", {}).items():
        found |= paths_of(field, f"{at}.{name}")
    return found | (paths_of(schema["items"], at) if "items" in schema else set())


def given_paths(value: Any, at: str = "") -> set[str]:
    if isinstance(value, list):
        return {at}.union(*(given_paths(item, at) for item in value))
    if isinstance(value, dict):
        return {at}.union(*(given_paths(item, f"{at}.{name}") for name, item in value.items()))
    return {at}


# Each stage, and each role's training, has the same fields; the manifest gives them once.
TYPES_GIVEN_ELSEWHERE = (*(f".stages.{stage}." for stage in STAGES), ".training.defender.")


def test_the_full_manifest_gives_every_field_of_the_spec() -> None:
    spec = schema_of(HardeningRun)["properties"]["spec"]
    given = given_paths(full()["spec"]).union(*(given_paths(other, ".workspace") for other in OTHER_WORKSPACES))
    names = {path.rsplit(".", 1)[-1] for path in given}
    wanted = {path for path in paths_of(spec) if not path.startswith(TYPES_GIVEN_ELSEWHERE)}
    assert {path for path in wanted if path.count(".") <= 2} - given == set()
    assert {path.rsplit(".", 1)[-1] for path in wanted} - names == set()


def test_every_fault_of_a_document_is_told() -> None:
    document = patched(patched(small(), "spec.rounds", 0), "spec.training.beta", "strong")
    assert [error.path for error in faults_of(document)] == ["spec.rounds", "spec.training.beta"]


def test_an_error_reads_as_one_sentence() -> None:
    [error] = faults_of(patched(small(), "spec.rounds", 0))
    assert str(error) == "spec.rounds: got 0: expected a whole number from 1 to 100"


def test_an_unknown_field_is_answered_with_the_nearest_known_one() -> None:
    [error] = faults_of(patched(small(), "spec.training.learning_rate", 0.1))
    assert error.expected == "a known field: learningRate"


def test_an_unknown_field_like_no_other_is_answered_with_all_known_ones() -> None:
    [error] = faults_of(patched(small(), "spec.model.weight", 1))
    assert error.expected == "a known field, one of uri, revision, secretRef, chatTemplate"


def test_names_of_python_are_not_read_from_documents() -> None:
    document = small()
    document["api_version"] = document.pop("apiVersion")
    assert {error.path for error in faults_of(document)} == {"apiVersion", "api_version"}


def test_an_unknown_judge_is_answered_with_the_known_ones() -> None:
    [error] = faults_of(patched(full(), "spec.promotion.gates.winRate.judge", "nobody"))
    assert error.expected == "the name of a judge in evaluation.judges (guard, gpt, words)"


def test_another_kind_of_object_is_not_searched_for_faults() -> None:
    errors = faults_of({"apiVersion": "v1", "kind": "ConfigMap", "data": {}})
    assert [error.path for error in errors] == ["apiVersion", "kind"]


@pytest.mark.parametrize("document", [None, [], "text", 3, math.nan])
def test_what_is_no_object_is_refused_as_a_whole(document: Any) -> None:
    [error] = faults_of(document)
    assert error.path == ""
    assert error.expected == "an object with apiVersion, kind, metadata and spec"


def test_a_status_is_not_looked_at() -> None:
    run = validate_run(patched(small(), "status", {"phase": "Nonsense", "figures": math.nan}))
    assert isinstance(run, HardeningRun)
    assert run.status is None


def test_metadata_may_hold_what_kubernetes_puts_there() -> None:
    metadata = {"name": "a", "labels": {"x.y/z": "1"}, "managedFields": [{}], "resourceVersion": "7", "finalizers": []}
    assert isinstance(validate_run(patched(small(), "metadata", metadata)), HardeningRun)


def test_a_long_value_is_cut() -> None:
    [error] = faults_of(patched(small(), "spec.rounds", "x" * 500))
    assert len(error.got) == 80
    assert error.got.endswith("...")


def test_a_name_that_is_no_word_is_quoted_in_the_path() -> None:
    [error] = faults_of(patched(full(), "spec.stages.attack.nodeSelector", {"nvidia.com/gpu product": 1}))
    assert error.path == 'spec.stages.attack.nodeSelector["nvidia.com/gpu product"]'


def test_an_over_refusal_gate_by_default_asks_for_no_benign_prompts() -> None:
    assert isinstance(validate_run(patched(small(), "spec.promotion", {"approval": "Manual"})), HardeningRun)
