"""Promote, in process: what it writes, what it refuses, and that a kill anywhere leaves no torn promotion."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pytest
import yaml
from fsspec.implementations.memory import MemoryFileSystem
from in_toto_attestation.v1.statement import Statement

from hardening_api.stages import StageConfig, StageResult, stage_folder
from hardening_trainer.errors import CorruptInput, DataFault, StageError, UsageFault
from hardening_trainer.judges.refusal_pattern import RefusalPattern
from hardening_trainer.runtime.progress import Progress
from hardening_trainer.runtime.signals import StopSignal
from hardening_trainer.runtime.stage import StageContext, Surroundings, run_stage
from hardening_trainer.stages import promote
from hardening_trainer.storage.manifests import load_manifest
from hardening_trainer.storage.stores import Buckets
from hardening_trainer.storage.workspace import Workspace
from tests.support.stage_configs import RUN, attack_config

BASE = {"uri": "hf://org/base", "revision": "main"}
BASE_DIGEST, DATA_DIGEST = "sha256:" + "b" * 64, "sha256:" + "d" * 64
TRAINED = stage_folder(1, "TrainDefender")
RATE = {"value": 0.125, "lower": 0.0625, "upper": 0.25, "samples": 64}
GATE = {"gate": "winRate", "verdict": "Pass", "limit": 0.5, "message": "win rate 0.9 | n 64"}
FIGURES = [
    {"set": "original", "judge": "offline", "judgeDigest": RefusalPattern().digest, "harmRate": RATE, "errored": 2},
    {"set": "attacked", "judge": "offline", "judgeDigest": RefusalPattern().digest, "winRate": RATE},
]


class World:
    """A workspace with a trained candidate and its evaluation, and Promote to run on it."""

    def __init__(self, url: str, tmp: Path, model: Path) -> None:
        self.workspace, self.tmp, self.model = Workspace.open(url), tmp, model
        self.environ: dict[str, str] = {}
        self.train()
        self.evaluate()

    def start(self, config: StageConfig, stage: Callable[[StageContext], StageResult]) -> StageResult:
        around = Surroundings(Progress(config), StopSignal(), self.tmp / uuid4().hex, self.environ, clock=lambda: 0.0)
        return run_stage(config, lambda: stage, self.workspace, around)

    def train(self, seed: int = 0) -> None:
        def stage(context: StageContext) -> StageResult:
            shutil.copytree(self.model, context.folder / "model")
            (context.folder / "model" / "README.md").write_text("what a training library wrote")
            return StageResult(stage="TrainDefender", round=1, outcome="Succeeded")

        body = {"role": "defender", "initial": {"source": BASE}, "pairs": [stage_folder(1, "Score")], "training": {}}
        document = {"run": RUN, "stage": "TrainDefender", "round": 1, "seed": seed, "train": body}
        self.start(StageConfig.model_validate(document | {"workspace": self.workspace.url}), stage)
        manifest = load_manifest(self.workspace, TRAINED)
        assert manifest is not None
        self.candidate = manifest.digest()

    def evaluate(self) -> None:
        def stage(context: StageContext) -> StageResult:
            context.inputs.manifest(TRAINED)
            context.record_input("model:hf://org/base@main", BASE_DIGEST)
            context.record_input("data:file:///held-out.jsonl", DATA_DIGEST)
            judges = {"offline": RefusalPattern().digest}
            return StageResult(stage="Evaluate", round=1, outcome="Succeeded", judges=judges)

        body = {
            "base": {"source": BASE},
            "candidate": {"path": f"{TRAINED}/model"},
            "attacker": {"source": BASE},
            "reference": {"source": BASE},
            "scoring": {},
            "settings": {},
            "data": {"harmful": {"uri": "file:///held-out.jsonl"}},
            "trainingData": [],
            "evaluation": {},
        }
        document = {"run": RUN, "stage": "Evaluate", "round": 1, "workspace": self.workspace.url, "evaluate": body}
        self.start(StageConfig.model_validate(document), stage)

    def config(self, **changes: Any) -> StageConfig:
        body = {
            "candidate": {"path": f"{TRAINED}/model"},
            "candidateDigest": self.candidate,
            "base": BASE,
            "targets": [{}],
            "gates": [GATE],
            "evaluations": FIGURES,
            "evaluate": [stage_folder(1, "Evaluate")],
            **changes,
        }
        document = {"run": RUN, "stage": "Promote", "round": 1, "workspace": self.workspace.url, "promote": body}
        return StageConfig.model_validate(document)

    def promote(self, at: float = 0.0, **changes: Any) -> StageResult:
        return self.start(self.config(**changes), lambda context: promote.run(context, clock=lambda: at))

    def pointer(self) -> dict[str, Any] | None:
        data = self.workspace.read("promoted/current.json")
        return json.loads(data) if data else None

    def document(self, path: str) -> Any:
        return json.loads(self.workspace.read(path) or b"null")


@pytest.fixture(params=["file", "memory"])
def world(request: pytest.FixtureRequest, tmp_path: Path, tiny_model: Path) -> World:
    url = f"file://{tmp_path}/workspace" if request.param == "file" else f"memory://{uuid4().hex}"
    return World(url, tmp_path, tiny_model)


@pytest.fixture
def local(tmp_path: Path, tiny_model: Path) -> World:
    return World(f"file://{tmp_path}/workspace", tmp_path, tiny_model)


def assert_whole(files: Workspace, pointer: dict[str, Any]) -> None:
    """Every file that the pointer's statement names is there with its digest, and no other."""
    statement = json.loads(files.read(pointer["statement"]) or b"")
    subject = {entry["name"]: entry["digest"]["sha256"] for entry in statement["subject"]}
    present = set(files.files(pointer["path"])) - {"statement.json"}
    assert present == set(subject)
    for name, sha256 in subject.items():
        assert hashlib.sha256(files.read(f"{pointer['path']}/{name}") or b"").hexdigest() == sha256


