"""Every variant on two small data sets, 3 seeds: float against int8 on LiteRT, calibrated only and fine-tuned.

All choices (epochs, rates, percentile) were made on the validation parts, the same for all variants; the test parts
are scored here. It takes some 45 minutes on one core: each result goes to a file of JSON lines at once
(KGP_BENCH_CACHE names it), so that a run that was stopped goes on where it was. Results of other settings are left
alone; after a change of the package remove the file.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tables

import keras_gru_plus as kgp
from keras_gru_plus.datasets import Dataset, Split
from keras_gru_plus_export import convert, tflite
from keras_gru_plus_export.devices import host

SEEDS = range(int(os.environ.get("KGP_BENCH_SEEDS", "3")))
CACHE = Path(os.environ.get("KGP_BENCH_CACHE", Path(tempfile.gettempdir(), "keras-gru-plus-variants.jsonl")))
UNITS = 32
#: Share of values that GRU-D does not get to see; it is made for data with gaps.
MISSING = 0.2


@dataclasses.dataclass(frozen=True)
class Task:
    """A data set and how long to train on it."""

    name: str
    epochs: int
    fine_tuning: int
    batch: int = 64
    rate: float = 1e-2
    fine_tuning_rate: float = 1e-3
    percentile: float = 99.0

    @functools.cached_property
    def data(self) -> Dataset:
        return LOADERS[self.name]()


datasets = kgp.datasets
LOADERS: dict[str, Callable[[], Dataset]] = {
    "rows": datasets.digits_rows,
    "spoken": lambda: datasets.spoken_digits(timesteps=24).standardized(),
    "watch": lambda: datasets.watch_activity().standardized(),
    "ecg": datasets.ecg,
}
TASKS = (Task("rows", epochs=50, fine_tuning=8), Task("spoken", epochs=20, fine_tuning=4))


def inputs(split: Split, variant: str) -> np.ndarray:
    """What the variant reads: the values, and for GRU-D also which of them are there, and the time between rows."""
    if variant != "grud":
        return split.x
    seen = np.random.default_rng(0).random(split.x.shape) >= MISSING
    gap = np.ones((*split.x.shape[:2], 1))
    gap[:, 0] = 0
    return np.concatenate([split.x * seen, seen, gap], axis=-1).astype(np.float32)


def build(task: Task, variant: str, **options: Any) -> keras.Model:
    x = keras.Input(inputs(task.data.train, variant).shape[1:], name="x")
    features = kgp.GRUPlus(UNITS, variant=variant, name=variant, **options)(x)
    return keras.Model(x, keras.layers.Dense(len(task.data.classes), activation="softmax", name="y")(features))


def fit(model: keras.Model, task: Task, x: np.ndarray, epochs: int, rate: float) -> None:
    steps = -(-len(x) // task.batch)
    schedule = keras.optimizers.schedules.CosineDecay(rate, epochs * steps)
    # Without XLA: compiling 32 variants with it would take longer than training them.
    optimizer = keras.optimizers.Adam(schedule, clipnorm=1.0)
    model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(x, task.data.train.y, batch_size=task.batch, epochs=epochs, verbose=0)


def accuracy(prediction: np.ndarray, split: Split) -> float:
    return float((prediction.argmax(axis=-1) == split.y).mean())


def on_litert(model: kgp.QuantizedModel, x: np.ndarray) -> tuple[int, np.ndarray]:
    """The file's size and its outputs."""
    data = convert(model)
    flat = tflite.load(data)
    grid = tflite.grid(flat.subgraphs[0].tensors[tflite.signature(flat).inputs["x"]])
    assert grid is not None
    integers = {"x": host.quantize(x, grid)}
    return len(data), host.run(data, integers, runtime="litert", mode="sequence")["y"]


