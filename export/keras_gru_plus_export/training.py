"""Building and training one-layer models on a data set: one definition for `demo` and `compare`."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np

from keras_gru_plus.datasets import Dataset, Split
from keras_gru_plus.initializers import Chrono
from keras_gru_plus.layer import GRUPlus
from keras_gru_plus.quantization import FreezeRanges, QuantizedModel

from .progress import Progress

BATCH = 64
#: Memory that MGU's gates start with on watch activity, in time steps (chosen on subject 7).
MEMORY = 30


@dataclasses.dataclass(frozen=True)
class Budget:
    """How long to train; chosen on subject 7 (validation) of watch activity, the same for every layer.

    Attributes:
        epochs: of float training.
        fine_tuning: epochs of quantization-aware training.
        learning_rate, fine_tuning_rate: at the start; both fall along a cosine.
    """

    epochs: int = 8
    fine_tuning: int = 3
    learning_rate: float = 5e-3
    fine_tuning_rate: float = 1e-3


def build(
    layer: keras.layers.Layer, data: Dataset, window: str = "window", output: str = "activity", name: str = "watch"
) -> keras.Model:
    """One recurrent layer, then a softmax for classes, or numbers for forecasts.

    Args:
        layer: gives its last output only.
        data: its train part has the shapes.
        window, output, name: of the model's input, its output, and the beginning of its own.
    """
    x = keras.Input(data.train.x.shape[1:], name=window)
    features = keras.layers.Dropout(0.2, name="dropout")(layer(x))
    columns, activation = (len(data.classes), "softmax") if data.classes else (_columns(data.train), "linear")
    y = keras.layers.Dense(columns, activation=activation, name=output)(features)
    return keras.Model(x, y, name=f"{name}_{layer.name}")


def _columns(split: Split) -> int:
    return 1 if split.y.ndim == 1 else split.y.shape[1]


def recurrent_layer(variant: Any, units: int, *, memory: int | None = MEMORY, **options: Any) -> keras.layers.Layer:
    """`GRUPlus` of a variant; Keras' own layer for "keras" (GRU), "keras.GRU", "keras.LSTM" or "keras.SimpleRNN"."""
    if isinstance(variant, str) and variant.partition(".")[0] == "keras":
        kind = variant.partition(".")[2] or "GRU"
        return getattr(keras.layers, kind)(units, name=f"keras_{kind.lower()}")
    name = variant if isinstance(variant, str) else variant.name
    if name == "mgu" and memory is not None:  # with gates half open it forgets too fast to learn long movements
        options.setdefault("bias_initializer", Chrono(memory, seed=0))
    return GRUPlus(units, variant=variant, name=name, **options)


def fit(
    model: keras.Model,
    data: Dataset,
    epochs: int,
    rate: float,
    text: str,
    progress: Progress,
    callbacks: tuple[keras.callbacks.Callback, ...] = (),
) -> None:
    """Trains with AdamW and a cosine schedule: classes with label smoothing, forecasts for their absolute error."""
    steps = -(-len(data.train) // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(rate, epochs * steps)
    loss, targets = "mae", data.train.y
    if data.classes:
        loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
        targets = keras.utils.to_categorical(targets, len(data.classes))
    model.compile(keras.optimizers.AdamW(schedule, weight_decay=0.05, clipnorm=1.0), loss)
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
