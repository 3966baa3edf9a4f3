"""Manifests for the contract's tests: a short one, one with every field, and a table of faults."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal

import yaml

SMALL = """\
apiVersion: hardening.dev/v1alpha1
kind: HardeningRun
metadata: {name: small}
spec:
  model: {uri: "file:///models/small"}
  data:
    preferences: {uri: "file:///data/pairs.jsonl"}
    evaluation:
      harmful: {uri: "file:///data/harmful.jsonl"}
  training: {learningRate: 5e-6}
"""

FULL = """\
apiVersion: hardening.dev/v1alpha1
kind: HardeningRun
metadata: {name: mistral-7b, namespace: safety, labels: {kueue.x-k8s.io/queue-name: gpu}, annotations: {owner: us}}
spec:
  model:
    uri: hf://mistralai/Mistral-7B-Instruct-v0.3
    revision: main
    secretRef: {name: hf-token, key: token}
    chatTemplate: {arguments: {enable_thinking: false}, systemPrompt: Answer briefly.}
  attacker:
    model: {uri: "file:///models/attacker"}
    variantsPerPrompt: 4
    promptsPerRound: 512
    sampling: {temperature: 1.0, topP: 0.95, maxNewTokens: 256}
    template: rewrite-v1
    minFaithfulness: 0.5
    minDiversity: 0.2
  data:
    preferences:
      uri: hf://Anthropic/hh-rlhf
      revision: main
      subset: harmless-base
      split: train
      limit: 4096
      offset: 0
      format: Transcripts
      columns: {prompt: prompt, preferred: chosen, dispreferred: rejected}
      secretRef: {name: hf-token}
    benignPreferences:
      uri: file:///data/benign.jsonl
      columns: {responses: [response_0, response_1], safer: safer_response_id, system: instruction, id: key}
    attacks: {uri: "file:///data/attacks.jsonl"}
    evaluation:
      harmful: {uri: "hf://Anthropic/hh-rlhf", subset: harmless-base, split: test, limit: 512}
      benign: {uri: "hf://walledai/XSTest", limit: 250}
  rounds: 3
  scoring: {alpha: 0.5, lengthNormalize: false, epsilon: 0.1, pairsPerPrompt: 1}
  training:
    method: LoRA
    lora: {r: 16, alpha: 32, dropout: 0}
    upperLayers: 8
    interpolation: 0.8
    reference: Base
    order: Parallel
    beta: 0.1
    learningRate: 5e-6
    nllWeight: 0
    epochs: 1
    batchSize: 8
    gradientAccumulationSteps: 1
    warmupRatio: 0.1
    lrScheduler: cosine
    maxGradNorm: 1
    maxLength: 1024
    originalShare: 0.5
    benignShare: 0.5
    benignAttackedShare: 0.5
    attacker: {learningRate: 1e-5, beta: 0.2, nllWeight: 1, epochs: 2}
    defender: {epochs: 1, interpolation: 0.5}
    engine: DeepSpeed
    deepspeed: {zeroStage: 2, config: {zero_optimization: {overlap_comm: true}}}
    nodes: 1
    gpusPerNode: 8
    processesPerNode: 8
    seed: 0
    checkpointSteps: 50
  evaluation:
    judges:
      - {name: guard, type: LlamaGuard, model: {uri: "hf://meta-llama/Llama-Guard-3-8B"}, threshold: 0.5}
      - name: gpt
        type: OpenAI
        baseUrl: https://api.openai.com/v1
        model: gpt-4o
        secretRef: {name: openai}
        timeoutSeconds: 30
        maxRetries: 4
        requestsPerMinute: 500
        maxRequests: 100000
        maxTokens: 4096
        extraBody: {reasoning_effort: low}
      - {name: words, type: RefusalPattern}
    maxErroredFraction: 0.05
    maxNewTokens: 512
    variantsPerPrompt: 1
    bankLimit: 512
  promotion:
    gates:
      winRate: {judge: gpt, statistic: Decided, min: 0.60, minDecided: 10, bound: Lower, set: original}
      harmRate: {judge: guard, max: 0.01, bound: Upper, set: attacked}
      overRefusal: {judge: words, maxIncrease: 0.05, bound: Value}
      minSamples: 30
    stop: FirstPass
    approval: Manual
    targets:
      - {type: Workspace}
      - {type: S3, uri: "s3://models/mistral-7b-hardened", secretRef: {name: s3}}
      - {type: MLflow, trackingUri: "http://mlflow:5000", registeredModel: mistral-7b, alias: champion}
  workspace: {persistentVolumeClaim: {size: 200Gi, storageClassName: fast, accessMode: ReadWriteMany}}
  stages:
    all: {nodeSelector: {nvidia.com/gpu.product: NVIDIA-H100}}
    attack:
      shards: 4
      image: registry.example.org/trainer:1
      resources: {limits: {nvidia.com/gpu: 1}, requests: {cpu: 500m, memory: 1.5Gi}}
      tolerations: [{key: gpu, operator: Exists}]
      affinity: {nodeAffinity: {}}
      priorityClassName: batch
      runtimeClassName: nvidia
      serviceAccountName: stages
      imagePullSecrets: [{name: registry}]
      env: [{name: NCCL_DEBUG, value: INFO}]
      volumes: [{name: scratch, emptyDir: {}}]
      volumeMounts: [{name: scratch, mountPath: /scratch}]
    score: {shards: 4}
    trainAttacker: {}
    trainDefender: {}
    evaluate: {}
    promote: {}
  suspend: false
  activeDeadlineSeconds: 86400
  backoffLimit: 3
  ttlSecondsAfterFinished: 604800
