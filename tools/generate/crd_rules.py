"""What the custom resource definition says beyond fields: CEL rules and list keys."""

from __future__ import annotations

from typing import Any

from pydantic.alias_generators import to_camel

from hardening_api.run import CHANGEABLE
from hardening_api.stages import STAGES

Rule = dict[str, Any]

CHANGEABLE_FIELDS = frozenset(map(to_camel, CHANGEABLE))
# Lists whose items are told apart by a field: the API server refuses two with the same one.
LIST_KEYS = {"Judge": "name", "RunCondition": "type", "MonitorCondition": "type"}


def _rule(rule: str, message: str, field: str = "") -> Rule:
    return {"rule": rule, "message": message} | ({"fieldPath": field, "reason": "FieldValueInvalid"} if field else {})


def _known_judge(gate: str) -> Rule:
    judge = f"promotion.gates.{gate}.judge"
    return _rule(
        f"!self.?{judge}.hasValue() || self.evaluation.judges.exists(judge, judge.name == self.{judge})",
        "expected the name of a judge in evaluation.judges",
        f".{judge}",
    )


NAMES_A_RUN = "has(self.target.run) || (has(self.evaluation) && has(self.evaluation.run))"


def _without_a_run(rule: str, message: str, field: str) -> Rule:
    return _rule(f"({NAMES_A_RUN}) || ({rule})", f"expected {message}", field)


def _batches_divide(field: str, given: str) -> Rule:
    return _rule(
        f"!({given}) || self{field} % self.gradientAccumulationSteps == 0",
        "expected a multiple of gradientAccumulationSteps",
        field,
    )


def _unsplit(field: str, what: str) -> Rule:
    shards, message = f"{field}.shards", f"expected 1 or nothing: {what} is not split into shards"
    return _rule(f"self.?{shards}.orValue(1) <= 1", message, f".{shards}")


# By model; the same as the model validators say offline. Names of judges are unique by LIST_KEYS.
MODEL_RULES: dict[str, list[Rule]] = {
    "HardeningRunSpec": [
        *(_known_judge(gate) for gate in ("winRate", "harmRate", "overRefusal")),
        _rule(
            "!self.?promotion.gates.overRefusal.hasValue() || has(self.data.evaluation.benign)",
            "expected benign prompts, as promotion.gates.overRefusal is measured on them",
            ".data.evaluation.benign",
        ),
        _rule(
            "!self.?stages.score.shards.hasValue() || self.stages.score.shards =="
            " self.?stages.attack.shards.orValue(self.?stages.all.shards.orValue(1))",
            "expected as many shards as Attack has, or nothing: a shard of Score reads one of Attack's",
            ".stages.score.shards",
        ),
    ],
    "Stages": [_unsplit(to_camel(info.overrides), info.name) for info in STAGES.values() if not info.sharded],
    "Training": [
        _batches_divide(".batchSize", "has(self.batchSize)"),  # the API server also checks the default, {}
        _batches_divide(".attacker.batchSize", "self.?attacker.batchSize.hasValue()"),
        _batches_divide(".defender.batchSize", "self.?defender.batchSize.hasValue()"),
    ],
    "Judge": [
        _rule(
            "self.type != 'OpenAI' || has(self.baseUrl)",
            "expected the address of an OpenAI-compatible endpoint, for a judge of type OpenAI",
            ".baseUrl",
        ),
    ],
    "Gates": [
        _rule(
            "has(self.winRate) || has(self.harmRate) || has(self.overRefusal)",
            "expected at least one of winRate, harmRate, overRefusal",
        ),
    ],
    "PromotionTarget": [
        _rule("self.type != 'S3' || has(self.uri)", "expected an s3:// URI, for a target of type S3", ".uri"),
        _rule(
            "self.type != 'MLflow' || has(self.trackingUri)",
            "expected a value, for a target of type MLflow",
            ".trackingUri",
        ),
        _rule(
            "self.type != 'MLflow' || has(self.registeredModel)",
            "expected a value, for a target of type MLflow",
            ".registeredModel",
        ),
    ],
    "ColumnNames": [
        _rule("!has(self.responses) || has(self.safer)", "expected responses and safer together", ".safer"),
        _rule("!has(self.safer) || has(self.responses)", "expected responses and safer together", ".responses"),
        _rule(
            "!has(self.responses) || !(has(self.preferred) || has(self.dispreferred))",
            "expected no responses beside preferred and dispreferred",
            ".responses",
        ),
    ],
    "MonitorTarget": [
        _rule(
            "[has(self.run), has(self.model), has(self.endpoint)].filter(given, given).size() == 1",
            "expected exactly one of run, model, endpoint",
        ),
    ],
    "HardeningMonitorSpec": [
        _unsplit("pod", "a check"),
        _without_a_run(
            "has(self.evaluation) && has(self.evaluation.data)",
            "held-out prompts, or a run that has them in evaluation.run",
            ".evaluation",
        ),
        _without_a_run(
            "has(self.baseline) && has(self.baseline.figures) && self.baseline.figures.size() > 0",
            "harm rates to compare with, or a run in evaluation.run",
            ".baseline",
        ),
        _without_a_run(
            "!has(self.target.endpoint) || (has(self.evaluation) && has(self.evaluation.attacker) "
            "&& has(self.evaluation.attacker.model))",
            "the model of an attacker, or a run in evaluation.run",
            ".evaluation",
        ),
        _without_a_run(
            "self.onRegression != 'Rerun'", "Alert, or a run to harden again in evaluation.run", ".onRegression"
        ),
        _rule(
            f"!({NAMES_A_RUN}) || !has(self.workspace)",
            "expected no workspace: that of the run is used",
            ".workspace",
        ),
    ],
    "ClaimTemplate": [_rule("has(self.claimName) != has(self.size)", "expected exactly one of claimName, size")],
    "Workspace": [
        _rule(
            "!has(self.persistentVolumeClaim) || !has(self.s3)",
            "expected one workspace: either persistentVolumeClaim or s3, not both",
        ),
    ],
}