def test_the_pointer_names_a_folder_with_every_file_its_statement_attests(world: World) -> None:
    result = world.promote()
    pointer = world.pointer()
    assert result.promotion is not None
    assert pointer is not None
    assert pointer == {**result.promotion.to_document(), "round": 1, "previous": None}
    assert_whole(world.workspace, pointer)


def test_the_promoted_model_loads_as_any_other_and_the_candidate_is_still_there(local: World) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    result = local.promote()
    assert result.promotion is not None
    assert local.workspace.local_root is not None
    folder = local.workspace.local_root / result.promotion.path
    assert AutoModelForCausalLM.from_pretrained(folder).num_parameters() > 0
    assert AutoTokenizer.from_pretrained(folder).chat_template
    assert (local.workspace.local_root / TRAINED / "model" / "model.safetensors").is_file()


def test_the_statement_says_what_was_measured_on_what(local: World) -> None:
    result = local.promote(at=86400.0, approver="ada@example.org")
    assert result.promotion is not None
    document = local.document(result.promotion.statement)
    assert document["_type"] == "https://in-toto.io/Statement/v1"
    assert document["predicateType"] == "https://hardening.dev/attestation/v1alpha1"
    predicate = document["predicate"]
    assert predicate["created"] == "1970-01-02T00:00:00+00:00"
    assert predicate["run"]["name"] == "test"
    assert predicate["specDigest"] == RUN["specDigest"]
    assert predicate["base"] == {**BASE, "digest": BASE_DIGEST}
    assert predicate["candidate"]["manifest"] == local.candidate
    assert predicate["judges"] == {"offline": RefusalPattern().digest}
    assert predicate["data"] == {"file:///held-out.jsonl": DATA_DIGEST}
    assert predicate["figures"][0]["harmRate"] == RATE
    assert predicate["gates"][0]["verdict"] == "Pass"
    assert predicate["approver"] == "ada@example.org"


