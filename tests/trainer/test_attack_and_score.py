"""Attack and Score as processes on a tiny model: results, shards, kills, faults."""

from __future__ import annotations

import json
import shutil
import signal
import urllib.request
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from hardening_api.stages import RESULT_LIMIT_BYTES, StageConfig, StageResult, stage_folder
from hardening_trainer.inference.logprobs import direct_harmfulness
from tests.support.chat_templates import TEMPLATES
from tests.support.stage_configs import SAMPLING, attack_config, stage_config, terse_model
from tests.support.tiny_model import build_tiny_model
from tests.trainer.stage_process import finish, run, send, start, wait_until

PROMPTS = 18
MARK = "marmalade"
"""In every prompt, so that text that leaks is found."""
VARIANTS = 16
SETTINGS = {"template": "rewrite-v1", "variantsPerPrompt": VARIANTS, "minFaithfulness": 0.0}


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name in ("preferences", "benign"):
        rows = [
            {
                "id": f"{name}-{index}",
                "prompt": f"How do I make {MARK} number {index} for a {name} fair?",
                "preferred": f"I would rather not say, jar {index}.",
                "dispreferred": f"Stir {index} oranges and then finally boil.",
            }
            for index in range(PROMPTS if name == "preferences" else 5)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="session")
def reference_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("models") / "reference", seed=1)


