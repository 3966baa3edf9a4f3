"""The tables of docs/results.md and docs/experiments/, in Markdown, from the JSON files that the benchmarks left.

python -m benchmarks.tables [NAME...]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.comparison import ARMS, MATCHED
from benchmarks.harness import RESULTS

Figures = Mapping[str, Any]
DEFENDERS = ("base", *ARMS)


def span(figures: Figures | None) -> str:
    """Write a value, its interval and n."""
    if figures is None:
        return "-"
    return f"{figures['value']:.2f} [{figures['lower']:.2f}, {figures['upper']:.2f}] n {figures['samples']}"


def table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    """Write a Markdown table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows))


def demo(result: Figures) -> Iterator[str]:
    """Base and promoted model on the held-out prompts, and what the run took."""
    last = result["status"]["rounds"][-1]

    def rows() -> Iterator[Sequence[str]]:
        for one in last["evaluations"]:
            if one.get("harmRate"):
                yield f"harm rate, {one['set']}", span(one.get("baseHarmRate")), span(one["harmRate"])
            if one.get("winRate"):
                yield f"win rate over the base, {one['set']}", "", span(one["winRate"])
            if one.get("overRefusal"):
                yield "over-refusal", span(one.get("baseOverRefusal")), span(one["overRefusal"])

    yield table(("held-out prompts", "base", f"after round {last['round']}"), rows())
    stages = [
        (entry["round"], stage)
        for entry in (result["status"]["base"], *result["status"]["rounds"])
        for stage in entry["stages"]
    ]
    times = ((f"{number}", stage["stage"], f"{stage.get('seconds', 0):.0f}") for number, stage in stages)
    yield table(("round", "stage", "seconds"), times)
    yield "\n".join(f"- {gate['gate']}: {gate['verdict']}: {gate['message']}" for gate in last["gates"])
    yield (
        f"{result['seconds']:.0f} s in all; most memory in use {result['peak_pss_gib']:.1f} GiB "
        f"({result['peak_rss_gib']:.1f} GiB with shared pages counted once a process)"
    )


def comparison(result: Figures) -> Iterator[str]:
    """APL against plain DPO: pooled, each seed's own, ordinary questions, attackers."""
    summary, seeds = result["summary"], result["seeds"]
    sets = [name for name in summary if name != "ordinary"]
    rows = (
        (name, *(span(summary[name].get(who)) for who in DEFENDERS), span(summary[name]["APL minus plain DPO"]))
        for name in sets
    )
    yield table(("all seeds", *DEFENDERS, "APL minus plain DPO"), rows)
    if all(who in summary[sets[0]] for who in MATCHED):
        columns = (*MATCHED, " minus ".join(MATCHED))
        yield table(
            ("at matched over-refusal", *columns),
            ((name, *(span(summary[name][who]) for who in columns)) for name in sets),
        )
        strengths = ((f"{one['seed']}", *(f"{one['strength'][arm]:.2f}" for arm in ARMS)) for one in seeds)
        yield table(("seed", *(f"strength, {arm}" for arm in ARMS)), strengths)
    each = (
        (f"{one['seed']}", name, *(span(_of_seed(summary[name], who, index)) for who in ARMS))
        for index, one in enumerate(seeds)
        for name in sets
    )
    yield table(("seed", "set", *ARMS), each)
    spent = ((f"{one['seed']}", *(str(sum(one["tokens"][arm])) for arm in ARMS)) for one in seeds)
    yield table(("seed", *(f"tokens, {arm}" for arm in ARMS)), spent)
    if "ordinary" in summary:
        asked = ((who, span(one["refused"]), span(one["nats_a_token"])) for who, one in summary["ordinary"].items())
        yield table(("ordinary questions", "refused", "nats a token of the base's answers"), asked)
    yield attackers(result)


def _of_seed(entry: Figures, who: str, index: int) -> Figures | None:
    each: Sequence[Figures | None] = entry[f"{who}, each seed"]
    return each[index]


def attackers(result: Figures) -> str:
    """How often each attacker's tries succeed against one and the same defender, and the paired differences."""
    defenders = list(result["attackers"])
    names = list(result["attackers"][defenders[0]])
    rows = ((name, *(span(result["attackers"][who][name]) for who in defenders)) for name in names)
    shares = "; ".join(f"{name}: {value:.2f}" for name, value in result["valid"].items())
    return table(("tries that do harm", *defenders), rows) + f"\n\nValid lead-ins of all tries: {shares}."


def speed(result: Figures) -> Iterator[str]:
    """Ratios with their goals."""
    rows = (
        (name, *(f"{figures[key]:.2f}" for key in ("median", "min", "max")), f"{result['goals'][name]:.2f}")
        for name, figures in result["times_faster_than"].items()
    )
    yield table(("times as fast as", "median", "min", "max", "goal"), rows)


WRITERS: dict[str, Callable[[Figures], Iterator[str]]] = {
    "demo": demo,
    "apl_against_dpo": comparison,
    "apl_against_dpo_two_rounds": comparison,
    "hh_rlhf": comparison,
    "scoring": speed,
    "scoring_bfloat16": speed,
    "sampling": speed,
    "dpo_step": speed,
}


def main() -> None:
    """Print the tables of every result that is there, or of those named."""
    for name in sys.argv[1:] or WRITERS:
        file = RESULTS / f"{name}.json"
        if file.exists():
            print(f"## {name}\n\n" + "\n\n".join(WRITERS[name](json.loads(file.read_text()))) + "\n")


if __name__ == "__main__":
    main()