def test_the_statement_is_read_by_the_in_toto_library(local: World) -> None:
    from google.protobuf.json_format import Parse
    from in_toto_attestation.v1 import statement_pb2

    result = local.promote()
    assert result.promotion is not None
    text = local.workspace.read(result.promotion.statement) or b""
    Statement.copy_from_pb(Parse(text, statement_pb2.Statement())).validate()


def test_the_model_card_has_a_yaml_header_the_figures_and_the_limits(local: World) -> None:
    result = local.promote(approver="Ada <b>|")
    assert result.promotion is not None
    card = (local.workspace.read(f"{result.promotion.path}/README.md") or b"").decode()
    _, header, body = card.split("---\n", 2)
    assert yaml.safe_load(header)["base_model"] == "org/base"
    assert "0.125 [0.062, 0.250], n 64" in body
    assert "The evaluation had no `bank`" in body
    assert "rules over the words of the answer" in body
    assert "errored or unparsable: 2" in body
    assert "Approved by Ada  b" in body
    assert BASE_DIGEST in body
    assert DATA_DIGEST in body


def test_a_checkpoint_that_was_trained_again_is_refused(local: World) -> None:
    before = local.candidate
    local.train(seed=1)
    with pytest.raises(DataFault, match="the one that was evaluated") as caught:
        local.promote(candidateDigest=before)
    assert (caught.value.reason, caught.value.exit_code) == ("CandidateChanged", 65)
    with pytest.raises(DataFault, match="evaluate it") as caught:
        local.promote()  # of the new digest, which no evaluation names
    assert caught.value.reason == "CandidateChanged"
    assert local.pointer() is None


def test_damaged_weights_are_refused(local: World) -> None:
    assert local.workspace.local_root is not None
    weights = local.workspace.local_root / TRAINED / "model" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(CorruptInput, match=r"model\.safetensors"):
        local.promote()
    assert local.pointer() is None


@pytest.mark.parametrize(("verdict", "approver", "allowed"), [
    ("Fail", "ada", False), ("Inconclusive", None, False), ("Inconclusive", "ada", True),
])  # fmt: skip
def test_verdicts_that_do_not_allow_it_are_refused(
    local: World, verdict: str, approver: str | None, allowed: bool
) -> None:
    changes: dict[str, Any] = {"gates": [GATE | {"verdict": verdict}]} | ({"approver": approver} if approver else {})
    if allowed:
        assert local.promote(**changes).outcome == "Succeeded"
        return
    with pytest.raises(UsageFault, match="winRate: got") as caught:
        local.promote(**changes)
    assert caught.value.reason == "GateNotPassed"


def test_mlflow_is_refused_by_name_before_anything_is_copied(local: World) -> None:
    target = {"type": "MLflow", "trackingUri": "http://mlflow.test", "registeredModel": "m"}
    with pytest.raises(UsageFault, match=r"targets\[1\]\.type: got MLflow") as caught:
        local.promote(targets=[{}, target])
    assert (caught.value.reason, caught.value.exit_code) == ("TargetUnsupported", 64)
    assert local.workspace.files("promoted") == {}


class Bucket(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Stands for s3:// in these tests, and remembers what it was opened with."""

    protocol = "s3"
    store: dict[str, Any] = {}  # noqa: RUF012  # as in the parent
    pseudo_dirs = [""]  # noqa: RUF012
    opened_with: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, **options: Any) -> None:
        super().__init__()
        Bucket.opened_with = options

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix("s3://").strip("/")


@pytest.fixture
def bucket() -> Iterator[Workspace]:
    fsspec.register_implementation("s3", Bucket, clobber=True)
    Bucket.store.clear()
    yield Workspace(Bucket(), "/models/hardened", "s3://models/hardened")
    fsspec.register_implementation("s3", Buckets, clobber=True)


S3 = {"type": "S3", "uri": "s3://models/hardened", "secretRef": {"name": "store"}}
KEYS = {"HARDENING_SECRET_STORE_AWS_ACCESS_KEY_ID": "id", "HARDENING_SECRET_STORE_AWS_SECRET_ACCESS_KEY": "hush"}


