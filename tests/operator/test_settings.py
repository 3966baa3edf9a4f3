"""The operator's settings: what its environment may hold, and what is said of the rest."""

from __future__ import annotations

import pytest

from hardening_operator.settings import OperatorSettings, SettingsError

IMAGE = {"HARDENING_TRAINER_IMAGE": "registry.example/trainer:1"}


def test_each_kind_of_value_is_read_from_its_text() -> None:
    read = OperatorSettings.from_environ(
        IMAGE
        | {
            "HARDENING_NAMESPACES": " safety, red-team,",
            "HARDENING_LEADER_ELECTION": "false",
            "HARDENING_WORKERS": "7",
            "HARDENING_RESYNC_SECONDS": "2.5",
            "HARDENING_WORKSPACE_SIZE": "1Ti",
            "HARDENING_UNKNOWN": "left alone",
        }
    )

    assert read == OperatorSettings(
        trainer_image="registry.example/trainer:1",
        namespaces=("safety", "red-team"),
        leader_election=False,
        workers=7,
        resync_seconds=2.5,
        workspace_size="1Ti",
    )


@pytest.mark.parametrize(
    ("variable", "text", "line"),
    [
        ("TRAINER_IMAGE", "", "got nothing: expected a value"),
        ("LEADER_ELECTION", "maybe", "got maybe: expected a valid boolean"),
        ("METRICS_PORT", "http", "got http: expected a valid integer"),
        ("HEALTH_PORT", "70000", "got 70000: expected less than or equal to 65535"),
        ("WORKERS", "0", "got 0: expected greater than 0"),
        ("RESYNC_SECONDS", "-1", "got -1: expected greater than or equal to 0"),
        ("RESYNC_SECONDS", "nan", "got nan: expected a finite number"),
        ("PROGRESS_SECONDS", "inf", "got inf: expected a finite number"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(variable: str, text: str, line: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        OperatorSettings.from_environ(IMAGE | {f"HARDENING_{variable}": text})
    assert str(refusal.value) == f"HARDENING_{variable}: {line}"


def test_every_wrong_variable_has_a_line() -> None:
    with pytest.raises(SettingsError) as refusal:
        OperatorSettings.from_environ({"HARDENING_WORKERS": "many"})
    assert str(refusal.value).splitlines() == [
        "HARDENING_TRAINER_IMAGE: got nothing: expected a value",
        "HARDENING_WORKERS: got many: expected a valid integer",
    ]