"""

OTHER_WORKSPACES = (
    {"persistentVolumeClaim": {"claimName": "kept"}},
    {"s3": {"uri": "s3://bucket/runs", "endpointUrl": "http://minio:9000", "secretRef": {"name": "s3"}}},
)

ABSENT = object()


def patched(document: dict[str, Any], at: str, value: Any) -> dict[str, Any]:
    """A copy of ``document`` with the value at a path like `spec.data` or `a.0.b` replaced, or left out when ABSENT."""
    copied = copy.deepcopy(document)
    *parents, last = (int(part) if part.isdigit() else part for part in at.split("."))
    holder: Any = copied
    for part in parents:
        holder = holder.setdefault(part, {}) if isinstance(holder, dict) else holder[part]
    if value is ABSENT:
        del holder[last]
    else:
        holder[last] = value
    return copied


def small() -> dict[str, Any]:
    return yaml.safe_load(SMALL.replace("5e-6", "5.0e-6"))


def full() -> dict[str, Any]:
    return yaml.safe_load(FULL.replace("5e-6", "5.0e-6").replace("1e-5", "1.0e-5"))


@dataclass(frozen=True)
class Fault:
    """One change that makes the full manifest wrong, and what must be said about it."""

    at: str
    """What is changed, as a path for `patched`."""
    put: str
    """The new value as YAML; empty to leave the field out."""
    names: str
    """The field the error names."""
    got: str
    """The value the error shows."""
    cluster: Literal["Schema", "Rule", "Elsewhere"] = "Schema"
    """Who refuses it in a cluster: the CRD's schema, a CEL rule of it, or something else (JSON itself, the router)."""

    def document(self) -> dict[str, Any]:
        value = yaml.safe_load(self.put) if self.put else ABSENT
        return patched(full(), self.at, value)


