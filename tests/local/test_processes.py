"""How many threads a stage gets."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from hardening_operator.local.processes import usable_cores

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity to set")


def test_a_core_that_the_process_may_not_use_is_not_counted() -> None:
    allowed = os.sched_getaffinity(0)
    program = (
        f"import os; os.sched_setaffinity(0, [{min(allowed)}]);"
        "from hardening_operator.local.processes import usable_cores; print(usable_cores())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (int(done.stdout), usable_cores()) == (1, len(allowed))
