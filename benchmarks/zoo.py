"""The zoo: many architectures of stock Keras layers, on real data, float against int8 on LiteRT and TFLite Micro.

python benchmarks/zoo.py [architecture …]; KGP_BENCH_SEEDS says how many seeds (3). Each run (an architecture with a
seed) is kept in results/zoo.json as it ends; runs that are there are not repeated, unless --again is given. Float
models are kept in build/zoo. With --labels, runs that are there are fine-tuned on labels, beside the float model.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
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

#: Calibration sees this many training samples.
CALIBRATION = 512
#: Architectures that are measured with other recipes than int8 as well.
ALSO = {"autoencoder": ("int8", "int16x8")}
RUNTIMES = ("litert", "tflm")
#: Most that int8 may lose: points of accuracy, % of an error.
LIMITS = {"calibrated": (0.5, 2.0), "fine-tuned": (0.2, 1.0)}
REFUSED = (ValueError, TypeError, NotImplementedError, ConversionError)
FOLDER = Path(__file__).parent.parent / "build" / "zoo"


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
    model: keras.Model, task: zoo_data.Task, samples: int | None = None
) -> tuple[bytes, dict[str, float]]:
    """The int8 file, and the score on each runtime of `samples` of the test part or all."""
    file, data = convert(model), as_data(model, task.test, samples)
    tensors, signature = tflite.load(file).subgraphs[0].tensors, tflite.signature(tflite.load(file))
    integers = {}
    for name, array in data.inputs.items():
        tensor = tensors[signature.inputs[name]]
        grid = tflite.grid(tensor)
        kind = tflite.dtype(tensor)
        integers[name] = array.astype(kind) if grid is None else host.quantize(array, grid, kind)
    name, target = next(iter(data.targets.items()))
    grid = tflite.grid(tensors[signature.outputs[name]])
    scores = {"fake_quant": float_score(model, task, data)}
    for runtime in RUNTIMES:
        raw = host.run(file, integers, runtime=runtime, mode="sequence", timeout=900)[name]
        real = host.dequantize(raw, grid).reshape(len(target), *model.outputs[0].shape[1:])
        scores[runtime] = score(task.metric, real, target)
    return file, scores


def zeros(file: bytes) -> dict[str, np.ndarray]:
    """One sample of integers for each input of the file."""
    flat = tflite.load(file)
    ends = {name: flat.subgraphs[0].tensors[i] for name, i in tflite.signature(flat).inputs.items()}
    return {name: np.zeros(tensor.shape, tflite.dtype(tensor)) for name, tensor in ends.items()}


def float_model(architecture: zoo_models.Architecture, task: zoo_data.Task, seed: int) -> keras.Model:
    """Trained, or from the file that an earlier run left."""
    path = FOLDER / f"{architecture.name}-{seed}.keras"
    if path.is_file():
        return keras.models.load_model(path)
    model = zoo_models.train(architecture, task, seed=seed)
    FOLDER.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"unfinished-{path.name}")
    model.save(unfinished)
    unfinished.replace(path)
    return model


def measure(name: str, seed: int, recipe: str = "int8") -> dict[str, Any]:
    """One run: float, calibrated and fine-tuned scores, bytes and arena; or what was refused, and why."""
    architecture = zoo_models.ZOO[name]
    task = architecture.data()
    begin = time.perf_counter()
    model = float_model(architecture, task, seed)
    run: dict[str, Any] = {
        "architecture": name,
        "recipe": recipe,
        "seed": seed,
        "samples": len(next(iter(task.test[1].values()))),
        "weights": model.count_params(),
        "metric": task.metric,
        "trivial": task.trivial,
        "float": float_score(model, task),
    }
    try:
        result = quantized(model, task, recipe)
        file, run["calibrated"] = on_runtimes(result, task)
        run["bytes"] = len(file)
        if seed == 0:  # it is the same for all
            run["arena"] = host.smallest_arena(file, zeros(file), "sequence")
        run["validation"] = zoo_models.fine_tune(result, task, architecture, teacher=model)
        kept = min(run["validation"]) == run["validation"][0]  # training made nothing better
        run["fine-tuned"] = run["calibrated"] if kept else on_runtimes(result, task)[1]
    except REFUSED as error:
        run["refused"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    run["seconds"] = time.perf_counter() - begin
    keras.backend.clear_session()
    return run


def control(run: dict[str, Any]) -> None:
    """Adds what training on the labels instead does to the float model and to the int8 one (in Keras)."""
    architecture = zoo_models.ZOO[run["architecture"]]
    task = architecture.data()
    for head, quantize in (("float, labels", False), ("fake_quant, labels", True)):
        model = float_model(architecture, task, run["seed"])
        model = quantized(model, task, run["recipe"]) if quantize else model
        zoo_models.fine_tune(model, task, architecture)
        run[head] = float_score(model, task)
    keras.backend.clear_session()


def on_labels(run: dict[str, Any]) -> None:
    """Adds what fine-tuning on the labels gives instead: for the float model, which is the control, and for int8."""
    architecture = zoo_models.ZOO[run["architecture"]]
    task = architecture.data()
    run["on labels"] = {}
    for kind in ("float", "fake_quant"):
        model = float_model(architecture, task, run["seed"])
        model = model if kind == "float" else quantized(model, task, run["recipe"])
        zoo_models.fine_tune(model, task, architecture)
        run["on labels"][kind] = float_score(model, task)
    keras.backend.clear_session()


def change(runs: list[dict[str, Any]], scores: list[float]) -> tuple[float, str]:
    """Mean over the seeds of what a score gained on float, and as text with the mean's standard error."""
    unit = 1 if runs[0]["metric"] == "accuracy" else -1  # more accuracy is better, more error is worse
    each = [
        100 * (score - run["float"]) / (1 if unit > 0 else run["float"])
        for run, score in zip(runs, scores, strict=True)
    ]
    text = f"{round(np.mean(each), 2) + 0.0:+.2f}" + (" %" if unit < 0 else "")  # + 0.0: no minus before zero
    if len(each) > 1:
        text += f" ± {np.std(each, ddof=1) / np.sqrt(len(each)):.2f}"
    return unit * float(np.mean(each)), text


