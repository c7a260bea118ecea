"""Every variant, three sizes, smooth and saturating, on watch activity: leave one subject out, subjects 1 to 8.

python benchmarks/compare_full.py [--units 32 16 64] [--workers 2] [--folder DIR] [--estimate]. Each subject in turn
is the test part, the next one validates, six train; means and intervals are over the eight subjects, one seed each.
It takes many hours, goes on where it was stopped, and writes after each number of units. --estimate trains a few
models briefly and says how many.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import tables
from matplotlib.figure import Figure
from rich.console import Console

from keras_gru_plus.datasets import Dataset, Split, watch_activity
from keras_gru_plus_export.compare import plan, table, tasks
from keras_gru_plus_export.compare.job import Job, Queue
from keras_gru_plus_export.compare.run import compare
from keras_gru_plus_export.compare.show import Screen, score_text
from keras_gru_plus_export.devices import cortex_m55

IMAGES = Path(__file__).parent.parent / "docs" / "images"
SUBJECTS = range(1, 9)
#: The size that the README's models have comes first.
UNITS = (32, 16, 64)
#: Samples from one training window to the next; a window has 100.
HOP = 25
TRAINING = tasks.Training(8, 2, percentile=tasks.WATCH_PERCENTILE, memory=30)
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
    """A file with one subject to test, the next to validate and six to train, whose windows overlap."""
    path = folder / f"subject-{subject}.npz"
    if not path.is_file():
        validation = subject % len(SUBJECTS) + 1
        rest = set(SUBJECTS) - {subject, validation}
        dense, sparse = watch_activity(hop=HOP), watch_activity()
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


def full_space(units: tuple[int, ...] = UNITS) -> plan.Space:
    """All variants that six channels suit, and Keras' layers."""
    names, _ = plan.variants_of("all", 6, UNITS)
    return plan.Space((*names, *plan.BASELINES), units, plan.ACTIVATIONS, seeds=1)


def measure(folder: Path, workers: int, every: tuple[int, ...]) -> None:
    """Does all subjects, one number of units after the other, and writes what is there after each."""
    found: dict[plan.Run, Any] = {}
    for units in every:
        for subject in SUBJECTS:
            out = folder / f"units-{units}" / f"subject-{subject}"
            job = job_of(fold(subject, folder), out, full_space((units,)), TRAINING)
            task = job.task()
            if compare(job, task, out, workers, Screen(Console(stderr=True)), []).interrupted:
                sys.exit(130)
            for run, result in Queue(job, task).results().items():
                # A subject takes the place of a seed in the mean; the stock export is the same in each.
                found[run if run.seed == plan.STOCK else dataclasses.replace(run, seed=subject)] = result
        write(table.make(found, "accuracy", len(found)), found)


def write(whole: table.Table, found: Mapping[plan.Run, Any]) -> None:
    """The table, its CSV with every model, and the picture."""
    rows = []
    for row in [*whole.rows, *whole.baselines]:
        costs = {name: row.costs.get(name) for name in ("flash", "ram", "insns")}
        rows.append(
            {
                "model": str(row.configuration),
                "float": score_text(row.float, whole.metric),
                "int8": score_text(row.int8, whole.metric),
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
        f"to 8, one seed each; {TRAINING.epochs} epochs float, {TRAINING.fine_tuning} fine-tuning, windows that "
        f"overlap by {100 - HOP} % to train. int8 as the file of mode step for target tflm computes it, arena and "
        "instructions on an emulated Cortex-M55. Tie: the interval overlaps the best one's."
    )
    tables.write("compare_full", rows, note)
    (tables.RESULTS / "compare_full.csv").write_text(runs_csv(found), encoding="utf-8")
    draw(whole, IMAGES / "compare_full.svg")


def runs_csv(found: Mapping[plan.Run, Any]) -> str:
    """A line a run, so that others can test what they want to know."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["variant", "units", "activation", "subject", "accuracy_float", "accuracy_int8", *table.COSTS])
    for run in sorted(found):
        result, own = found[run], run.configuration
        if run.seed != plan.STOCK:
            scores = [f"{result[kind]:.4f}" if kind in result else "" for kind in ("float", "int8")]
            costs = [result.get(cost, "") for cost in table.COSTS]
            writer.writerow([own.variant, own.units, own.activation, run.seed, *scores, *costs])
    return out.getvalue()


def draw(whole: table.Table, path: Path) -> None:
    """int8 accuracy against instructions and file size, with the fronts and Keras' layers in float."""
    matplotlib.rcParams["svg.hashsalt"] = "keras-gru-plus"  # the same figures give the same file
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (cost, label) in zip(axes, (("insns", "thousand instructions a step"), ("flash", "kB of file"))):
        rows = [row for row in whole.rows if row.int8 is not None and row.costs.get(cost)]
        for kind, colour in zip(plan.ACTIVATIONS, ("tab:blue", "tab:orange")):
            own = [row for row in rows if row.configuration.activation == kind]
            places = [row.costs[cost] / 1000 for row in own]
            axis.plot(places, [100 * row.int8.mean for row in own], "o", ms=4, alpha=0.7, color=colour, label=kind)
        best = sorted((row for row in rows if cost in row.fronts), key=lambda row: row.costs[cost])
        corners = [(row.costs[cost] / 1000, 100 * row.int8.mean) for row in best]
        axis.step(*zip(*corners), where="post", color="gray", linewidth=1)
        for row, corner in zip(best, corners):
            name = f"{row.configuration.variant}({row.configuration.units})"
            axis.annotate(name, corner, (0, 5), textcoords="offset points", fontsize=7, ha="right")
        for row in whole.baselines:
            if row.float is not None:
                axis.axhline(100 * row.float.mean, color="gray", linestyle=":", linewidth=0.8)
                place = (0.995, 100 * row.float.mean)
                axis.annotate(
                    f"{row.configuration}, float",
                    place,
                    xycoords=("axes fraction", "data"),
                    fontsize=6,
                    ha="right",
                    va="bottom",
                )
        axis.set_xlabel(label)
        axis.set_xscale("log", subs=(1, 1.5, 2, 3, 5, 7))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter("{x:g}")
        axis.grid(alpha=0.2)
    axes[0].set_ylabel("int8 accuracy, %, mean of 8 subjects")
    axes[0].legend(fontsize=8, loc="lower right")
    figure.savefig(path, metadata={"Date": None})


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
    parser.add_argument("--units", type=int, nargs="+", default=UNITS)
    parser.add_argument("--folder", type=Path, default=Path("compare-full"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--estimate", action="store_true")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if arguments.estimate:
        estimate(arguments.folder)
    else:
        measure(arguments.folder, arguments.workers, tuple(arguments.units))
    return 0


if __name__ == "__main__":
    sys.exit(main())
