"""The main job on real data: train on watch activity, fine-tune for int8, export, verify, report."""

from __future__ import annotations

import os

import keras

from keras_gru_plus import cells
from keras_gru_plus.quantization import calibrate, quantize_aware

from . import contents
from .bundle import build_report
from .compare.tasks import WATCH_PERCENTILE as PERCENTILE
from .compare.tasks import watch as load
from .data import Data, data_sha256
from .directory import replaced_directory
from .fingerprint import archived, model_sha256, samples_sha256
from .graph import MODES
from .progress import Progress
from .report import Report, Stage
from .training import Budget, accuracy, build, fine_tune, fit, recurrent_layer

FULL = Budget()
QUICK = Budget(epochs=1, fine_tuning=1)


def run(
    directory: str | os.PathLike[str],
    *,
    variant: str = "mgu",
    units: int = 32,
    quick: bool = False,
    seed: int = 0,
    force: bool = False,
    runtime_python: str | None = None,
    progress: Progress | None = None,
) -> Report:
    """Does the whole job and writes three `.tflite` files, two `.keras` models and the report into `directory`.

    Args:
        directory: for the results; must be new or empty unless `force`.
        variant, units: of the GRUPlus layer.
        quick: few epochs, to see it work; the accuracies mean nothing then.
        seed: of weights, order and dropout.
        force: replace the directory.
        runtime_python: Python of an environment with tflite-runtime.
        progress: where to show it.

    Raises:
        ValueError: unknown variant, units below 1.
        FileExistsError: see `directory`.
    """
    progress = progress or Progress()
    budget = QUICK if quick else FULL
    cells.get(variant)
    if units < 1:
        raise ValueError(f"Expected `units` to be 1 or more, got {units}.")
    with replaced_directory(directory, force) as folder:
        progress.say("loading watch activity: 10 people's wrists, 7 exercises, 2 s windows at 50 Hz")
        data = load()
        stages = []
        keras.utils.set_random_seed(seed)
        baseline = build(recurrent_layer("keras", units), data)
        fit(baseline, data, budget.epochs, budget.learning_rate, f"training keras.layers.GRU({units})", progress)
        stages.append(Stage(f"keras.layers.GRU({units}), float", accuracy(baseline, data.test)))
        keras.utils.set_random_seed(seed)
        model = build(recurrent_layer(variant, units), data)
        text = f"training GRUPlus({units}, variant={variant!r}), {budget.epochs} epochs"
        fit(model, data, budget.epochs, budget.learning_rate, text, progress)
        stages.append(Stage(f"GRUPlus {variant}, float", accuracy(model, data.test)))
        progress.say("calibrating on the training windows")
        quantized = calibrate(quantize_aware(model), data.train.x, percentile=PERCENTILE)
        stages.append(Stage(f"GRUPlus {variant}, int8, calibrated only", accuracy(quantized, data.test)))
        fine_tune(quantized, data, budget, progress)
        stages.append(Stage(f"GRUPlus {variant}, int8, fine-tuned", accuracy(quantized, data.test)))
        evaluation = Data({"window": data.test.x}, {"activity": data.test.y})
        sources = {
            "model": model_sha256(quantized),
            "calibration": samples_sha256({"window": data.train.x}),
            "evaluation": data_sha256(evaluation),
        }
        progress.say("converting to .tflite: sequence, step, stateful")
        report, files = build_report(
            quantized,
            list(MODES),
            evaluation,
            "evaluation",
            target="litert",
            io="int8",
            float_model=model,
            labels=list(data.classes),
            metric=None,
            keep_names=False,
            runtime_python=runtime_python,
            names={mode: f"{mode}.tflite" for mode in MODES},
            title=f"Watch activity, GRUPlus({units}, variant={variant!r})",
            stages=stages,
            sources=sources,
            progress=progress.say,
        )
        progress.say("writing the report")
        models = {"float.keras": archived(model), "quantized.keras": archived(quantized)}
        return contents.write(folder, report, files | models)