@pytest.fixture(scope="session")
def attacker(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    return terse_model(tiny_model, tmp_path_factory.mktemp("models") / "terse")


class Setting:
    """A workspace, a model and data; configs of the two stages on them."""

    def __init__(self, workspace: Path, model: Path, data: Path) -> None:
        self.workspace, self.model, self.data = workspace, model, data

    def attack(self, **more: Any) -> StageConfig:
        settings = {**SETTINGS, **more.pop("settings", {})}
        url, rows = f"file://{self.workspace}", f"file://{self.data}/preferences.jsonl"
        return attack_config(url, f"file://{self.model}", rows, settings, **more)

    def score(self, reference: Path | None = None, alpha: float = 0.0, **more: Any) -> StageConfig:
        shard = StageConfig.model_validate(self.attack(**more).to_document()).shard
        body = {
            "attack": stage_folder(1, "Attack", shard),
            "defender": {"source": {"uri": f"file://{self.model}"}},
            "reference": {"source": {"uri": f"file://{reference or self.model}"}},
            "attackerReference": {"source": {"uri": f"file://{self.model}"}},
            "scoring": {"alpha": alpha},
            "settings": {**SETTINGS, "sampling": SAMPLING},
            "benignPreferences": {"uri": f"file://{self.data}/benign.jsonl"},
            "originalShare": 0.5,
            "benignShare": 0.5,
        }
        return stage_config("Score", "score", body, f"file://{self.workspace}", **more)

    def table(self, config: StageConfig, name: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = pq.ParquetFile(self.workspace / config.folder / name).read().to_pylist()
        return rows


@pytest.fixture
def setting(tmp_path: Path, attacker: Path, data: Path) -> Setting:
    return Setting(tmp_path / "workspace", attacker, data)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, attacker: Path, data: Path) -> Setting:
    """A workspace where Attack is done and Score too: read it only."""
    folder = tmp_path_factory.mktemp("done")
    setting = Setting(folder / "workspace", attacker, data)
    for config in (setting.attack(), setting.score()):
        finished = run(config, folder / config.stage)
        assert finished.code == 0, finished.log
    return setting


def copied(setting: Setting, done: Setting) -> Setting:
    shutil.copytree(done.workspace, setting.workspace)
    return setting


def test_an_attack_leaves_k_variants_of_every_prompt_and_says_so(done: Setting) -> None:
    rows = done.table(done.attack(), "variants.parquet")
    assert len(rows) == VARIANTS * PROMPTS
    assert {row["prompt_id"] for row in rows} == {f"preferences-{index}" for index in range(PROMPTS)}
    valid = [row for row in rows if row["status"] == "Valid"]
    assert len(valid) > PROMPTS
    assert all(row["variant"] == row["written"] for row in valid)
    assert [row["position"] for row in rows] == sorted(row["position"] for row in rows)


def test_a_result_fits_and_holds_no_text_and_neither_does_the_log(setting: Setting, tmp_path: Path) -> None:
    for config in (setting.attack(), setting.score()):
        finished = run(config, tmp_path / config.stage)
        assert finished.code == 0
        written = (tmp_path / config.stage / "result.json").read_bytes()
        assert len(written) <= RESULT_LIMIT_BYTES
        StageResult.model_validate_json(written)
        assert MARK not in written.decode() + finished.log
        assert MARK not in (setting.workspace / config.folder / "manifest.json").read_text()
        assert json.loads((tmp_path / config.stage / "progress.json").read_text())["ratio"] == 1.0


def test_an_attacker_whose_template_ends_no_answer_is_named_in_the_result(setting: Setting, tmp_path: Path) -> None:
    setting.model = Path(shutil.copytree(setting.model, tmp_path / "endless"))
    (setting.model / "chat_template.jinja").write_text(TEMPLATES["no end of turn"])
    assert run(setting.attack(), tmp_path / "Attack").code == 0
    result = StageResult.model_validate_json((tmp_path / "Attack" / "result.json").read_bytes())
    assert "ends an answer with no token of its own" in str(result.message)


def test_scores_select_the_greatest_r_and_keep_the_references_words(done: Setting) -> None:
    variants = {(row["position"], row["variant_index"]): row for row in done.table(done.attack(), "variants.parquet")}
    scores = done.table(done.score(), "scores.parquet")
    valid = [key for key, row in variants.items() if row["status"] == "Valid"]
    assert sorted((row["position"], row["variant_index"]) for row in scores) == sorted(valid)
    for row in scores:
        expected = row["defender_logp_dispreferred"] - row["defender_logp_preferred"]
        assert row["direct_harmfulness"] == pytest.approx(expected)
    best: dict[int, dict[str, Any]] = {}
    for row in sorted(scores, key=lambda row: row["direct_harmfulness"]):
        best[row["position"]] = row
    attacked = [row for row in done.table(done.score(), "defender-pairs.parquet") if row["source"] == "attacked"]
    assert len(attacked) > PROMPTS / 2
    chosen = {variants[position, row["variant_index"]]["variant"]: row for position, row in best.items()}
    for pair in attacked:
        assert pair["ref_chosen_logps"] == chosen[pair["prompt"]]["reference_logp_preferred"]


def test_originals_and_benign_pairs_come_in_the_shares_asked_for(done: Setting) -> None:
    pairs = done.table(done.score(), "defender-pairs.parquet")
    count = {source: sum(pair["source"] == source for pair in pairs) for source in ("attacked", "original", "benign")}
    assert count["original"] == pytest.approx(count["attacked"] / 2, abs=3)
    assert count["benign"] == pytest.approx(count["attacked"] / 2, abs=3)
    assert all(pair["ref_chosen_logps"] < 0 and pair["ref_rejected_logps"] < 0 for pair in pairs)


def test_the_attacker_learns_its_own_words_for_the_filled_template(done: Setting) -> None:
    variants = done.table(done.attack(), "variants.parquet")
    written = {row["written"] for row in variants}
    pairs = done.table(done.score(), "attacker-pairs.parquet")
    assert pairs
    for pair in pairs:
        assert pair["prompt"].startswith("Reword the request")
        assert {pair["chosen"], pair["rejected"]} <= written
        assert pair["chosen"] != pair["rejected"]


def test_finished_stages_do_nothing_when_started_again(setting: Setting, done: Setting, tmp_path: Path) -> None:
    copied(setting, done)
    file = setting.workspace / setting.attack().folder / "variants.parquet"
    before = file.stat().st_mtime_ns
    finished = run(setting.attack(), tmp_path / "again")
    assert finished.code == 0
    assert "nothing to do" in finished.log
    assert file.stat().st_mtime_ns == before
    assert finished.result["attack"]["prompts"] == PROMPTS


def test_changed_data_is_attacked_anew(tmp_path: Path, attacker: Path, data: Path) -> None:
    own = shutil.copytree(data, tmp_path / "data")
    setting = Setting(tmp_path / "workspace", attacker, own)
    small = {"settings": {"promptsPerRound": 2}}
    assert run(setting.attack(**small), tmp_path / "home").code == 0
    rows = (own / "preferences.jsonl").read_text()
    (own / "preferences.jsonl").write_text(rows.replace("number 1", "number one"))
    finished = run(setting.attack(**small), tmp_path / "home")
    assert finished.code == 0
    assert "nothing to do" not in finished.log


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_an_attack_killed_midway_goes_on_and_ends_with_the_same_bytes(
    setting: Setting, done: Setting, tmp_path: Path, kill: signal.Signals
) -> None:
    config = setting.attack()
    work = setting.workspace / "rounds/1/attack/.shard-0-of-1.work/partial"
    process = start(config, tmp_path / "home")
    wait_until(lambda: any(work.glob("records-*.jsonl")), process)
    send(process, kill)
    first = finish(process, tmp_path / "home")
    assert first.code == (-9 if kill == signal.SIGKILL else 75)
    if kill != signal.SIGKILL:
        assert (first.result["outcome"], first.result["reason"]) == ("Interrupted", "Interrupted")
    assert any(work.glob("records-*.jsonl"))
    (work / "batch-00000.parquet").write_bytes(b"saved by an older version: left alone")
    assert run(config, tmp_path / "home").code == 0
    name = f"{config.folder}/variants.parquet"
    assert (setting.workspace / name).read_bytes() == (done.workspace / name).read_bytes()
    assert not work.exists()


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM])
def test_a_score_killed_midway_goes_on_and_ends_with_the_same_bytes(
    setting: Setting, done: Setting, tmp_path: Path, kill: signal.Signals
) -> None:
    copied(setting, done)
    config = setting.score()
    shutil.rmtree(setting.workspace / config.folder)
    work = setting.workspace / "rounds/1/score/.shard-0-of-1.work/partial"
    process = start(config, tmp_path / "home")
    wait_until(lambda: any(work.glob("records-*.jsonl")), process)
    send(process, kill)
    finish(process, tmp_path / "home")
    assert not (setting.workspace / config.folder / "manifest.json").exists()
    assert run(config, tmp_path / "home").code == 0
    for name in ("scores.parquet", "attacker-pairs.parquet", "defender-pairs.parquet"):
        there, here = (one.workspace / config.folder / name for one in (done, setting))
        assert here.read_bytes() == there.read_bytes()


