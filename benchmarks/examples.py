"""The five scripts of examples/tasks as they stand, float against int8.

python benchmarks/examples.py [task …]; KGP_BENCH_SEEDS says how many seeds (3). Each run is kept in
results/examples.json as it ends, and is not repeated while it is there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tables

TASKS = ("ecg", "demand", "activity", "next_character", "keywords")
FOLDER = Path(__file__).parent.parent / "examples"
SCORES = ("float", "int8, LiteRT", "int8, TFLite Micro")
COSTS = ("file, kB", "arena, kB", "instructions, k")
NOTE = (
    "Target tflm, on the test part, as `examples/tasks` print it; mean of the seeds, in brackets int8 less float of "
    "the same seed. File, arena and instructions of the first seed: arena of the tflite-micro wheel; instructions of "
    "one invoke on an emulated Cortex-M55: a whole window, but of `next character` one step. The keywords are "
    "synthetic speech. Bits and MAE: less is better. kB = 1000 bytes."
)


def run(task: str, seed: int) -> list[dict[str, Any]]:
    """Rows that a script prints: the task and its metric, scores, costs."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, FOLDER / "tasks" / f"{task}.py", "--seed", str(seed), "--out", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"Expected {task}.py to end well, got: {done.stderr.strip().splitlines()[-1]}")
    lines = done.stdout.splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("task | "))
    names = lines[head].split(" | ")
    rows = [dict(zip(names, line.split(" | "), strict=True)) for line in lines[head + 1 :]]
    return [row | {name: float(row[name]) for name in (*SCORES, *COSTS)} | {"seed": seed} for row in rows]


def row_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A line of the table, of all seeds of a task and metric."""
    metric = rows[0]["task"]
    digits = 1 if metric.endswith("%") else 3
    truth = np.array([row["float"] for row in rows])
    line: dict[str, Any] = {"task": metric, "seeds": len(rows), "float": f"{truth.mean():.{digits}f}"}
    for name in SCORES[1:]:
        values = np.array([row[name] for row in rows])
        line[name] = f"{values.mean():.{digits}f} ({(values - truth).mean():+.{digits + 1}f})"
    return line | {name: "–" if np.isnan(rows[0][name]) else f"{rows[0][name]:.1f}" for name in COSTS}


def table(values: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """All lines, in the order of `TASKS`."""
    lines = []
    for task in TASKS:
        runs = [row for key, rows in values.items() if key.rpartition(" ")[0] == task for row in rows]
        for metric in dict.fromkeys(row["task"] for row in runs):
            lines.append(row_of([row for row in runs if row["task"] == metric]))
    return lines


def main() -> None:
    path = tables.RESULTS / "examples.json"
    values = json.loads(path.read_text())["values"] if path.is_file() else {}
    for seed in range(int(os.environ.get("KGP_BENCH_SEEDS", "3"))):
        for task in sys.argv[1:] or TASKS:
            if f"{task} {seed}" not in values:
                values[f"{task} {seed}"] = run(task, seed)
                tables.write("examples", table(values), NOTE, values)
    text = (tables.RESULTS / "examples.md").read_text()
    begin, end = "<!-- examples -->", "<!-- end of examples -->"
    readme = FOLDER / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(begin)
    readme.write_text(f"{before}{begin}\n\n{text}\n{end}{rest.split(end)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