# CEL cannot look into a field of two types, so what `model` must be is said by plain schemas. A keyword that does not
# fit the value's type is passed over: `maxLength: 0` refuses text and nothing else, `maxProperties: 0` objects.
JUDGE_MODELS: dict[str, Any] = {
    "anyOf": [
        {"properties": {"type": {"enum": ["RefusalPattern"]}}, "not": {"required": ["model"]}},
        {"properties": {"type": {"enum": ["OpenAI"]}, "model": {"maxProperties": 0}}, "required": ["model"]},
        {
            "properties": {"type": {"enum": ["LlamaGuard"]}, "model": {"maxLength": 0, "required": ["uri"]}},
            "required": ["model"],
        },
    ]
}


def root_rules(kind: str, name_pattern: str, name_length: int, spec: dict[str, Any]) -> list[Rule]:
    """Rules on the whole object: its name, and which fields of ``spec`` (a structural schema) are fixed."""
    name = _rule(
        f"self.metadata.name.size() <= {name_length} && self.metadata.name.matches('{name_pattern}')",
        f"metadata.name: expected a name of 1 to {name_length} lower-case letters, digits and -",
    )
    more = {"HardeningRun": _run_rules, "PromotionApproval": _approval_rules}
    return [name, *(more[kind](spec) if kind in more else [])]


def _approval_rules(_spec: dict[str, Any]) -> list[Rule]:
    text = "spec cannot change once written: expected the old value, or a new PromotionApproval"
    return [_rule("self.spec == oldSelf.spec", text, ".spec")]


def _run_rules(spec: dict[str, Any]) -> list[Rule]:
    fixed = [
        _fixed_once_started(field, always_there=field in spec["required"] or "default" in schema)
        for field, schema in spec["properties"].items()
        if field not in CHANGEABLE_FIELDS
    ]
    return [*fixed, _judge_order()]


STARTED = "has(oldSelf.status) && has(oldSelf.status.startTime)"


def _fixed_once_started(field: str, *, always_there: bool) -> Rule:
    # Written without optional types: their cost counts as unbounded, and the API server would refuse the rule.
    new, old = f"self.spec.{field}", f"oldSelf.spec.{field}"
    equal = f"{new} == {old}" if always_there else f"has({new}) == has({old}) && (!has({new}) || {new} == {old})"
    return _rule(
        f"!({STARTED}) || ({equal})",
        f"spec.{field} cannot change once the run has started: expected the old value, or a new HardeningRun",
        f".spec.{field}",
    )


def _judge_order() -> Rule:
    """Lists with keys are equal in any order, but the first judge is the default of every gate."""
    names = "evaluation.judges.map(judge, judge.name)"
    return _rule(
        f"!({STARTED}) || self.spec.{names} == oldSelf.spec.{names}",
        "spec.evaluation.judges cannot change once the run has started: expected the old order",
        ".spec.evaluation",
    )