def measure(task: Task, variant: str, seed: int, **options: Any) -> dict[str, float]:
    """Trains, quantizes and scores one model."""
    data, keys = task.data, ("validation", "test")
    train, *held_out = (inputs(split, variant) for split in (data.train, data.validation, data.test))
    result: dict[str, float] = {}

    def score(what: str, model: keras.Model) -> None:
        prediction = np.asarray(model.predict(np.concatenate(held_out), batch_size=500, verbose=0))
        for key, part in zip(keys, np.split(prediction, [len(held_out[0])])):
            result[f"{what}, {key}"] = accuracy(part, getattr(data, key))

    keras.utils.set_random_seed(seed)
    model = build(task, variant, **options)
    result["parameters"] = model.count_params()
    fit(model, task, train, task.epochs, task.rate)
    score("float", model)
    quantized = kgp.calibrate(kgp.quantize_aware(model), train, percentile=task.percentile)
    for what in ("calibrated", "fine-tuned"):
        if what == "fine-tuned":
            fit(quantized, task, train, task.fine_tuning, task.fine_tuning_rate)
        score(f"{what} fake-quant", quantized)
        result[f"{what} bytes"], outputs = on_litert(quantized, held_out[1])
        result[what] = accuracy(outputs, data.test)
    return result


def note() -> str:
    """What the table shows."""
    training = " ".join(f"{task.name}: {task.epochs} epochs float, {task.fine_tuning} fine-tuning." for task in TASKS)
    counts = " and ".join(f"{len(task.data.test)} ({task.name})" for task in TASKS)
    steps = " and ".join(f"{100 / len(task.data.test):.2f}" for task in TASKS)
    return (
        "Accuracy in %, in brackets the difference to the float model of the same seed in points; int8 on LiteRT "
        f"(XNNPACK), mode sequence, per-tensor weights. One layer of {UNITS} units and a softmax. rows: "
        "scikit-learn's digits, 8 steps of 8 pixels; spoken: spoken digits, 24 steps of 13 cepstral coefficients. "
        f"{training} Calibrated with percentile={TASKS[0].percentile:g}. grud does not see {MISSING:.0%} of the "
        f"values. Mean ± standard deviation of {len(SEEDS)} seeds. The test parts have {counts} sequences: one of "
        f"them in one run is {steps} points."
    )


def known() -> dict[tuple[str, str, int], dict[str, float]]:
    """Results in the cache that were made with the present settings."""
    lines = CACHE.read_text().splitlines() if CACHE.is_file() else []
    settings = {task.name: dataclasses.asdict(task) for task in TASKS}
    entries = [json.loads(line) for line in lines]
    return {
        (entry["task"], entry["variant"], entry["seed"]): entry["result"]
        for entry in entries
        if entry["settings"] == settings.get(entry["task"])
    }


def rows(found: dict[tuple[str, str, int], dict[str, float]]) -> list[dict[str, Any]]:
    """The table: a row for each variant, mean and deviation over the seeds."""
    table = []
    for variant in kgp.VARIANTS:
        row: dict[str, Any] = {"variant": variant}
        for task in TASKS:
            results = [found[task.name, variant, seed] for seed in SEEDS]
            reference = np.array([result["float, test"] for result in results])
            row[f"{task.name}: parameters"] = results[0]["parameters"]
            row[f"{task.name}: file, kB"] = f"{results[0]['calibrated bytes'] / 1000:.2f}"
            row[f"{task.name}: float"] = tables.percent(reference, None)
            for what in ("calibrated", "fine-tuned"):
                values = np.array([result[what] for result in results])
                row[f"{task.name}: int8 {what}"] = tables.percent(values, reference)
        table.append(row)
    return table


def main() -> None:
    found = known()
    for seed in SEEDS:  # outermost, so that a run that is stopped has something of every variant
        for variant in kgp.VARIANTS:
            for task in TASKS:
                if (task.name, variant, seed) in found:
                    continue
                result = measure(task, variant, seed)
                found[task.name, variant, seed] = result
                entry = {"task": task.name, "variant": variant, "seed": seed, "settings": dataclasses.asdict(task)}
                with CACHE.open("a") as file:
                    file.write(json.dumps({**entry, "result": result}) + "\n")
                print(json.dumps({**entry, "result": result}), flush=True)
                keras.backend.clear_session()
    every = {f"{task} / {variant} / {seed}": result for (task, variant, seed), result in sorted(found.items())}
    tables.write("variants", rows(found), note(), every)


if __name__ == "__main__":
    main()
