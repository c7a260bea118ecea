"""The zoo: architectures that people build with GRU layers, of stock Keras layers only, each with a task."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import keras
import numpy as np
import zoo_data
from keras import layers

import keras_gru_plus as kgp
from keras_gru_plus.quantization import QuantizedModel

#: Of the epochs and the learning rate of the float training.
FINE_TUNING, FINE_TUNING_RATE = 3 / 8, 1 / 50


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A builder (it may adapt a Normalization to the train part's inputs), its task and how it is trained.

    `quick` is the number of training samples for a test, which trains one epoch.
    """

    name: str
    build: Callable[[zoo_data.Task], keras.Model]
    task: str
    epochs: int = 8
    learning_rate: float = 5e-3
    batch_size: int = 64
    quick: int = 256

    def data(self) -> zoo_data.Task:
        # A knock on the watch is six times as large as all else.
        percentile = 90 if self.task.startswith("watch") else None
        return dataclasses.replace(zoo_data.TASKS[self.task](), percentile=percentile)


ZOO: dict[str, Architecture] = {}


def _of(task: str, **settings: float) -> Callable[[Callable], Callable]:
    def add(build: Callable[[zoo_data.Task], keras.Model]) -> Callable:
        ZOO[build.__name__] = Architecture(build.__name__, build, task, **settings)  # type: ignore[arg-type]
        return build

    return add


def _input(task: zoo_data.Task, name: str = "x") -> keras.KerasTensor:
    return keras.Input(task.train[0][name].shape[1:], name=name)


def _classes(task: zoo_data.Task) -> layers.Layer:
    """Logits are not asked for: a softmax is what people deploy."""
    target = next(iter(task.train[1].values()))
    return layers.Dense(int(target.max()) + 1, activation="softmax", name="y")


@_of("watch")
def stacked(task):
    x = inputs = _input(task)
    x = layers.GRU(32, return_sequences=True)(x)
    x = layers.Dropout(0.1)(layers.GRU(24)(x))
    return keras.Model(inputs, _classes(task)(x))


@_of("digits", epochs=20)
def rows(task):
    inputs = _input(task)
    x = layers.Dense(32, activation="relu")(layers.GRU(32)(inputs))
    return keras.Model(inputs, _classes(task)(x))


@_of("spoken")
def bidirectional(task):
    inputs = _input(task)
    return keras.Model(inputs, _classes(task)(layers.Bidirectional(layers.GRU(24))(inputs)))


@_of("watch")
def conv1d(task):
    x = inputs = _input(task)
    for filters in (16, 24):
        x = layers.Conv1D(filters, 5, padding="same", use_bias=False)(x)
        x = layers.MaxPooling1D(2)(layers.ReLU()(layers.BatchNormalization()(x)))
    return keras.Model(inputs, _classes(task)(layers.GRU(24)(x)))


