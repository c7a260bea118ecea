"""Runs checks, each in a process of its own, and prints what they counted.

PYTHONPATH=tests python -m trust [--long] [--only NAME …] [--cases N] [--seed N] [--write] [--list]. Exit code 1 if a
claim failed. --write keeps the counts for the documentation; rows of checks that did not run stay.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .catalogue import checks
from .check import Check, Counts

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "trust.json"
#: Columns for a terminal.
SHOWN = ("check", "cases", "refused", "failed", "minutes", "figures")
#: What children are told, so that TensorFlow says less.
QUIET = {"CUDA_VISIBLE_DEVICES": "-1", **os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "GLOG_minloglevel": "3"}
#: Seconds after which a check is ended; none of a sample comes near.
PATIENCE = {"sample": 3600, "whole": 12 * 3600}


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m trust", description=__doc__)
    parser.add_argument("--long", action="store_true", help="all cases instead of a drawn sample")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these checks")
    parser.add_argument("--cases", type=int, help="so many cases of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="keep the counts in benchmarks/results")
    parser.add_argument("--list", action="store_true", help="name the checks and end")
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)  # the child's side
    return parser.parse_args(arguments)


def in_child(name: str, cases: int, seed: int, patience: float) -> Counts:
    """A check's counts; a process that dies or hangs is a failure of its claim."""
    with tempfile.TemporaryDirectory(prefix="kgp-trust-") as folder:
        answer = Path(folder, "counts.json")
        command = [sys.executable, "-m", "trust", "--only", name, "--cases", str(cases), "--seed", str(seed)]
        try:
            done = subprocess.run(
                [*command, "--answer", str(answer)],
                timeout=patience,
                stdout=subprocess.DEVNULL,
                env=QUIET,
                check=False,
            )
            if answer.is_file():
                return Counts(**json.loads(answer.read_text()))
            text = f"the check's process ended with exit code {done.returncode}"
        except subprocess.TimeoutExpired:
            text = f"the check's process was still running after {patience} s"
    return Counts(failed=1, failures=[text])


def row(name: str, check: Check, counts: Counts, seconds: float, seed: int) -> dict[str, Any]:
    figures = ", ".join(f"{key} {value}" for key, value in counts.figures.items())
    return {
        "check": name,
        "claim": check.claim,
        "cases": f"{counts.cases:,}",
        "refused": f"{counts.refused:,}" if counts.refused else "",
        "failed": counts.failed,
        "figures": figures,
        "minutes": f"{seconds / 60:.1f}",
        "seed": seed,
    }


def shown(rows: list[dict[str, Any]]) -> Table:
    table = Table()
    for head in SHOWN:
        table.add_column(head, justify="left" if head in ("check", "figures") else "right", overflow="fold")
    for each in rows:
        table.add_row(*(str(each[head]) for head in SHOWN))
    return table


def write(rows: list[dict[str, Any]], order: list[str]) -> None:
    """Puts rows in the place of those of the same checks."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import tables

    kept = json.loads(RESULTS.read_text())["rows"] if RESULTS.is_file() else []
    merged = {each["check"]: each for each in [*kept, *rows] if each["check"] in order}
    note = (
        "Counts of `make trust-long`: generated cases, of these those that were refused with a message (a right "
        "answer where the claim allows it), and those contrary to the claim. The seed repeats them. A check without "
        "a row was not run in full yet."
    )
    tables.write("trust", sorted(merged.values(), key=lambda each: order.index(each["check"])), note)


def main() -> int:
    arguments = parsed()
    every = checks()
    names = arguments.only or list(every)
    unknown = sorted(set(names) - every.keys())
    if unknown:
        print(f"Expected checks among {', '.join(every)}, got {', '.join(unknown)}.", file=sys.stderr)
        return 2
    if arguments.answer:
        counts = every[names[0]].run(arguments.cases, arguments.seed)
        arguments.answer.write_text(json.dumps(dataclasses.asdict(counts)))
        return 0
    console, rows, failed = Console(), [], False
    size = "whole" if arguments.long else "sample"
    for name in names:
        check = every[name]
        cases = arguments.cases or getattr(check, size)
        if arguments.list:
            print(f"{name}: {check.claim} {check.sample} cases, {check.whole} in full")
            continue
        if missing := check.missing():
            console.print(f"{name}: not run, {missing}", highlight=False)
            continue
        console.print(f"{name}: {cases} cases", highlight=False)
        start = time.monotonic()
        counts = in_child(name, cases, arguments.seed, PATIENCE[size])
        rows.append(row(name, check, counts, time.monotonic() - start, arguments.seed))
        failed |= counts.failed > 0
        for text in counts.failures:
            console.print(f"  {text}", style="red", highlight=False, markup=False)
    if rows:
        console.print(shown(rows))
        if arguments.write:
            write(rows, list(every))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
