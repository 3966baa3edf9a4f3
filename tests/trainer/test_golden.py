"""Every stage reports and leaves what it did when `golden/` was recorded; see `golden_stages`.

On the kind of machine it was recorded on, everything is equal to the last bit. Elsewhere another instruction set adds
floats in another order: counts, integer sums of counts and digests of text are still equal, and figures that come from
log-probabilities (R, losses) agree to a few millionths. A change that is meant to change results records anew:

    python -m tests.trainer.golden_stages tests/trainer/golden
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.golden_stages import MACHINE, machine

GOLDEN = Path(__file__).parent / "golden"
pytestmark = pytest.mark.xdist_group("golden")  # the stages run once for all of these tests
MEAN_SUMS = frozenset({"directHarmfulness", "selected", "diversity", "selfBleu"})
"""[samples, sum of millionths, sum of their squares]"""


@pytest.fixture(scope="module")
def today(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    command = [sys.executable, "-m", "tests.trainer.golden_stages", str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return folder


def same(golden: Any, now: Any, exact: bool, name: str = "") -> bool:
    """Whether all that was recorded is there still; what a newer result says besides is no change."""
    if isinstance(golden, dict):
        return golden.keys() <= now.keys() and all(same(value, now[key], exact, key) for key, value in golden.items())
    if isinstance(golden, list) and not exact and name in MEAN_SUMS:
        count, total, squared = golden
        return bool(now == [count, pytest.approx(total, rel=1e-6, abs=count), pytest.approx(squared, rel=1e-5)])
    if isinstance(golden, list):
        return len(golden) == len(now) and all(same(one, other, exact) for one, other in zip(golden, now, strict=True))
    if isinstance(golden, float) and not exact:
        return bool(now == pytest.approx(golden, rel=1e-5, abs=1e-5))
    return bool(golden == now)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(file.stem for file in GOLDEN.glob("*.json")))
def test_a_stage_gives_what_it_gave_before(name: str, today: Path) -> None:
    golden, now = (json.loads((folder / f"{name}.json").read_text()) for folder in (GOLDEN, today))
    assert same(golden, now, exact=(GOLDEN / MACHINE).read_text().strip() == machine()), now


def test_a_figure_that_differs_by_more_than_arithmetic_is_seen() -> None:
    sums = {"directHarmfulness": [2, 1_000_000, 10**12], "asked": 4, "digest": "ab", "loss": 0.25}
    for exact in (True, False):
        assert same({"sets": [sums]}, {"sets": [{**sums, "more": 1}]}, exact)
        assert not same({"sets": [sums]}, {"sets": [sums, sums]}, exact)
        assert not same(sums, {**sums, "directHarmfulness": [2, 1_000_009, 10**12]}, exact)
        for other in ({"asked": 5}, {"digest": "ac"}, {"loss": 0.2501}):
            assert not same(sums, {**sums, **other}, exact)
    assert same(sums, {**sums, "directHarmfulness": [2, 1_000_001, 10**12 + 10**6]}, exact=False)