@_of("keywords", epochs=7, learning_rate=3e-3)
def keyword_crnn(task):
    """Causal throughout, so that it can stream (SeparableConv1D has no such padding itself); one stride of two."""
    x = inputs = _input(task)
    x = layers.Conv1D(96, 5, strides=2, padding="causal", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    for _ in range(2):
        x = layers.SeparableConv1D(96, 5, use_bias=False)(layers.ZeroPadding1D((4, 0))(x))
        x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Dropout(0.2)(layers.GRU(96)(x))
    return keras.Model(inputs, _classes(task)(x))


@_of("words", epochs=6)
def text(task):
    inputs = _input(task)
    x = layers.Embedding(27, 16, mask_zero=True)(inputs)
    return keras.Model(inputs, _classes(task)(layers.GRU(32)(x)))


@_of("watch_steps")
def labelling(task):
    inputs = _input(task)
    x = layers.GRU(32, return_sequences=True)(inputs)
    x = layers.TimeDistributed(layers.Dense(16, activation="relu"))(x)
    return keras.Model(inputs, layers.TimeDistributed(_classes(task), name="y")(x))


@_of("demand_steps", epochs=10)
def encoder_decoder(task):
    inputs = _input(task)
    x = layers.RepeatVector(48)(layers.GRU(32)(inputs))
    x = layers.GRU(32, return_sequences=True)(x)
    return keras.Model(inputs, layers.TimeDistributed(layers.Dense(1), name="y")(x))


@_of("watch_sensors")
def two_inputs(task):
    inputs = [_input(task, "accelerometer"), _input(task, "gyroscope")]
    x = layers.Concatenate()([layers.GRU(20)(branch) for branch in inputs])
    return keras.Model(inputs, _classes(task)(x))


@_of("watch_two_outputs")
def two_outputs(task):
    inputs = _input(task)
    x = layers.GRU(32)(inputs)
    activity = layers.Dense(7, activation="softmax", name="activity")(x)
    return keras.Model(inputs, [activity, layers.Dense(1, activation="sigmoid", name="fast")(x)])


@_of("watch")
def residual(task):
    inputs = _input(task)
    x = layers.Dense(24)(inputs)
    x = layers.Add()([x, layers.GRU(24, return_sequences=True)(x)])
    return keras.Model(inputs, _classes(task)(layers.GRU(24)(x)))


@_of("ecg_normal", epochs=150, batch_size=32)
def autoencoder(task):
    inputs = _input(task)
    x = layers.Reshape((28, 5))(inputs)
    x = layers.RepeatVector(28)(layers.Dense(16)(layers.GRU(32)(x)))
    x = layers.TimeDistributed(layers.Dense(5))(layers.GRU(32, return_sequences=True)(x))
    return keras.Model(inputs, layers.Reshape((140, 1), name="y")(x))


@_of("demand_raw", epochs=10)
def normalization(task):
    inputs = _input(task)
    scale = layers.Normalization()
    scale.adapt(task.train[0]["x"])
    return keras.Model(inputs, layers.Dense(48, name="y")(layers.GRU(32)(scale(inputs))))


@_of("watch_pairs", epochs=10)
def siamese(task):
    inputs = [_input(task, "first"), _input(task, "second")]
    shared = layers.GRU(24)
    first, second = (shared(branch) for branch in inputs)
    x = layers.Concatenate()([layers.Subtract()([first, second]), layers.Multiply()([first, second])])
    return keras.Model(inputs, _classes(task)(layers.Dense(32, activation="relu")(x)))


@_of("watch")
def nested(task):
    inputs = _input(task)
    encoder = keras.Sequential(
        [keras.Input((100, 6)), layers.Dense(16, activation="relu"), layers.GRU(24)], name="encoder"
    )
    return keras.Model(inputs, _classes(task)(layers.Dropout(0.1)(encoder(inputs))))


@_of("digits", epochs=20)
def permute(task):
    inputs = _input(task)
    x = layers.Concatenate()([layers.GRU(16)(inputs), layers.GRU(16)(layers.Permute((2, 1))(inputs))])
    return keras.Model(inputs, _classes(task)(x))


@_of("watch_placed")
def initial_state(task):
    inputs, posture = _input(task), _input(task, "posture")
    state = layers.Dense(24, activation="tanh")(posture)
    return keras.Model([inputs, posture], _classes(task)(layers.GRU(24)(inputs, initial_state=state)))


@_of("spoken_masked")
def masking(task):
    inputs = _input(task)
    return keras.Model(inputs, _classes(task)(layers.GRU(32)(layers.Masking()(inputs))))


@_of("spoken")
def average_pooling(task):
    inputs = _input(task)
    x = layers.GlobalAveragePooling1D()(layers.GRU(32, return_sequences=True)(inputs))
    return keras.Model(inputs, _classes(task)(x))


@_of("ecg", epochs=40, batch_size=32)
def activations(task):
    x = inputs = _input(task)
    x = layers.LeakyReLU(0.1)(layers.Conv1D(12, 7, strides=4, padding="same")(x))
    x = layers.ELU()(layers.Dense(16)(x))
    x = layers.Dense(24, activation="hard_swish")(layers.GRU(24)(x))
    return keras.Model(inputs, _classes(task)(x))


@_of("keywords", epochs=5)
def conv2d(task):
    x = inputs = _input(task)
    x = layers.Reshape((49, 40, 1))(x)
    x = layers.Conv2D(8, (5, 8), strides=(2, 4), padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.TimeDistributed(layers.Flatten())(x)
    return keras.Model(inputs, _classes(task)(layers.GRU(40)(x)))


@_of("watch")
def depthwise(task):
    x = inputs = _input(task)
    x = layers.DepthwiseConv1D(5, strides=2, padding="same", depth_multiplier=2)(x)
    x = layers.AveragePooling1D(2)(layers.ReLU()(x))
    x = layers.GlobalMaxPooling1D()(layers.GRU(24, return_sequences=True)(x))
    return keras.Model(inputs, _classes(task)(x))


def train(architecture: Architecture, task: zoo_data.Task, *, seed: int, samples: int | None = None) -> keras.Model:
    """Build and train in float; with `samples`, one epoch of that many."""
    keras.utils.set_random_seed(seed)
    model = architecture.build(task)
    epochs = architecture.epochs if samples is None else 1
    steps = -(-len(next(iter(task.train[0].values()))[:samples]) // architecture.batch_size) * epochs
    rate = keras.optimizers.schedules.CosineDecay(architecture.learning_rate, steps)
    fit(model, task, rate, epochs, architecture.batch_size, samples=samples)
    return model


def _losses(targets: zoo_data.Arrays, classes: str) -> list[str]:
    """Cross-entropy for classes, mean absolute error for values, binary cross-entropy for shares."""
    losses = [classes if np.issubdtype(target.dtype, np.integer) else "mae" for target in targets.values()]
    if "fast" in targets:
        losses[1] = "binary_crossentropy"
    return losses


def _one_or_all(items):
    items = list(items)
    return items if len(items) > 1 else items[0]


def fit(model, task, rate, epochs, batch_size, *, samples=None) -> None:
    """On the train part, or its first `samples`."""
    inputs, targets = task.train
    losses = _losses(targets, "sparse_categorical_crossentropy")
    model.compile(keras.optimizers.Adam(rate, clipnorm=1.0), loss=_one_or_all(losses))
    model.fit(
        _one_or_all(array[:samples] for array in inputs.values()),
        _one_or_all(target[:samples] for target in targets.values()),
        batch_size=batch_size,
        epochs=epochs,
        verbose=0,
    )


def fine_tune(
    model: keras.Model, task: zoo_data.Task, architecture: Architecture, teacher: keras.Model | None = None
) -> list[float]:
    """Train with a falling rate and keep the epoch that is best on the validation part: maybe none at all.

    Args:
        model: fake-quant or float.
        teacher: whose answers `model` is to give, instead of the labels.

    Returns:
        The validation part's loss before training and after each epoch.
    """
    parts, classes = (task.train, task.validation), "sparse_categorical_crossentropy"
    losses = _losses(task.train[1], classes if teacher is None else "categorical_crossentropy")
    inputs = [_one_or_all(part[0].values()) for part in parts]
    targets = [_one_or_all(part[1].values()) for part in parts]
    if teacher is not None:
        targets = [teacher.predict(x, batch_size=256, verbose=0) for x in inputs]
    epochs = math.ceil(FINE_TUNING * architecture.epochs)
    steps = math.ceil(len(next(iter(task.train[0].values()))) / architecture.batch_size) * epochs
    rate = keras.optimizers.schedules.CosineDecay(FINE_TUNING_RATE * architecture.learning_rate, steps)
    model.compile(keras.optimizers.Adam(rate, clipnorm=1.0), loss=_one_or_all(losses))
    before = model.get_weights()
    loss = np.ravel(model.evaluate(inputs[1], targets[1], batch_size=256, verbose=0))[0]
    best = keras.callbacks.EarlyStopping(monitor="val_loss", patience=epochs, restore_best_weights=True)
    freeze = [kgp.FreezeRanges(1)] if isinstance(model, QuantizedModel) else []
    history = model.fit(
        *(inputs[0], targets[0]),
        validation_data=(inputs[1], targets[1]),
        validation_batch_size=256,
        batch_size=architecture.batch_size,
        epochs=epochs,
        verbose=0,
        callbacks=[best, *freeze],
    ).history["val_loss"]
    if min(history) > loss:
        model.set_weights(before)
    return [float(value) for value in (loss, *history)]