def difference(runs: list[dict[str, Any]], stage: str, runtime: str) -> str:
    """Int8 less float; bold where it is worse than the limit."""
    gain, text = change(runs, [run[stage][runtime] for run in runs])
    return f"**{text}**" if gain < -LIMITS[stage][runs[0]["metric"] != "accuracy"] - 1e-9 else text


def row_of(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """A line of the table, of all seeds of an architecture with a recipe."""
    first = runs[0]

    def text(values: list[float]) -> str:
        return f"{100 * np.mean(values):.1f} %" if first["metric"] == "accuracy" else f"{np.mean(values):.3f}"

    row: dict[str, Any] = {
        "architecture": first["architecture"] + ("" if first["recipe"] == "int8" else f", {first['recipe']}"),
        "task": zoo_models.ZOO[first["architecture"]].task,
        "weights": first["weights"],
        "seeds": len(runs),
        "test samples": first["samples"],
        "trivial": text([first["trivial"]]),
        "float": text([run["float"] for run in runs]),
    }
    done = [run for run in runs if "refused" not in run]
    for stage in LIMITS:
        for runtime in RUNTIMES:
            row[f"{stage}, {runtime}"] = difference(done, stage, runtime) if done else ""
    row["file, kB"] = f"{done[0]['bytes'] / 1000:.1f}" if done else ""
    row["arena, kB"] = f"{done[0]['arena'] / 1000:.1f}" if done and "arena" in done[0] else ""
    refused = [run["refused"] for run in runs if "refused" in run]
    if refused:
        row["file, kB"] = refused[0].replace("|", "\\|")
    return row


def write(every: dict[str, Any]) -> None:
    """The tables of all runs so far: of the zoo and, where it was asked for, of fine-tuning on labels."""
    rows, labels = [], []
    for name in zoo_models.ZOO:
        for recipe in ALSO.get(name, ("int8",)):
            runs = [run for run in every.values() if (run["architecture"], run["recipe"]) == (name, recipe)]
            runs.sort(key=lambda run: run["seed"])
            if runs:
                rows.append(row_of(runs))
            runs = [run for run in runs if "on labels" in run]
            if runs:
                row = {"architecture": rows[-1]["architecture"], "seeds": len(runs)}
                for kind in ("float", "fake_quant"):
                    row[f"{kind}, on labels"] = change(runs, [run["on labels"][kind] for run in runs])[1]
                scores = [run["fine-tuned"]["fake_quant"] for run in runs]
                labels.append(row | {"fake_quant, on the float model's answers": change(runs, scores)[1]})
    tables.write("zoo", rows, NOTE, every)
    if labels:
        tables.write("zoo_labels", labels, LABELS_NOTE)


NOTE = (
    "Architectures of benchmarks/zoo_models.py, int8, mode `sequence`. Float: accuracy in %, else the mean absolute "
    "error (GW; of ECG in its deviations); mean of the seeds, on the whole test part. Then int8 less float on the "
    "same samples, in points of accuracy or % of the error, mean of the seeds ± its standard error; **bold** where "
    "that mean is worse than the limit of 0.5 points or 2 % calibrated, 0.2 points or 1 % fine-tuned. Trivial: most "
    "frequent class, the day before, the mean beat. The test windows of watch activity are one person's and overlap "
    "by 90 %. It is calibrated with a percentile of 90: a knock on the watch is far above all else. Fine-tuned, all "
    "in the same way: on the float model's answers to the train part, for 3/8 of the float training's epochs, with a "
    "learning rate that falls by a cosine from 1/50 of its own; kept is what is best on the validation part, which "
    "may be the calibrated model. `keywords` are synthetic speech. kB = 1000 bytes; file and arena of the first seed."
)


LABELS_NOTE = (
    "The zoo's fine-tuning on the labels instead of the float model's answers, for the float model (the control) and "
    "the int8 one, less the float model before, on the test part in Keras; points of accuracy or % of the error, mean"
    " of the seeds ± its standard error. On labels the float model moves as well, to and fro by seed."
)


def main() -> int:
    options, names = [a for a in sys.argv[1:] if a.startswith("-")], [a for a in sys.argv[1:] if a[0] != "-"]
    names = names or list(zoo_models.ZOO)
    unknown = sorted(set(names) - set(zoo_models.ZOO)) + sorted(set(options) - {"--again", "--labels"})
    if unknown:
        print(f"Expected architectures among {', '.join(zoo_models.ZOO)}, got {', '.join(unknown)}.", file=sys.stderr)
        return 2
    before = tables.RESULTS / "zoo.json"
    every: dict[str, Any] = json.loads(before.read_text()).get("values", {}) if before.is_file() else {}
    for seed in range(int(os.environ.get("KGP_BENCH_SEEDS", "3"))):
        for name in names:
            for recipe in ALSO.get(name, ("int8",)):
                key = f"{name} {recipe} {seed}"
                if "--labels" in options:
                    if key in every and "on labels" not in every[key]:
                        on_labels(every[key])
                        write(every)
                elif "--again" in options or "refused" in every.get(key, {"refused": ""}):
                    every[key] = measure(name, seed, recipe)
                    write(every)
    return 0


if __name__ == "__main__":
    sys.exit(main())