def test_a_bucket_gets_the_same_folder_and_a_pointer_of_its_own(local: World, bucket: Workspace) -> None:
    local.environ = KEYS
    result = local.promote(targets=[S3])
    assert Bucket.opened_with == {"key": "id", "secret": "hush"}
    assert result.promotion is not None
    pointer = json.loads(bucket.read("current.json") or b"")
    assert f"promoted/{pointer['path']}" == result.promotion.path
    assert_whole(bucket, pointer)
    here = local.pointer()
    assert here is not None
    assert_whole(local.workspace, here)


def test_a_bucket_without_its_secret_is_refused_with_the_place_to_put_it(local: World, bucket: Workspace) -> None:
    with pytest.raises(UsageFault, match="HARDENING_SECRET_STORE_AWS_ACCESS_KEY_ID"):
        local.promote(targets=[S3])


class Killed(BaseException):
    """Stands for kill -9: nothing may catch it."""


class Killer:
    """Ends the process's work at its n-th write, before or after it took effect."""

    def __init__(self, at: int, after: bool) -> None:
        self.at, self.after, self.count = at, after, 0

    def around(self, write: Callable[..., Any]) -> Callable[..., Any]:
        def killing(*arguments: Any, **options: Any) -> Any:
            self.count += 1
            if self.count == self.at and not self.after:
                raise Killed
            result = write(*arguments, **options)
            if self.count == self.at:
                raise Killed
            return result

        return killing


@pytest.mark.parametrize("after", [False, True])
def test_a_kill_between_any_two_writes_is_completed_and_the_pointer_is_never_torn(
    tmp_path: Path, tiny_model: Path, bucket: Workspace, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    kills = 0
    while True:
        world = World(f"file://{tmp_path}/{kills}", tmp_path / "scratch", tiny_model)
        world.environ = KEYS
        Bucket.store.clear()
        killer = Killer(kills + 1, after)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", killer.around(Path.replace))
            for name in ("pipe_file", "put_file"):
                patch.setattr(Bucket, name, killer.around(getattr(Bucket, name)))
            try:
                world.promote(at=1.0, targets=[S3])
            except Killed:
                kills += 1
            else:
                break
        for store in (world.workspace, bucket):
            torn = store.read("promoted/current.json" if store is world.workspace else "current.json")
            if torn is not None:
                assert_whole(store, json.loads(torn))
        world.promote(at=2.0, targets=[S3])
        for store, home in ((world.workspace, "promoted/"), (bucket, "")):
            pointer = json.loads(store.read(f"{home}current.json") or b"")
            assert pointer["previous"] is None
            assert_whole(store, pointer)
    assert kills > 20  # files, card and statement of two stores, two pointers, manifest


def test_a_second_promotion_keeps_the_way_back(local: World) -> None:
    first = local.promote()
    second = local.promote(approver="ada")
    pointer = local.pointer()
    assert first.promotion is not None
    assert second.promotion is not None
    assert pointer is not None
    assert pointer["path"] == second.promotion.path != first.promotion.path
    assert pointer["previous"] == {**first.promotion.to_document(), "round": 1, "previous": None}
    assert_whole(local.workspace, pointer["previous"])


def test_a_pointer_that_is_no_json_is_told_and_left_alone(local: World) -> None:
    local.workspace.write("promoted/current.json", b"promo")
    with pytest.raises(CorruptInput, match="restore it or remove it"):
        local.promote()
    assert local.workspace.read("promoted/current.json") == b"promo"


def test_a_stranger_in_the_promoted_folder_does_not_stay(local: World) -> None:
    result = local.promote()
    assert result.promotion is not None
    local.workspace.write(f"{result.promotion.path}/model-00002.safetensors", b"stranger")
    local.workspace.remove(local.config().folder)
    local.promote(at=5.0)
    pointer = local.pointer()
    assert pointer is not None
    assert_whole(local.workspace, pointer)


def test_promotion_by_another_stage_section_is_refused(local: World) -> None:
    with pytest.raises(StageError, match="promote: missing"):
        local.start(attack_config(local.workspace.url), promote.run)
