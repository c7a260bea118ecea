"""Whole models for the export tests: one of each way that layers are put together, small and untrained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import keras_gru_plus as kgp

L = keras.layers
#: Features as sensors give them: a pressure, an acceleration, a position, a current, and one that never varies.
MEANS, DEVIATIONS = (1013.0, 0.0, -3e4, 0.002, 0.0), (5.0, 1.0, 2e3, 1e-4, 0.0)


def _gru(units: int, **options: Any) -> kgp.GRUPlus:
    """With biases that are not zero, as after training."""
    options = {"variant": "mgu", **options}
    return kgp.GRUPlus(units, bias_initializer=keras.initializers.RandomNormal(0, 0.3, seed=1), **options)


def _cell(units: int, **options: Any) -> kgp.GRUPlusCell:
    options = {"variant": "mgu", **options}
    return kgp.GRUPlusCell(units, bias_initializer=keras.initializers.RandomNormal(0, 0.3, seed=1), **options)


def _signal(name: str = "signal") -> Any:
    return keras.Input((12, 5), name=name)


def _after_training(model: keras.Model) -> keras.Model:
    """Statistics and scales that are not those of a new BatchNormalization."""
    generator = np.random.default_rng(5)
    for layer in model._flatten_layers():
        if isinstance(layer, L.BatchNormalization):
            layer.set_weights([generator.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    return model


def _sequential(*layers: Any, source: Any = None) -> Callable[[], keras.Model]:
    def build() -> keras.Model:
        x = first = source() if source else _signal()
        for layer in layers:
            x = layer()(x)
        return _after_training(keras.Model(first, x))

    return build


def _residual() -> keras.Model:
    signal = _signal()
    x = L.Conv1D(8, 3, padding="causal", activation="relu")(signal)
    y = _gru(8, return_sequences=True)(x)
    return keras.Model(signal, L.Dense(3)(_gru(6)(L.ReLU()(L.Add()([x, y])))))


def _two_of_each() -> keras.Model:
    left, right = _signal("left"), _signal("right")
    both = L.Concatenate()([_gru(6)(left), _gru(7, variant="gru")(right)])
    a, b = L.Dense(8, "relu")(both), L.Dense(8, "sigmoid")(both)
    gated = L.Multiply()([a, b])
    mixed = L.Concatenate()([L.Subtract()([gated, a]), both, L.Average()([a, b])])
    return keras.Model(
        [left, right], [L.Dense(4, "softmax", name="classes")(mixed), L.Dense(2, name="numbers")(gated)]
    )


def _joined_inputs() -> keras.Model:
    left, right = _signal("left"), _signal("right")
    return keras.Model([left, right], L.Dense(3)(_gru(8)(L.Concatenate()([left, L.Rescaling(0.1)(right)]))))


def _siamese() -> keras.Model:
    left, right = _signal("left"), _signal("right")
    inner = _signal("inner")
    encoder = keras.Model(inner, L.Dense(4, "relu", name="head")(_gru(6, name="cell")(inner)), name="encoder")
    return keras.Model(
        [left, right], L.Dense(1, "sigmoid", name="head")(L.Subtract()([encoder(left), encoder(right)]))
    )


def _encoder_decoder() -> keras.Model:
    signal = _signal()
    x, state = _gru(6, return_state=True, name="encoder")(signal)
    x = _gru(6, return_sequences=True, name="decoder")(L.RepeatVector(4)(x), initial_state=state)
    return keras.Model(signal, L.TimeDistributed(L.Dense(2))(x))


def _started() -> keras.Model:
    signal, other = _signal("left"), _signal("right")
    start = L.Dense(6, "tanh")(L.GlobalAveragePooling1D()(other))
    return keras.Model([signal, other], L.Dense(3)(_gru(6, variant="gru")(signal, initial_state=start)))


def _tokens() -> Any:
    return keras.Input((12,), name="tokens", dtype="int32")


#: name → (build, runs hop by hop).
ARCHITECTURES: dict[str, tuple[Callable[[], keras.Model], bool]] = {
    "keyword": (
        _sequential(
            lambda: L.Conv1D(8, 3, strides=2, padding="causal", use_bias=False),
            L.BatchNormalization,
            L.ReLU,
            lambda: L.ZeroPadding1D((2, 0)),
            lambda: L.SeparableConv1D(6, 3),
            L.BatchNormalization,
            lambda: L.ReLU(6.0),
            lambda: L.MaxPooling1D(2),
            lambda: _gru(8, name="gru"),
            lambda: L.Dense(4, "softmax", name="classes"),
        ),
        True,
    ),
    "dilated": (
        _sequential(
            lambda: L.Conv1D(6, 3, dilation_rate=2, padding="causal", activation="tanh"),
            lambda: _gru(8, return_sequences=True),
            lambda: L.Conv1D(4, 2, strides=2, padding="causal", activation="leaky_relu"),
            lambda: _gru(6, variant="gru", return_sequences=True),
            lambda: L.Dense(3),
        ),
        True,
    ),
    "image": (
        _sequential(
            lambda: L.Reshape((12, 5, 1)),
            lambda: L.ZeroPadding2D(((2, 0), (1, 1))),
            lambda: L.Conv2D(4, 3, strides=(2, 2), activation="relu"),
            lambda: L.TimeDistributed(L.Flatten()),
            lambda: _gru(6),
            lambda: L.Dense(3),
        ),
        True,
    ),
    "depthwise": (
        _sequential(
            lambda: L.DepthwiseConv1D(3, padding="same", depth_multiplier=2),
            L.BatchNormalization,
            L.ELU,
            lambda: L.AveragePooling1D(2, padding="same"),
            lambda: _gru(6),
            L.BatchNormalization,
            lambda: L.Dense(3),
        ),
        False,
    ),
    "frames": (
        _sequential(
            lambda: L.Reshape((6, 2, 5)),
            lambda: L.TimeDistributed(L.Conv1D(4, 2)),
            lambda: L.TimeDistributed(L.BatchNormalization()),
            lambda: L.TimeDistributed(L.Activation("hard_silu")),
            lambda: L.TimeDistributed(L.GlobalMaxPooling1D()),
            lambda: _gru(6),
            lambda: L.Dense(3),
        ),
        False,
    ),
    "pooled": (
        _sequential(
            L.BatchNormalization,
            lambda: L.Dense(8),
            lambda: L.Dropout(0.1),
            L.ReLU,
            lambda: _gru(6, return_sequences=True),
            L.GlobalAveragePooling1D,
            lambda: L.Dense(3, "softmax"),
        ),
        False,
    ),
    "moved": (
        _sequential(
            lambda: L.Permute((2, 1)),
            lambda: L.ZeroPadding1D((1, 2)),
            lambda: L.Cropping1D((0, 1)),
            lambda: L.UpSampling1D(2),
            lambda: L.GaussianNoise(0.1),
            lambda: L.SpatialDropout1D(0.1),
            lambda: L.Dense(6, "hard_tanh"),
            lambda: _gru(6),
            lambda: L.Dense(3),
        ),
        False,
    ),
    "both_ways": (
        _sequential(
            lambda: L.Bidirectional(_gru(5, return_sequences=True)),
            lambda: L.Bidirectional(_gru(4, variant="gru", return_sequences=True), merge_mode="sum"),
            lambda: L.Bidirectional(_gru(4), merge_mode="ave"),
            lambda: L.Dense(3),
        ),
        False,
    ),
    "normalized": (
        _sequential(
            lambda: L.Normalization(axis=None, mean=0.7, variance=4.0),
            lambda: _gru(6),
            lambda: L.Dense(3),
        ),
        True,
    ),
    "features": (
        _sequential(
            lambda: L.Normalization(mean=MEANS, variance=np.square(DEVIATIONS)),
            lambda: _gru(6),
            lambda: L.Dense(3),
        ),
        True,
    ),
    "normalized_hops": (
        _sequential(
            lambda: L.Normalization(mean=[0.5, 0, -0.5, 0, 1], variance=[4.0, 2, 1, 4, 3]),
            lambda: L.Conv1D(6, 3, strides=2, padding="causal", activation="relu"),
            lambda: _gru(6),
            lambda: L.Dense(3),
        ),
        True,
    ),
    "normalized_inside": (
        _sequential(
            lambda: _gru(5, return_sequences=True),
            lambda: L.Normalization(mean=[0.5, 0, -0.5, 0, 1], variance=[4.0, 2, 1, 4, 3]),
            lambda: _gru(6),
            lambda: L.Dense(3),
        ),
        True,
    ),
    "text": (
        _sequential(
            lambda: L.Embedding(30, 6, mask_zero=True, embeddings_initializer="normal"),
            lambda: _gru(8),
            lambda: L.Dense(3, "softmax"),
            source=_tokens,
        ),
        True,
    ),
    "tagger": (
        _sequential(
            lambda: L.Embedding(30, 6, mask_zero=True, embeddings_initializer="normal"),
            lambda: L.Bidirectional(_gru(5, return_sequences=True)),
            lambda: L.TimeDistributed(L.Dense(4, "softmax")),
            source=_tokens,
        ),
        False,
    ),
    "masked": (
        _sequential(
            L.Masking,
            lambda: _gru(6, return_sequences=True),
            lambda: _gru(5, variant="gru"),
            lambda: L.Dense(3),
        ),
        True,
    ),
    "masked_apart": (
        _sequential(L.Masking, lambda: _gru(6, variant="cifg", return_sequences=True), lambda: L.Dense(3)),
        False,
    ),
    "cells": (
        _sequential(
            lambda: L.RNN([_cell(6, variant="gru"), _cell(5, variant="cifg"), _cell(7)], return_sequences=True),
            lambda: L.RNN(_cell(6, variant="ran")),
            lambda: L.Dense(3),
        ),
        True,
    ),
    "masked_cells": (
        _sequential(
            L.Masking,
            lambda: L.Bidirectional(L.RNN([_cell(5, variant="cifg"), _cell(4)], return_sequences=True)),
            lambda: L.Dense(3),
        ),
        False,
    ),
    "residual": (_residual, True),
    "two_of_each": (_two_of_each, True),
    "joined_inputs": (_joined_inputs, True),
    "siamese": (_siamese, True),
    "encoder_decoder": (_encoder_decoder, False),
    "started": (_started, False),
}


def inputs_of(name: str) -> tuple[str, ...]:
    """Names of an architecture's inputs."""
    if name in ("text", "tagger"):
        return ("tokens",)
    return ("left", "right") if name in ("two_of_each", "joined_inputs", "siamese", "started") else ("signal",)


def adapt(name: str, data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Signals as the architecture reads them: ended by zeros where it has masks, as tokens where it looks up."""
    if name == "features":
        return {key: np.float32(x * np.array(DEVIATIONS) + np.array(MEANS)) for key, x in data.items()}
    if name not in ("text", "tagger") and not name.startswith("masked"):
        return data
    found = {}
    for key, x in data.items():
        ends = 3 + np.arange(len(x)) % (x.shape[1] - 2)
        inside = np.arange(x.shape[1])[None] < ends[:, None]
        tokens = 1 + (np.abs(x[..., 0]) * 1000).astype(np.int32) % 29
        found[key] = tokens * inside if key == "tokens" else x * inside[..., None]
    return found
