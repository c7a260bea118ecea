"""Writes models of Keras 2 into a directory, with what they compute; for a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras as keras

L = keras.layers


def chain(*layers: Any, shape: tuple[int, ...] = (12, 5), **options: Any) -> keras.Model:
    signal = x = keras.Input(shape, name="signal", **options)
    for layer in layers:
        x = layer(x)
    return keras.Model(signal, x)


def gru(**options: Any) -> Any:
    return L.GRU(4, **options)


def two_inputs() -> keras.Model:
    left, right = keras.Input((12, 5), name="left"), keras.Input((12, 5), name="right")
    shared = gru()
    return keras.Model([left, right], L.Dense(3)(L.Subtract()([shared(left), shared(right)])))


def initial_states() -> keras.Model:
    signal = keras.Input((12, 5), name="signal")
    start = L.Dense(4, "tanh")(L.GlobalAveragePooling1D()(signal))
    x, state = gru(return_state=True)(signal, initial_state=start)
    return keras.Model(signal, gru(return_sequences=True)(L.RepeatVector(3)(x), initial_state=[state]))


def nested() -> keras.Model:
    """Called several times, and as outputs."""
    inside, signal = keras.Input((12, 5)), keras.Input((12, 5), name="signal")
    functional = keras.Model(inside, gru()(L.Dense(4, "relu")(inside)), name="functional")
    sequential = keras.Sequential([keras.Input((12, 5)), L.Dense(4), gru()], name="sequential")
    x = L.Add()([functional(signal), sequential(signal), sequential(L.ReLU()(signal))])
    return keras.Model(signal, [L.Dense(3)(x), sequential(L.ReLU(6.0)(signal)), functional(L.ReLU()(signal))])


def adapted() -> keras.Model:
    normalization = L.Normalization()
    normalization.adapt(np.random.default_rng(0).normal(1, 2, (50, 12, 5)))
    return chain(normalization, gru(), L.Dense(3))


MODELS: dict[str, Callable[[], keras.Model]] = {
    "reset_after": lambda: keras.Sequential([gru(input_shape=(12, 5), name="gru"), L.Dense(3, "softmax", name="y")]),
    "reset_before": lambda: chain(gru(reset_after=False), L.Dense(3)),
    "stack": lambda: chain(gru(return_sequences=True, dropout=0.1), gru(go_backwards=True), L.Dense(3)),
    "cells": lambda: chain(L.Bidirectional(L.RNN([L.GRUCell(3), L.GRUCell(2)])), L.Dense(3)),
    "both_ways": lambda: chain(L.Bidirectional(gru(return_sequences=True), merge_mode="sum"), L.Bidirectional(gru())),
    "convolutions": lambda: chain(
        L.Conv1D(6, 3, padding="causal", use_bias=False),
        L.BatchNormalization(),
        L.LeakyReLU(0.1),
        L.SeparableConv1D(6, 2),
        L.SpatialDropout1D(0.1),
        L.DepthwiseConv1D(2),
        L.MaxPooling1D(2),
        gru(),
        L.Dense(3),
    ),
    "image": lambda: chain(
        L.Reshape((12, 5, 1)), L.Conv2D(4, 3), L.DepthwiseConv2D(2), L.TimeDistributed(L.Flatten()), gru(), L.Dense(3)
    ),
    "text": lambda: chain(L.Embedding(30, 6, mask_zero=True), gru(), L.Dense(3), shape=(12,), dtype="int32"),
    "hard_sigmoid": lambda: chain(
        L.Dense(4, "hard_sigmoid"), L.Activation("hard_sigmoid"), gru(recurrent_activation="hard_sigmoid")
    ),
    "mixed_precision": lambda: chain(gru(dtype="mixed_float16"), L.Dense(3, dtype="float32")),
    "two_inputs": two_inputs,
    "initial_states": initial_states,
    "nested": nested,
    "adapted": adapted,
    # What cannot be read.
    "lambda": lambda: chain(L.Lambda(lambda x: 2 * x), gru()),
    "operation": lambda: (lambda signal: keras.Model(signal, gru()(2.0 * signal)))(keras.Input((12, 5))),
    "time_major": lambda: chain(gru(time_major=True)),
}


class Own(keras.Model):
    """Its layers are in its code only."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.gru = gru()

    def call(self, x: Any) -> Any:
        return self.gru(x)


def main(folder: Path) -> None:
    x = np.random.default_rng(0).normal(size=(4, 12, 5)).astype(np.float32)
    for name, build in MODELS.items():
        model = build()
        for seed, weight in enumerate(model.trainable_weights):
            weight.assign(np.random.default_rng(seed).normal(0, 0.5, weight.shape))
        given = (np.abs(x[..., 0]) * 10).astype(np.int32) % 30 if name == "text" else x
        outputs = model([given, given[::-1]] if name == "two_inputs" else given)
        np.savez(
            folder / f"{name}.npz",
            x=given,
            **{f"y{i}": y for i, y in enumerate(outputs if isinstance(outputs, list) else [outputs])},
        )
        model.compile("adam", "mse")
        model.save(folder / f"{name}.h5")
        model.save(folder / f"{name}.keras")
    own = Own()
    own(x)
    own.save(folder / "own.keras")
    own.save_weights(folder / "own.h5")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