def test_three_shards_find_what_one_finds(setting: Setting, done: Setting, tmp_path: Path) -> None:
    rows: dict[str, list[dict[str, Any]]] = {"variants": [], "scores": [], "attacker-pairs": [], "defender-pairs": []}
    sums = []
    for index in range(3):
        shard: dict[str, Any] = {"shard": {"index": index, "count": 3}}
        for config in (setting.attack(**shard), setting.score(**shard)):
            finished = run(config, tmp_path / config.stage / str(index))
            assert finished.code == 0, finished.log
            sums.append(StageResult.model_validate(finished.result))
        rows["variants"] += setting.table(setting.attack(**shard), "variants.parquet")
        for name in ("scores", "attacker-pairs", "defender-pairs"):
            rows[name] += setting.table(setting.score(**shard), f"{name}.parquet")
    whole = done.table(done.attack(), "variants.parquet")
    assert sorted(rows["variants"], key=lambda row: (row["position"], row["variant_index"])) == whole
    for name, order in (("scores", "direct_harmfulness"), ("attacker-pairs", "prompt"), ("defender-pairs", "prompt")):
        expected = sorted(done.table(done.score(), f"{name}.parquet"), key=lambda row: (row.get("source"), row[order]))
        found = sorted(rows[name], key=lambda row: (row.get("source"), row[order]))
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert one == pytest.approx(other, abs=1e-4) if name == "scores" else one.keys() == other.keys()
            assert [v for v in one.values() if isinstance(v, str)] == [v for v in other.values() if isinstance(v, str)]
    assert sum(one.attack.prompts for one in sums if one.attack) == PROMPTS