FAULTS = [
    Fault("apiVersion", "", "apiVersion", "nothing", "Elsewhere"),
    Fault("apiVersion", "hardening.dev/v1", "apiVersion", '"hardening.dev/v1"', "Elsewhere"),
    Fault("kind", "", "kind", "nothing", "Elsewhere"),
    Fault("kind", "HardeningRuns", "kind", '"HardeningRuns"', "Elsewhere"),
    Fault("kind", "[HardeningRun]", "kind", '["HardeningRun"]', "Elsewhere"),
    Fault("spec.model.chatTemplate.systemPrompt", '""', "spec.model.chatTemplate.systemPrompt", '""'),
    Fault(
        "spec.model.chatTemplate.arguments.enable_thinking",
        "[1]",
        "spec.model.chatTemplate.arguments.enable_thinking",
        "[1]",
        "Elsewhere",
    ),
    Fault(
        "spec.model.chatTemplate.arguments.messages",
        "x",
        "spec.model.chatTemplate.arguments.messages",
        '"x"',
        "Elsewhere",
    ),
    Fault(
        "spec.data.benignPreferences.columns.responses",
        "[one]",
        "spec.data.benignPreferences.columns.responses",
        '["one"]',
    ),
    Fault(
        "spec.data.benignPreferences.columns.safer",
        "",
        "spec.data.benignPreferences.columns.safer",
        "nothing",
        "Rule",
    ),
    Fault(
        "spec.data.benignPreferences.columns.preferred",
        "chosen",
        "spec.data.benignPreferences.columns.responses",
        '["response_0","response_1"]',
        "Rule",
    ),
    Fault("metadata", "", "metadata", "nothing", "Elsewhere"),
    Fault("metadata.name", "", "metadata.name", "nothing", "Elsewhere"),
    Fault("metadata.name", "Mistral", "metadata.name", '"Mistral"', "Rule"),
    Fault("metadata.name", "a.b", "metadata.name", '"a.b"', "Rule"),
    Fault("metadata.name", "a" * 53, "metadata.name", f'"{"a" * 53}"', "Rule"),
    Fault("metadata.name", "12", "metadata.name", "12", "Elsewhere"),
    Fault("spec", "", "spec", "nothing"),
    Fault("spec", "[]", "spec", "[]"),
    Fault("spec.rouns", "3", "spec.rouns", "3"),
    Fault("spec.rounds", "0", "spec.rounds", "0"),
    Fault("spec.rounds", "-1", "spec.rounds", "-1"),
    Fault("spec.rounds", "1.5", "spec.rounds", "1.5"),
    Fault("spec.rounds", '"3"', "spec.rounds", '"3"'),
    Fault("spec.rounds", "true", "spec.rounds", "true"),
    Fault("spec.rounds", "1" + "0" * 30, "spec.rounds", "1" + "0" * 30),
    Fault("spec.model", "", "spec.model", "nothing"),
    Fault("spec.model", "{}", "spec.model.uri", "nothing"),
    Fault("spec.model", "hf://a/b", "spec.model", '"hf://a/b"'),
    Fault("spec.model.uri", "a/b", "spec.model.uri", '"a/b"'),
    Fault("spec.model.uri", "ftp://a/b", "spec.model.uri", '"ftp://a/b"'),
    Fault("spec.model.uri", "hf://", "spec.model.uri", '"hf://"'),
    Fault("spec.model.uri", '"hf://a/b\\n"', "spec.model.uri", '"hf://a/b\\n"'),
    Fault("spec.model.uri", '""', "spec.model.uri", '""'),
    Fault("spec.model.secret_ref", "{name: a}", "spec.model.secret_ref", '{"name":"a"}'),
    Fault("spec.data.preferences.columns.text", "a", "spec.data.preferences.columns.text", '"a"'),
    Fault("spec.data.preferences.limit", "0", "spec.data.preferences.limit", "0"),
    Fault("spec.data.preferences.format", "transcripts", "spec.data.preferences.format", '"transcripts"'),
    Fault("spec.data.evaluation.harmful", "", "spec.data.evaluation.harmful", "nothing"),
    Fault("spec.scoring.alpha", "-0.1", "spec.scoring.alpha", "-0.1"),
    Fault("spec.scoring.alpha", "1", "spec.scoring.alpha", "1"),
    Fault("spec.scoring.alpha", ".nan", "spec.scoring.alpha", "NaN", "Elsewhere"),
    Fault("spec.scoring.alpha", ".inf", "spec.scoring.alpha", "Infinity", "Elsewhere"),
    Fault("spec.training.beta", "0", "spec.training.beta", "0"),
    Fault("spec.training.beta", "-0.1", "spec.training.beta", "-0.1"),
    Fault("spec.training.beta", '"0.1"', "spec.training.beta", '"0.1"'),
    Fault("spec.training.interpolation", "0", "spec.training.interpolation", "0"),
    Fault("spec.training.defender.interpolation", "1.5", "spec.training.defender.interpolation", "1.5"),
    Fault("spec.training.learningRate", "0", "spec.training.learningRate", "0"),
    Fault("spec.training.learningRate", "-1.0e-5", "spec.training.learningRate", "-1e-05"),
    Fault("spec.training.learningRate", "fast", "spec.training.learningRate", '"fast"'),
    Fault("spec.training.learning_rate", "0.1", "spec.training.learning_rate", "0.1"),
    Fault("spec.training.method", "lora", "spec.training.method", '"lora"'),
    Fault("spec.training.lora.dropout", "1", "spec.training.lora.dropout", "1"),
    Fault("spec.training.nodes", "0", "spec.training.nodes", "0"),
    Fault("spec.training.gpusPerNode", "-1", "spec.training.gpusPerNode", "-1"),
    Fault("spec.training.deepspeed.zeroStage", "4", "spec.training.deepspeed.zeroStage", "4"),
    Fault("spec.training.deepspeed.zeroStage", "-1", "spec.training.deepspeed.zeroStage", "-1"),
    Fault("spec.training.deepspeed.config.x", ".nan", "spec.training.deepspeed.config.x", "NaN", "Elsewhere"),
    Fault("spec.attacker.variantsPerPrompt", "1", "spec.attacker.variantsPerPrompt", "1"),
    Fault("spec.attacker.sampling.temperature", "-1", "spec.attacker.sampling.temperature", "-1"),
    Fault("spec.attacker.sampling.topP", "0", "spec.attacker.sampling.topP", "0"),
    Fault("spec.attacker.sampling.topP", "1.01", "spec.attacker.sampling.topP", "1.01"),
    Fault("spec.evaluation.judges", "[]", "spec.evaluation.judges", "[]"),
    Fault("spec.evaluation.judges.2.type", "Refusal", "spec.evaluation.judges[2].type", '"Refusal"'),
    # Two items with one key: the API server refuses them for x-kubernetes-list-type: map.
    Fault("spec.evaluation.judges.2.name", "gpt", "spec.evaluation.judges[2].name", '"gpt"', "Elsewhere"),
    Fault("spec.evaluation.judges.0.model", "", "spec.evaluation.judges[0].model", "nothing"),
    Fault("spec.evaluation.judges.0.model", "guard", "spec.evaluation.judges[0].model", '"guard"'),
    Fault("spec.evaluation.judges.0.model", "{url: a}", "spec.evaluation.judges[0].model.uri", "nothing"),
    # A number for a field of two types is the one thing the CRD lets through; the operator's own check refuses it.
    Fault("spec.evaluation.judges.1.model", "4", "spec.evaluation.judges[1].model", "4", "Elsewhere"),
    Fault("spec.evaluation.judges.1.model", "", "spec.evaluation.judges[1].model", "nothing"),
    Fault(
        "spec.evaluation.judges.1.model",
        '{uri: "hf://a/b"}',
        "spec.evaluation.judges[1].model",
        '{"uri":"hf://a/b"}',
    ),
    Fault("spec.evaluation.judges.1.baseUrl", "", "spec.evaluation.judges[1].baseUrl", "nothing", "Rule"),
    Fault("spec.evaluation.judges.2.model", "a", "spec.evaluation.judges[2].model", '"a"'),
    Fault("spec.promotion.approval", "manual", "spec.promotion.approval", '"manual"'),
    Fault("spec.promotion.gates", "{}", "spec.promotion.gates", "{}", "Rule"),
    Fault("spec.promotion.gates.winRate.min", "1.1", "spec.promotion.gates.winRate.min", "1.1"),
    Fault("spec.promotion.gates.harmRate.max", "-0.1", "spec.promotion.gates.harmRate.max", "-0.1"),
    Fault("spec.promotion.gates.harmRate.max", ".nan", "spec.promotion.gates.harmRate.max", "NaN", "Elsewhere"),
    Fault("spec.promotion.gates.harmRate.max", "", "spec.promotion.gates.harmRate.max", "nothing"),
    Fault("spec.promotion.gates.winRate.judge", "nobody", "spec.promotion.gates.winRate.judge", '"nobody"', "Rule"),
    Fault("spec.promotion.gates.harmRate.judge", "nobody", "spec.promotion.gates.harmRate.judge", '"nobody"', "Rule"),
    Fault(
        "spec.promotion.gates.overRefusal.judge", "nobody", "spec.promotion.gates.overRefusal.judge", '"nobody"', "Rule"
    ),
    Fault("spec.data.evaluation.benign", "", "spec.data.evaluation.benign", "nothing", "Rule"),
    Fault("spec.promotion.targets.1.uri", "", "spec.promotion.targets[1].uri", "nothing", "Rule"),
    Fault("spec.promotion.targets.1.uri", '"https://a/b"', "spec.promotion.targets[1].uri", '"https://a/b"'),
    Fault("spec.promotion.targets.2.trackingUri", "", "spec.promotion.targets[2].trackingUri", "nothing", "Rule"),
    Fault(
        "spec.promotion.targets.2.registeredModel", "", "spec.promotion.targets[2].registeredModel", "nothing", "Rule"
    ),
    Fault(
        "spec.workspace.persistentVolumeClaim.size", "200 GB", "spec.workspace.persistentVolumeClaim.size", '"200 GB"'
    ),
    Fault("spec.workspace.persistentVolumeClaim.size", "-1", "spec.workspace.persistentVolumeClaim.size", "-1"),
    Fault("spec.workspace.persistentVolumeClaim.size", "1.5", "spec.workspace.persistentVolumeClaim.size", "1.5"),
    Fault(
        "spec.workspace.persistentVolumeClaim",
        "{claimName: a, size: 1}",
        "spec.workspace.persistentVolumeClaim",
        '{"claimName":"a","size":1}',
        "Rule",
    ),
    Fault(
        "spec.workspace",
        '{persistentVolumeClaim: {size: 1}, s3: {uri: "s3://b/p"}}',
        "spec.workspace",
        '{"persistentVolumeClaim":{"size":1},"s3":{"uri":"s3://b/p"}}',
        "Rule",
    ),
    Fault("spec.stages.attack.resources.limits.cpu", "many", "spec.stages.attack.resources.limits.cpu", '"many"'),
    Fault("spec.stages.attack.nodeSelector.zone", "1", "spec.stages.attack.nodeSelector.zone", "1"),
    Fault("spec.stages.attack.env", "{A: b}", "spec.stages.attack.env", '{"A":"b"}'),
    Fault("spec.stages.all.shards", "0", "spec.stages.all.shards", "0"),
    Fault("spec.stages.score.shards", "2", "spec.stages.score.shards", "2", "Rule"),
    Fault("spec.stages.trainAttacker.shards", "2", "spec.stages.trainAttacker.shards", "2", "Rule"),
    Fault("spec.stages.trainDefender.shards", "2", "spec.stages.trainDefender.shards", "2", "Rule"),
    Fault("spec.stages.promote.shards", "2", "spec.stages.promote.shards", "2", "Rule"),
    Fault("spec.training.gradientAccumulationSteps", "3", "spec.training.batchSize", "8", "Rule"),
    Fault("spec.training.defender", "{batchSize: 0}", "spec.training.defender.batchSize", "0"),
    Fault("spec.suspend", "1", "spec.suspend", "1"),
    Fault("spec.activeDeadlineSeconds", "-1", "spec.activeDeadlineSeconds", "-1"),
    Fault("spec.backoffLimit", "-1", "spec.backoffLimit", "-1"),
    Fault("spec.ttlSecondsAfterFinished", "-1", "spec.ttlSecondsAfterFinished", "-1"),
]
