"""The process's own instruments, a registry over HTTP and in a file, and a local run's metrics."""

from __future__ import annotations

import shutil
import socket
import stat
import subprocess
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from hardening_api.base import ObjectMeta
from hardening_api.run import HardeningRun
from hardening_api.stages import STAGE_GAUGES, STAGE_GPU_GAUGES
from hardening_api.status import HardeningRunStatus
from hardening_operator.local.metrics import RunMetrics
from hardening_operator.metrics.catalogue import OPERATOR_METRICS
from hardening_operator.metrics.exporter import ExpositionError, serve, write
from hardening_operator.metrics.instruments import Instruments
from hardening_operator.planner.types import Event, Observed
from hardening_trainer.dpo.watch import _SHOWN
from hardening_trainer.runtime.gpu_memory import GpuMemory
from hardening_trainer.runtime.progress import Progress
from tests.metrics.fleet import Round, status
from tests.operator.world import spec_of
from tests.support.stage_configs import attack_config

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def run_of(name: str) -> HardeningRun:
    return HardeningRun(metadata=ObjectMeta(name=name), spec=spec_of())


class Heard:
    """A view that keeps what it is told."""

    def __init__(self) -> None:
        self.updates: list[HardeningRunStatus] = []
        self.events: list[Event] = []

    def update(self, status: HardeningRunStatus, observed: Observed) -> None:
        self.updates.append(status)

    def event(self, event: Event) -> None:
        self.events.append(event)


def observed_instruments() -> CollectorRegistry:
    registry = CollectorRegistry()
    instruments = Instruments(registry, "0.1.0")
    instruments.observe_reconcile("HardeningRun", "Changed", 0.03)
    instruments.observe_queue(3)
    instruments.observe_leadership(True)
    events = [Event("Normal", "Promoted", "x"), Event("Warning", "GatesFailed", "x"), Event("Normal", "NextRound", "x")]
    instruments.observe_events("safety", events)
    return registry


def test_handlers_count_and_time_what_no_status_holds() -> None:
    registry = observed_instruments()
    value = registry.get_sample_value
    assert value("hardening_reconcile_duration_seconds_sum", {"kind": "HardeningRun", "outcome": "Changed"}) == 0.03
    assert value("hardening_reconcile_queue_length") == 3
    assert value("hardening_operator_leader") == 1
    assert value("hardening_operator_info", {"version": "0.1.0"}) == 1
    assert value("hardening_promotions_total", {"namespace": "safety"}) == 1
    assert value("hardening_promotions_blocked_total", {"namespace": "safety", "reason": "GatesFailed"}) == 1
    assert value("hardening_promotions_blocked_total", {"namespace": "safety", "reason": "NextRound"}) is None


def test_the_instruments_are_those_of_the_catalogue() -> None:
    families = text_string_to_metric_families(generate_latest(observed_instruments()).decode())
    found = {family.name for family in families if not family.name.endswith("_created")}
    assert found == {metric.name.removesuffix("_total") for metric in OPERATOR_METRICS}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (apt-get install prometheus)")
def test_promtool_finds_nothing_to_say_of_the_instruments_and_the_stages() -> None:
    for registry in (observed_instruments(), Progress(attack_config("memory://x")).registry):
        text = generate_latest(registry)
        checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_a_registry_is_served_over_http() -> None:
    port = serve(observed_instruments(), 0, "127.0.0.1")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        assert b"hardening_operator_leader 1.0" in answer.read()


def test_a_port_that_is_taken_is_a_message() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ExpositionError, match=rf"--metrics-port: got {port}: .*expected a free port"):
            serve(observed_instruments(), port, "127.0.0.1")


def test_a_textfile_is_replaced_whole_and_readable_by_others(tmp_path: Path) -> None:
    file = tmp_path / "hardening.prom"
    file.write_text("torn")
    write(observed_instruments(), file)
    assert "hardening_operator_leader 1.0" in file.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["hardening.prom"]
    assert stat.S_IMODE(file.stat().st_mode) & 0o444 == 0o444


def test_a_textfile_that_cannot_be_written_is_a_message(tmp_path: Path) -> None:
    with pytest.raises(ExpositionError, match=r"--metrics-textfile: got .*: No such file or directory: expected"):
        write(observed_instruments(), tmp_path / "absent" / "hardening.prom")


def test_a_local_run_shows_its_status_in_both_places(tmp_path: Path) -> None:
    file = tmp_path / "hardening.prom"
    metrics = RunMetrics(run_of("laptop"), Heard(), port=0, textfile=file)
    metrics.update(status(NOW, [Round(harm=0.25)]), Observed())
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics.port}/metrics") as answer:
        served = answer.read().decode()
    line = 'hardening_run_harm_rate{namespace="default",run="laptop",subject="candidate"} 0.25'
    assert line in served
    assert line in file.read_text()


def test_a_local_run_writes_again_only_when_its_status_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "hardening.prom"
    metrics = RunMetrics(run_of("laptop"), Heard(), port=None, textfile=file)
    given = status(NOW, [Round()])
    metrics.update(given, Observed())
    file.unlink()
    metrics.update(given.model_copy(), Observed())
    assert not file.exists()
    metrics.update(given.model_copy(update={"phase": "Suspended"}), Observed())
    assert 'phase="Suspended"' in file.read_text()


def test_a_textfile_lost_on_the_way_is_told_and_the_run_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "textfiles"
    folder.mkdir()
    heard = Heard()
    metrics = RunMetrics(run_of("laptop"), heard, port=None, textfile=folder / "hardening.prom")
    shutil.rmtree(folder)
    metrics.update(status(NOW, [Round()]), Observed())
    assert [event.reason for event in heard.events] == ["MetricsNotWritten"]
    assert len(heard.updates) == 1


def test_every_figure_a_training_shows_is_named_in_the_contract() -> None:
    assert {f"hardening_stage_{name.replace('/', '_')}" for name in _SHOWN} <= set(STAGE_GAUGES)


def test_the_memory_of_each_gpu_is_what_the_driver_says(tmp_path: Path) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '0, 1024, 81559'\necho '1, [N/A], 81559'\n")
    tool.chmod(0o755)
    registry = CollectorRegistry()
    registry.register(GpuMemory({"run": "r", "stage": "Attack", "round": "1"}, str(tool)))
    labels = {"run": "r", "stage": "Attack", "round": "1", "gpu": "0"}
    values = [registry.get_sample_value(name, labels) for name in STAGE_GPU_GAUGES]
    assert values == [1024 * 2**20, 81559 * 2**20]
    assert registry.get_sample_value("hardening_stage_gpu_memory_used_bytes", labels | {"gpu": "1"}) is None


@pytest.mark.parametrize(
    "script", ["#!/bin/sh\nexit 9\n", "#!/bin/sh\necho 'No devices were found'\n", "not a program"]
)
def test_without_a_driver_that_answers_there_is_no_gpu_memory(tmp_path: Path, script: str) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(script)
    tool.chmod(0o755)
    assert list(GpuMemory({"run": "r"}, str(tool)).collect()) == []