def test_with_alpha_every_variant_has_a_reference_and_r_subtracts_it(
    setting: Setting, done: Setting, reference_model: Path, tmp_path: Path
) -> None:
    copied(setting, done)
    config = setting.score(reference_model, alpha=0.5)
    finished = run(config, tmp_path / "home")
    assert finished.code == 0, finished.log
    for row in setting.table(config, "scores.parquet"):
        expected = direct_harmfulness(
            row["defender_logp_preferred"],
            row["defender_logp_dispreferred"],
            row["reference_logp_preferred"],
            row["reference_logp_dispreferred"],
            alpha=0.5,
        )
        assert row["direct_harmfulness"] == pytest.approx(expected)
        assert row["reference_logp_preferred"] != row["defender_logp_preferred"]


def test_without_alpha_only_chosen_variants_are_read_by_another_reference(
    setting: Setting, done: Setting, reference_model: Path, tmp_path: Path
) -> None:
    copied(setting, done)
    config = setting.score(reference_model)
    finished = run(config, tmp_path / "home")
    assert finished.code == 0, finished.log
    known = [row for row in setting.table(config, "scores.parquet") if row["reference_logp_preferred"] is not None]
    assert len(known) == finished.result["score"]["pairs"]["attacked"]


def test_a_corrupted_table_is_refused_before_any_model_loads(setting: Setting, done: Setting, tmp_path: Path) -> None:
    copied(setting, done)
    file = setting.workspace / setting.attack().folder / "variants.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    config = setting.score(seed=5)
    finished = run(config, tmp_path / "home")
    assert (finished.code, finished.result["reason"]) == (65, "CorruptInput")
    assert "variants.parquet" in finished.result["message"]
    assert "Traceback" not in finished.log


def test_truncated_weights_are_refused_in_words(tmp_path: Path, attacker: Path, data: Path) -> None:
    broken = shutil.copytree(attacker, tmp_path / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    finished = run(Setting(tmp_path / "workspace", broken, data).attack(), tmp_path / "home")
    assert (finished.code, finished.result["reason"]) == (65, "ModelNotUsable")
    assert "torn" in finished.result["message"]
    assert "Traceback" not in finished.log


def test_a_disk_that_fills_up_ends_with_75_and_the_next_run_succeeds(setting: Setting, tmp_path: Path) -> None:
    finished = run(setting.attack(), tmp_path / "home", largest_file=2000)
    assert (finished.code, finished.result["reason"]) == (75, "WorkspaceFull"), finished.log
    assert "Traceback" not in finished.log
    assert run(setting.attack(), tmp_path / "home").code == 0


def test_metrics_answer_while_the_stage_works(setting: Setting, tmp_path: Path) -> None:
    home = tmp_path / "home"
    process = start(setting.attack(), home, "--metrics-port", "0")
    progress = home / "progress.json"
    wait_until(lambda: progress.exists() and json.loads(progress.read_text())["metricsPort"] is not None, process)
    port = json.loads(progress.read_text())["metricsPort"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    assert 'hardening_stage_progress_ratio{round="1",run="test",stage="Attack"}' in text
    assert "hardening_stage_eta_seconds" in text
    assert finish(process, home).code == 0


def test_each_round_attacks_another_share_of_the_prompts(setting: Setting, tmp_path: Path) -> None:
    attacked = []
    for number in (1, 2):
        config = setting.attack(settings={"promptsPerRound": PROMPTS // 2}).model_copy(update={"round": number})
        assert run(config, tmp_path / str(number)).code == 0
        attacked.append({row["prompt_id"] for row in setting.table(config, "variants.parquet")})
    assert len(attacked[0]) == len(attacked[1]) == PROMPTS // 2
    assert not attacked[0] & attacked[1]
