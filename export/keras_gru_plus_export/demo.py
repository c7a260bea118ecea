"""The main job on real data: train on watch activity, fine-tune for int8, export, verify, report."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import keras
import numpy as np

from keras_gru_plus import cells
from keras_gru_plus.datasets import Dataset, Split, watch_activity
from keras_gru_plus.initializers import Chrono
from keras_gru_plus.layer import GRUPlus
from keras_gru_plus.quantization import FreezeRanges, QuantizedModel, calibrate, quantize_aware

from .bundle import build_report, write
from .data import Data
from .directory import replaced_directory
from .graph import MODES
from .progress import Progress
from .report import Report, Stage

BATCH = 64
#: Memory that MGU's gates start with, in time steps (chosen on subject 7).
MEMORY = 30
#: Of the windows' extremes: a knock on the watch is six times as large as all else, and a grid wide enough for it
#: would be too coarse for the rest (chosen on subject 7).
PERCENTILE = 90.0


@dataclasses.dataclass(frozen=True)
class Budget:
    """How long to train; chosen on subject 7 (validation), the same for every layer.

    Attributes:
        epochs: of float training.
        fine_tuning: epochs of quantization-aware training.
        learning_rate, fine_tuning_rate: at the start; both fall along a cosine.
    """

    epochs: int = 8
    fine_tuning: int = 3
    learning_rate: float = 5e-3
    fine_tuning_rate: float = 1e-3


FULL = Budget()
QUICK = Budget(epochs=1, fine_tuning=1)


def load() -> Dataset:
    """Watch activity, standardized; training windows overlap by 90 %, the others by half."""
    dense = watch_activity(hop=10).train
    return dataclasses.replace(watch_activity(), train=dense).standardized()


def build(layer: keras.layers.Layer, data: Dataset) -> keras.Model:
    """A classifier of windows: one recurrent layer and a softmax."""
    window = keras.Input(data.train.x.shape[1:], name="window")
    features = keras.layers.Dropout(0.2, name="dropout")(layer(window))
    classes = keras.layers.Dense(len(data.classes), activation="softmax", name="activity")(features)
    return keras.Model(window, classes, name=f"watch_{layer.name}")


def recurrent_layer(variant: str, units: int, **options: Any) -> keras.layers.Layer:
    """`GRUPlus` of a variant, or Keras' own GRU for "keras"."""
    if variant == "keras":
        return keras.layers.GRU(units, name="keras_gru")
    if variant == "mgu":  # with gates half open it forgets too fast to learn long movements
        options.setdefault("bias_initializer", Chrono(MEMORY, seed=0))
    return GRUPlus(units, variant=variant, name=variant, **options)


def fit(
    model: keras.Model,
    data: Dataset,
    epochs: int,
    rate: float,
    text: str,
    progress: Progress,
    callbacks: tuple[keras.callbacks.Callback, ...] = (),
) -> None:
    """Trains with AdamW, label smoothing and a cosine schedule."""
    steps = -(-len(data.train) // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(rate, epochs * steps)
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=0.05, clipnorm=1.0),
        keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
    )
    targets = keras.utils.to_categorical(data.train.y, len(data.classes))
    with progress.bar(text, epochs) as advance:
        count = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: advance())
        model.fit(data.train.x, targets, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[*callbacks, count])


def fine_tune(model: QuantizedModel, data: Dataset, budget: Budget, progress: Progress) -> None:
    """Quantization-aware training; the ranges stay fixed in the last third."""
    freeze = FreezeRanges(max(1, budget.fine_tuning * 2 // 3))
    text = f"fine-tuning with fake quantization, {budget.fine_tuning} epochs"
    fit(model, data, budget.fine_tuning, budget.fine_tuning_rate, text, progress, (freeze,))


def accuracy(model: keras.Model, split: Split) -> float:
    """Share of windows with the right class."""
    prediction = np.asarray(model.predict(split.x, verbose=0, batch_size=256))
    return float((prediction.argmax(axis=-1) == split.y).mean())


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
        progress.say("converting to .tflite: sequence, step, stateful")
        report, files = build_report(
            quantized,
            list(MODES),
            Data({"window": data.test.x}, {"activity": data.test.y}),
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
            progress=progress.say,
        )
        model.save(folder / "float.keras")
        quantized.save(folder / "quantized.keras")
        write(folder, report, files, progress.say)
    return report
