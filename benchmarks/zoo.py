"""The zoo: many architectures of stock Keras layers, on real data, float against int8 on LiteRT and TFLite Micro.

python benchmarks/zoo.py [architecture …]; KGP_BENCH_SEEDS says how many seeds (1).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tables
import zoo_data
import zoo_models

import keras_gru_plus as kgp
from keras_gru_plus_export import ConversionError, convert, tflite
from keras_gru_plus_export.data import Data, input_names, output_names, score
from keras_gru_plus_export.devices import host
from keras_gru_plus_export.verify import verify

#: Calibration sees this many training samples; verification at most so many of the test part.
CALIBRATION, EVALUATION = 512, 500
FINE_TUNING, FINE_TUNING_RATE = 3, 3e-4
REFUSED = (ValueError, TypeError, NotImplementedError, ConversionError)


def as_data(model: keras.Model, arrays: tuple[zoo_data.Arrays, zoo_data.Arrays], samples: int | None = None) -> Data:
    """`samples` spread over the arrays, under the model's own input and output names, which builders share."""
    count = len(next(iter(arrays[0].values())))
    chosen = np.arange(count) if samples is None else np.linspace(0, count - 1, min(samples, count)).astype(np.int64)
    inputs = dict(zip(input_names(model), (array[chosen] for array in arrays[0].values()), strict=True))
    targets = dict(zip(output_names(model), (array[chosen] for array in arrays[1].values()), strict=True))
    return Data(inputs, targets)


def float_score(model: keras.Model, task: zoo_data.Task, data: Data | None = None) -> float:
    """Of the first output, on `data` or the whole test part."""
    inputs, targets = task.test if data is None else (data.inputs, data.targets)
    fed = list(inputs.values())
    predicted = model.predict(fed if len(fed) > 1 else fed[0], batch_size=256, verbose=0)
    return score(task.metric, np.asarray(keras.tree.flatten(predicted)[0]), next(iter(targets.values())))


def quantized(
    model: keras.Model, task: zoo_data.Task, recipe: str = "int8", samples: int = CALIBRATION
) -> keras.Model:
    """`from_keras`, `quantize_aware` and `calibrate` on training data."""
    result = kgp.quantize_aware(kgp.from_keras(model), recipe)
    return kgp.calibrate(result, as_data(result, task.train, samples).inputs, percentile=task.percentile)


def on_runtimes(
    model: keras.Model, float_model: keras.Model, task: zoo_data.Task, samples: int = EVALUATION
) -> tuple[bytes, dict[str, float]]:
    """The int8 file and its score on each runtime, as the exporter verifies it."""
    file = convert(model)
    data = as_data(model, task.test, samples)
    found = verify(
        model,
        {"sequence": file},
        data,
        mode="sequence",
        float_model=float_model,
        metric=task.metric,
        runtime_python=os.environ.get("KGP_TFLITE_RUNTIME_PYTHON"),
    )
    return file, {r.runtime: r.score for r in found.results if r.score is not None}


def zeros(file: bytes) -> dict[str, np.ndarray]:
    """One sample of integers for each input of the file."""
    flat = tflite.load(file)
    ends = {name: flat.subgraphs[0].tensors[i] for name, i in tflite.signature(flat).inputs.items()}
    return {name: np.zeros(tensor.shape, tflite.dtype(tensor)) for name, tensor in ends.items()}


