"""The table of stages agrees with the models it speaks of, and quantities are read as Kubernetes reads them."""

from __future__ import annotations

from importlib import util
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.utils.quantity import parse_quantity

from hardening_api.base import amount_of
from hardening_api.pods import PodOverrides, Stages
from hardening_api.stages import FINAL_EXITS, STAGE_OF_FOLDER, STAGES, TRAININGS, ExitCode, StageConfig, StageResult
from hardening_api.status import StageName


def test_every_stage_is_in_the_table_once_in_the_order_of_a_round() -> None:
    assert tuple(STAGES) == get_args(StageName)
    assert {STAGE_OF_FOLDER[info.folder] for info in STAGES.values()} == set(STAGES)
    assert TRAININGS == {"attacker": "TrainAttacker", "defender": "TrainDefender"}


@pytest.mark.parametrize("info", STAGES.values(), ids=STAGES)
def test_what_the_table_names_is_there(info: object) -> None:
    from hardening_api.stages import StageInfo

    assert isinstance(info, StageInfo)
    assert info.section in StageConfig.model_fields
    assert info.reports in StageResult.model_fields
    assert info.overrides in Stages.model_fields
    assert util.find_spec(f"hardening_trainer.stages.{info.section}") is not None
    assert info.sharded is (not info.trains and info.name != "Promote")


def test_shards_of_all_are_those_of_the_stages_that_can_be_split() -> None:
    stages = Stages(all=PodOverrides(shards=3), evaluate=PodOverrides(shards=5))
    assert {name: stages.shards_of(name) for name in STAGES} == {
        "Attack": 3,
        "Score": 3,
        "TrainAttacker": 1,
        "TrainDefender": 1,
        "Evaluate": 5,
        "Promote": 1,
    }


def test_exit_codes_are_those_of_sysexits() -> None:
    import os

    assert (ExitCode.USAGE, ExitCode.DATA) == (os.EX_USAGE, os.EX_DATAERR)
    assert (ExitCode.UNAVAILABLE, ExitCode.SOFTWARE) == (os.EX_UNAVAILABLE, os.EX_SOFTWARE)
    assert (ExitCode.OK, ExitCode.TEMPORARY) == (os.EX_OK, os.EX_TEMPFAIL)
    assert {os.EX_USAGE, os.EX_DATAERR} == FINAL_EXITS


@given(
    st.one_of(st.integers(0, 10**9), st.decimals(0, 10**6, places=3).map(str)),
    st.sampled_from(["", "m", "k", "M", "G", "Ki", "Mi", "Gi", "Ti"]),
)
def test_a_quantity_is_the_number_kubernetes_reads(number: int | str, suffix: str) -> None:
    text = f"{number}{suffix}"
    assert amount_of(text) == pytest.approx(float(parse_quantity(text)), rel=1e-12)


@pytest.mark.parametrize(("text", "amount"), [("1e3", 1000), ("2E2", 200), ("1E", 1e18), (".5", 0.5), (8, 8)])
def test_exponents_and_plain_numbers_are_read(text: int | str, amount: float) -> None:
    assert amount_of(text) == amount


@pytest.mark.parametrize("text", ["", "many", "1 Gi", "-1", "1e"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a Kubernetes quantity"):
        amount_of(text)
