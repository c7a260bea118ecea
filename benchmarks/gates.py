"""Saturating gates against smooth ones, in int8: gru and mgu on four data sets, 5 seeds.

Training is that of `variants`, and so are the results kept as they come: KGP_BENCH_GATES_CACHE names their file.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tables
from variants import TASKS as FAST
from variants import Task, measure

SEEDS = range(int(os.environ.get("KGP_BENCH_SEEDS", "5")))
CACHE = Path(os.environ.get("KGP_BENCH_GATES_CACHE", Path(tempfile.gettempdir(), "keras-gru-plus-gates.jsonl")))
SATURATING = {"activation": "hard_tanh", "recurrent_activation": "hard_sigmoid"}
TASKS = (
    *FAST,
    # A knock on the watch is far above all else.
    Task("watch", epochs=40, fine_tuning=8, rate=5e-3, percentile=90.0),
    Task("ecg", epochs=30, fine_tuning=6, rate=3e-3, percentile=99.9),
)
NOTE = (
    "Accuracy in %, mean ± standard deviation of {seeds} seeds; int8 is the fine-tuned file on LiteRT. One layer of "
    "32 units and a softmax, the training of the table of variants. Saturating: hard_tanh and hard_sigmoid. "
    "Difference: saturating less smooth, int8, in points, with the 95 % interval of the mean over the paired "
    "seeds. Test parts: {counts}."
)


def rows(found: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    from scipy import stats

    table = []
    for task in TASKS:
        for variant in ("gru", "mgu"):
            row: dict[str, Any] = {"data": task.name, "cell": variant}
            int8 = {}
            for gates in ("smooth", "saturating"):
                results = [found[f"{task.name} / {variant} / {gates} / {seed}"] for seed in SEEDS]
                int8[gates] = np.array([result["fine-tuned"] for result in results])
                floats = np.array([result["float, test"] for result in results])
                row[f"{gates}, float"] = tables.percent(floats, None)
                row[f"{gates}, int8"] = tables.percent(int8[gates], None)
            gap = 100 * (int8["saturating"] - int8["smooth"])
            half = stats.t.ppf(0.975, len(gap) - 1) * gap.std(ddof=1) / np.sqrt(len(gap))
            row["difference"] = f"{gap.mean():+.2f} ± {half:.2f}"
            table.append(row)
    return table


def main() -> None:
    settings = {task.name: dataclasses.asdict(task) for task in TASKS}
    lines = [json.loads(line) for line in CACHE.read_text().splitlines()] if CACHE.is_file() else []
    found = {line["key"]: line["result"] for line in lines if line["settings"] == settings.get(line["task"])}
    for seed in SEEDS:
        for task in TASKS:
            for variant in ("gru", "mgu"):
                for gates, options in (("smooth", {}), ("saturating", SATURATING)):
                    key = f"{task.name} / {variant} / {gates} / {seed}"
                    if key in found:
                        continue
                    found[key] = measure(task, variant, seed, **options)
                    line = {"key": key, "task": task.name, "settings": settings[task.name], "result": found[key]}
                    with CACHE.open("a") as file:
                        file.write(json.dumps(line) + "\n")
                    print(json.dumps(line), flush=True)
                    keras.backend.clear_session()
    counts = ", ".join(f"{len(task.data.test)} ({task.name})" for task in TASKS)
    tables.write("gates", rows(found), NOTE.format(seeds=len(SEEDS), counts=counts), found)


if __name__ == "__main__":
    main()
