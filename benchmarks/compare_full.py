"""Every variant, three sizes, smooth and saturating, on watch activity: leave one subject out, subjects 1 to 8.

python benchmarks/compare_full.py [--workers 2] [--folder DIR] [--estimate]. Each subject in turn is the test part,
the next one validates, six train; means and intervals are over the eight subjects, one seed each. It takes many hours
and goes on where it was stopped. --estimate trains a few models briefly and says how many.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tables
from rich.console import Console

from keras_gru_plus.datasets import Dataset, Split, watch_activity
from keras_gru_plus_export.compare import plan, table, tasks
from keras_gru_plus_export.compare.job import Job, Queue
from keras_gru_plus_export.compare.run import compare
from keras_gru_plus_export.compare.show import Screen, score_text
from keras_gru_plus_export.devices import cortex_m55

SUBJECTS = range(1, 9)
UNITS = (16, 32, 64)
TRAINING = tasks.Training(8, 3, percentile=tasks.WATCH_PERCENTILE, memory=30)
#: Variants that stand for all others in an estimate: two matmuls, one, a smaller one, a scan.
PROBES = ("gru", "mgu", "fastgrnn0", "mingru")
#: An epoch with fake quantization in epochs without (benchmarks/training.py).
FINE_TUNING_RATIO = 1.7


def subject_split(data: Dataset, subjects: set[int]) -> Split:
    """The windows of some people, out of all parts."""
    parts = [getattr(data, name) for name in tasks.PARTS]
    whole = {key: np.concatenate([getattr(part, key) for part in parts]) for key in ("x", "y", "subject")}
    chosen = np.isin(whole["subject"], list(subjects))
    return Split(whole["x"][chosen], whole["y"][chosen], whole["subject"][chosen])


def fold(subject: int, folder: Path) -> Path:
    """A file with one subject to test, the next to validate and six to train, whose windows overlap by 90 %."""
    path = folder / f"subject-{subject}.npz"
    if not path.is_file():
        validation = subject % len(SUBJECTS) + 1
        rest = set(SUBJECTS) - {subject, validation}
        dense, sparse = watch_activity(hop=10), watch_activity()
        parts = {"train": subject_split(dense, rest), "validation": subject_split(sparse, {validation})}
        parts["test"] = subject_split(sparse, {subject})
        arrays: dict[str, Any] = {}
        for name, part in parts.items():
            arrays |= {f"x_{name}": part.x, f"y_{name}": part.y}
        beside = path.with_suffix(".part.npz")
        np.savez(beside, **arrays)
        beside.replace(path)
    return path


def job_of(path: Path, out: Path, space: plan.Space, training: tasks.Training) -> Job:
    device = "cortex-m55" if cortex_m55.available() else "host"
    return Job(
        source=str(path),
        split=None,
        standardize=True,
        training=training,
        space=space,
        mode="step",
        target="tflm",
        recipe="int8",
        device=device,
        storage=str(out / "study.db"),
        study="compare",
        limits=None,
        trials=0,
        sampler="tpe",
        models=str(out / "models"),
    )


def full_space() -> plan.Space:
    """All variants that six channels suit, and Keras' layers."""
    names, _ = plan.variants_of("all", 6, UNITS)
    return plan.Space((*names, *plan.BASELINES), UNITS, plan.ACTIVATIONS, seeds=1)


def measure(folder: Path, workers: int) -> None:
    """Does all folds and writes the table."""
    found, metric = {}, "accuracy"
    for subject in SUBJECTS:
        out = folder / f"subject-{subject}"
        job = job_of(fold(subject, folder), out, full_space(), TRAINING)
        task = job.task()
        outcome = compare(job, task, out, workers, Screen(Console(stderr=True)), [])
        if outcome.interrupted:
            sys.exit(130)
        for run, result in Queue(job, task).results().items():
            # A subject takes the place of a seed in the mean; the stock export is the same in each.
            place = run if run.seed == plan.STOCK else dataclasses.replace(run, seed=subject)
            found[place] = result
    whole = table.make(found, metric, len(found))
    rows = []
    for row in [*whole.rows, *whole.baselines]:
        costs = {name: row.costs.get(name) for name in ("flash", "ram", "insns")}
        rows.append(
            {
                "model": str(row.configuration),
                "float": score_text(row.float, metric),
                "int8": score_text(row.int8, metric),
                "to best": table.tie_text(row, whole),
                "parameters": row.parameters or "",
                "file, B": costs["flash"] or "",
                "arena, B": costs["ram"] or "",
                "instructions a step": costs["insns"] or "",
                "failed": row.failed or "",
            }
        )
    note = (
        "Watch activity, leave one subject out: accuracy in %, mean and 95 % interval (Student's t) over subjects 1 "
        f"to 8, one seed each; {TRAINING.epochs} epochs float, {TRAINING.fine_tuning} fine-tuning. int8 as the file "
        "of mode step for target tflm computes it, arena and instructions on an emulated Cortex-M55. Tie: the "
        "interval overlaps the best one's."
    )
    tables.write("compare_full", rows, note, table.to_json(whole, found)["runs"])


def estimate(folder: Path) -> None:
    """Trains a few models for one and for two epochs and extrapolates, in seconds of a processor."""
    path = fold(1, folder)
    seconds: dict[tuple[str, int], float] = {}
    runs: dict[int, dict[Any, float]] = {}
    for epochs in (1, 2):
        out = folder / f"estimate-{epochs}"
        training = dataclasses.replace(TRAINING, epochs=epochs, fine_tuning=epochs)
        job = job_of(path, out, plan.Space((*PROBES, "keras.LSTM"), (16, 64), ("smooth",), seeds=1), training)
        task = job.task()
        compare(job, task, out, 1, Screen(Console(stderr=True)), [])
        results = Queue(job, task).results()
        runs[epochs] = {run: result["times"]["cpu_seconds"] for run, result in results.items() if run.seed == 0}
    for run, one in runs[1].items():
        epoch = max(runs[2][run] - one, 0.0)  # of float and, for a variant, of fine-tuning
        tuned = 0.0 if run.configuration.is_baseline else FINE_TUNING_RATIO
        full = one + epoch * ((TRAINING.epochs + tuned * TRAINING.fine_tuning) / (1 + tuned) - 1)
        seconds[run.configuration.variant, run.configuration.units] = full
        print(
            f"{run.configuration}: {one:.0f} s with one epoch each, {epoch:.1f} s a further one, {full:.0f} s in full"
        )
    space = full_space()
    models = [model for model in space.configurations() if not model.is_baseline]
    mean = statistics.mean(value for (variant, _), value in seconds.items() if variant in PROBES)
    whole = len(models) * len(SUBJECTS) * mean
    print(
        f"{len(models)} models, {len(SUBJECTS)} subjects: {len(models) * len(SUBJECTS)} runs of {mean:.0f} s: "
        f"{whole / 3600:.0f} hours of one core"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("compare-full"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--estimate", action="store_true")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if arguments.estimate:
        estimate(arguments.folder)
    else:
        measure(arguments.folder, arguments.workers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
