"""Stages that only seem to run: what kwok reports of their pods, and a run for it.

A pod runs after a while and succeeds after another, with the result of its stage as termination message. The results
are those of the planner's tests.
"""

from __future__ import annotations

import json
from typing import Any

from hardening_api.stages import STAGES as STAGE_TABLE
from hardening_operator.planner.names import ROUND_LABEL, STAGE_LABEL
from hardening_operator.planner.types import StageKey
from hardening_operator.resources import CONTAINER
from tests.operator.world import result_of

STAGES = (
    StageKey(0, "Evaluate"),
    StageKey(1, "Attack"),
    StageKey(1, "Score"),
    StageKey(1, "TrainAttacker"),
    StageKey(1, "TrainDefender"),
    StageKey(1, "Evaluate"),
    StageKey(1, "Promote"),
)
"""All stages of a run of one round."""
Between = tuple[int, int]
"""Milliseconds, at least and at most."""


def kwok_stages(starts: Between, works: Between) -> list[dict[str, Any]]:
    """What kwok does: nodes become ready; pods start, succeed with their stage's result, and go when deleted."""
    unready = {"key": '.status.conditions.[] | select( .type == "Ready" ) | .status', "operator": "NotIn"}
    times = "lastHeartbeatTime: {{ Now | Quote }}, lastTransitionTime: {{ Now | Quote }}"
    ready_node = f"conditions: [{{type: Ready, status: 'True', reason: KubeletReady, message: simulated, {times}}}]"
    node = _stage(
        "node", {"matchExpressions": [unready | {"values": ["True"]}]}, (0, 0), {"statusTemplate": ready_node}
    )
    node["spec"]["resourceRef"]["kind"] = "Node"
    running = _container("running: {startedAt: {{ Now | Quote }}}", ready=True)
    ready = (
        f'phase: Running\nstartTime: {{{{ Now | Quote }}}}\nconditions: [{{type: Ready, status: "True"}}]\n{running}'
    )
    pending = {"matchExpressions": [_phase("Pending"), _kept()]}
    begins = _stage("pod-starts", pending, starts, {"statusTemplate": ready})
    gone = {"matchExpressions": [{"key": ".metadata.deletionTimestamp", "operator": "Exists"}]}
    return [
        node,
        begins,
        *(_succeeds(key, works) for key in STAGES),
        _stage("pod-goes", gone, (0, 0), {"delete": True}),
    ]


def _succeeds(key: StageKey, works: Between) -> dict[str, Any]:
    folder = STAGE_TABLE[key.stage].folder
    message = json.dumps(result_of(key).to_message())
    begun = "{{ (index .status.containerStatuses 0).state.running.startedAt | Quote }}"
    times = f"startedAt: {begun}, finishedAt: {{{{ Now | Quote }}}}"
    ended = _container(f"terminated: {{exitCode: 0, reason: Completed, {times}, message: {message}}}", ready=False)
    selector = {
        "matchLabels": {STAGE_LABEL: folder, ROUND_LABEL: str(key.round)},
        "matchExpressions": [_phase("Running"), _kept()],
    }
    return _stage(f"succeeds-{key.round}-{folder}", selector, works, {"statusTemplate": f"phase: Succeeded\n{ended}"})


def _container(state: str, ready: bool) -> str:
    image = "{{ (index .spec.containers 0).image | Quote }}"
    fields = f"name: {CONTAINER}, image: {image}, imageID: '', restartCount: 0, ready: {str(ready).lower()}"
    return f"containerStatuses: [{{{fields}, state: {{{state}}}}}]"


def _stage(name: str, selector: dict[str, Any], delay: Between, change: dict[str, Any]) -> dict[str, Any]:
    least, most = delay
    spec = {
        "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
        "selector": selector,
        "delay": {"durationMilliseconds": least, "jitterDurationMilliseconds": most},
        "next": change,
    }
    return {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage", "metadata": {"name": name}, "spec": spec}


def _phase(phase: str) -> dict[str, Any]:
    return {"key": ".status.phase", "operator": "In", "values": [phase]}


def _kept() -> dict[str, Any]:
    return {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}


def simulated_run(name: str, win_rate: float) -> dict[str, Any]:
    """A run of one round on simulated nodes, a GPU a pod, with a gate on the win rate."""
    source = {"uri": "s3://simulated/data.jsonl"}
    pods = {
        "nodeSelector": {"type": "kwok"},
        "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}],
        "resources": {"limits": {"nvidia.com/gpu": 1}},
    }
    spec = {
        "model": {"uri": "s3://simulated/model"},
        "rounds": 1,
        "data": {"preferences": source, "evaluation": {"harmful": source, "benign": source}},
        "promotion": {"gates": {"winRate": {"min": win_rate}}},
        "workspace": {"s3": {"uri": "s3://simulated/workspace"}},
        "stages": {"all": pods},
    }
    meta = {"name": name}
    return {"apiVersion": "hardening.dev/v1alpha1", "kind": "HardeningRun", "metadata": meta, "spec": spec}
