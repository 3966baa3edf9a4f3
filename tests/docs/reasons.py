"""Every reason for which a stage or a run fails, or does not go on, taken from the code that gives it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from hardening_operator.planner.run_status import GATE_ANSWERS
from tests.support.pages import ROOT

OPERATOR = ROOT / "operator" / "hardening_operator"
TRAINER = ROOT / "trainer_image" / "hardening_trainer"
MONITORS = [
    OPERATOR / name
    for name in (
        *(f"planner/{part}.py" for part in ("monitor", "monitor_status", "monitor_types", "regression", "baseline")),
        *(f"planner/{part}.py" for part in ("schedule", "check_config", "rerun")),
        "controller/monitor_reconciler.py",
        "local/monitor.py",
    )
]
"""Where the reasons are a monitor's, not a run's."""
NO_FAILURES = {"Interrupted"}
"""What a stage says of itself when it was asked to stop, and saved."""


@cache
def failure_reasons() -> frozenset[str]:
    """Return the reasons of failed stages and failed runs: the operator's and those that stages report."""
    found = {reason for file in _modules(OPERATOR) for reason in _operator_reasons(ast.parse(file.read_text()))}
    kinds = _stage_errors()
    for file in _modules(TRAINER):
        found |= set(_stage_reasons(ast.parse(file.read_text()), kinds))
    return frozenset(found - NO_FAILURES)


@cache
def reasons_of_no_failure() -> frozenset[str]:
    """Return the reasons of runs that do not go on, or are not promoted, without having failed."""
    found = {reason for verdict, (_, reason) in GATE_ANSWERS.items() if verdict != "Pass"}
    for file in _modules(OPERATOR):
        if "cli" not in file.relative_to(OPERATOR).parts:
            found |= set(_waiting_reasons(ast.parse(file.read_text())))
    return frozenset(found - {"Running", "NotEvaluated"})


@cache
def monitor_reasons() -> frozenset[str]:
    """Return the reasons for which a monitor does not check, or does not harden again."""
    return frozenset({reason for file in MONITORS for reason in _waiting_reasons(ast.parse(file.read_text()))})


@cache
def words_of_the_operator() -> frozenset[str]:
    """Return every text of the operator's code that may be a reason."""
    trees = [ast.parse(file.read_text()) for file in sorted(OPERATOR.rglob("*.py"))]
    texts = (node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return frozenset({text for text in texts if isinstance(text, str) and text.isalpha()})


def _modules(package: Path) -> list[Path]:
    return [file for file in sorted(package.rglob("*.py")) if file not in MONITORS]


def _operator_reasons(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="Failure")):
                yield from _texts(_argument(node, 1))
            case ast.Call(func=ast.Name(id="_Trouble"), args=[reason, *_]):
                yield from _texts(reason)
            case ast.Call(func=ast.Attribute(attr="end"), args=[ast.Constant(value="Failed"), _, reason, *_]):
                yield from _texts(reason)
            case ast.Assign(targets=[ast.Attribute(attr="failure")], value=ast.Call(args=[reason, *_])):
                yield from _texts(reason)


def _waiting_reasons(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="NotReady" | "Wait"), args=[reason, *_]):
                yield from _texts(reason)
            case ast.Call(func=ast.Name(id="Event"), args=[ast.Constant(value="Warning"), reason, *_]):
                yield from _texts(reason)
            case ast.Assign(targets=[ast.Name(id="gate")], value=ast.Call(args=[ast.Constant(), reason, *_])):
                yield from _texts(reason)
            case ast.Call(func=ast.Attribute(attr="end"), args=[ast.Constant(value="NotPromoted"), _, reason, *_]):
                yield from _texts(reason)
            case ast.Assign(targets=[ast.Attribute(attr="why")], value=ast.Call(args=[reason, *_])):
                yield from _texts(reason)


def _stage_errors() -> set[str]:
    """Return the names of StageError and all its kinds."""
    bases = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for file in _modules(TRAINER)
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef)
    }
    kinds = {"StageError"}
    while more := {name for name, above in bases.items() if above & kinds} - kinds:
        kinds |= more
    return kinds


def _stage_reasons(tree: ast.Module, kinds: set[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in kinds:
                yield from (text for text in _texts(_argument(node, 1)) if text.isalpha())
            case ast.Assign(targets=[ast.Name(id="default_reason")], value=reason):
                yield from _texts(reason)


def _argument(call: ast.Call, place: int) -> ast.expr | None:
    named = next((keyword.value for keyword in call.keywords if keyword.arg == "reason"), None)
    return named or (call.args[place] if len(call.args) > place else None)


def _texts(node: ast.expr | None) -> Iterator[str]:
    """Yield the words an expression may give: a constant, or the last part of `a or "Word"`."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.BoolOp(values=values):
            for value in values:
                yield from _texts(value)