def measure(name: str, seeds: Iterable[int], recipe: str = "int8") -> list[dict[str, Any]]:
    """One row a seed: float, calibrated and fine-tuned scores, bytes and arena; or what was refused, and why."""
    architecture = zoo_models.ZOO[name]
    task = architecture.data()
    rows = []
    for seed in seeds:
        begin = time.perf_counter()
        model = zoo_models.train(architecture, task, seed=seed)
        row: dict[str, Any] = {
            "architecture": name,
            "seed": seed,
            "weights": model.count_params(),
            "metric": task.metric,
            "trivial": task.trivial,
            "float, whole test": float_score(model, task),
            "seconds": time.perf_counter() - begin,
        }
        try:
            _int8(row, model, architecture, task, recipe)
        except REFUSED as error:
            row["refused"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        rows.append(row)
        keras.backend.clear_session()
    return rows


def _int8(
    row: dict[str, Any],
    model: keras.Model,
    architecture: zoo_models.Architecture,
    task: zoo_data.Task,
    recipe: str,
) -> None:
    result = quantized(model, task, recipe)
    plain = kgp.from_keras(model)
    file, row["calibrated"] = on_runtimes(result, plain, task)
    row["bytes"], row["arena"] = len(file), host.smallest_arena(file, zeros(file), "sequence")
    zoo_models.fit(
        result, task, FINE_TUNING_RATE, FINE_TUNING, architecture.batch_size, callbacks=[kgp.FreezeRanges(1)]
    )
    _, row["fine-tuned"] = on_runtimes(result, plain, task)


def _row(measured: list[dict[str, Any]]) -> dict[str, Any]:
    """A line of the table: means over the seeds."""
    first = measured[0]
    row: dict[str, Any] = {"architecture": first["architecture"], "task": zoo_models.ZOO[first["architecture"]].task}
    row |= {"weights": first["weights"], "metric": first["metric"]}

    def text(values: list[float]) -> str:
        return f"{100 * np.mean(values):.1f} %" if first["metric"] == "accuracy" else f"{np.mean(values):.3f}"

    row["trivial"] = text([first["trivial"]])
    row["float"] = text([m["float, whole test"] for m in measured])
    done = [m for m in measured if "refused" not in m]
    for stage in ("calibrated", "fine-tuned"):
        for runtime in ("float", "litert", "tflm"):
            if not (stage == "fine-tuned" and runtime == "float"):
                head = "float, same samples" if runtime == "float" else f"{stage}, {runtime}"
                row[head] = text([m[stage][runtime] for m in done]) if done else ""
    row["file, kB"] = f"{done[0]['bytes'] / 1000:.1f}" if done else ""
    row["arena, kB"] = f"{done[0]['arena'] / 1000:.1f}" if done and done[0]["arena"] else ""
    refused = [m["refused"] for m in measured if "refused" in m]
    row["refused"] = refused[0].replace("|", "\\|") if refused else ""
    return row


def main() -> int:
    names = sys.argv[1:] or list(zoo_models.ZOO)
    unknown = sorted(set(names) - set(zoo_models.ZOO))
    if unknown:
        print(f"Expected architectures among {', '.join(zoo_models.ZOO)}, got {', '.join(unknown)}.", file=sys.stderr)
        return 2
    seeds = range(int(os.environ.get("KGP_BENCH_SEEDS", "1")))
    before = tables.RESULTS / "zoo.json"
    every: dict[str, Any] = json.loads(before.read_text()).get("values", {}) if before.is_file() else {}
    for name in names:  # the others keep what they had
        every[name] = measure(name, seeds)
        print(every[name], flush=True)
        # Written after each, so that a run that is ended keeps what it measured.
        rows = [_row(every[name]) for name in zoo_models.ZOO if name in every]
        tables.write("zoo", rows, _note(len(seeds)), every)
    return 0


def _note(seeds: int) -> str:
    return (
        f"Architectures of benchmarks/zoo_models.py, int8, mode `sequence`, mean of {seeds} seed(s). Accuracy in %, "
        "else the mean absolute error (GW; of ECG in its deviations). Trivial: most frequent class, the day before, "
        f"the mean beat. Float is on the whole test part, the rest on at most {EVALUATION} of its samples. "
        "Watch activity is calibrated with a percentile of 90: a knock on the watch is far above all else. "
        f"Fine-tuned: {FINE_TUNING} epochs. `keywords` are synthetic speech. kB = 1000 bytes."
    )


if __name__ == "__main__":
    sys.exit(main())
