"""What the check of the input space's edges found, case by case."""

from __future__ import annotations

import os
from typing import Any

import keras
import numpy as np
import pytest

import keras_gru_plus as kgp
from keras_gru_plus_export import ConversionError, convert, tflite
from keras_gru_plus_export.devices import host

TFLITE_PYTHON = os.environ.get("KGP_TFLITE_RUNTIME_PYTHON")


def calibrated(recipe: str = "int8", scale: float = 1.0, features: int = 3, units: int = 4, **options: Any) -> Any:
    """A layer and a classifier of each of its steps, its kernels `scale` times as large as they were made."""
    signal = keras.Input((2, features), name="signal")
    layer = kgp.GRUPlus(units, return_sequences=True, name="rnn", **options)
    model = keras.Model(signal, keras.layers.Dense(3, name="classes")(layer(signal)))
    for weight in layer.trainable_weights:
        if "bias" in weight.name:
            weight.assign(np.full(weight.shape, 0.3))
        else:
            weight.assign(weight * scale)
    return kgp.calibrate(kgp.quantize_aware(model, recipe), windows(features))


def windows(features: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, (4, 2, features)).astype(np.float32)


def compared(model: Any, data: bytes, runtime: str, most: int) -> None:
    """The file's outputs against the fake-quant model's."""
    flat = tflite.load(data)
    ends, tensors = tflite.signature(flat), flat.subgraphs[0].tensors
    into, out = (tflite.grid(tensors[index]) for index in (ends.inputs["signal"], ends.outputs["classes"]))
    assert into is not None
    assert out is not None
    x = windows(model.inputs[0].shape[-1])
    python = TFLITE_PYTHON if runtime.startswith("tflite-runtime") else None
    found = host.run(data, {"signal": host.quantize(x, into)}, runtime=runtime, mode="sequence", python=python)
    wanted = np.asarray(model(x))
    assert len(np.unique(wanted)) > 2
    assert np.abs(found["classes"] - np.rint(wanted / out.scale) - out.zero_point).max() <= most


@pytest.mark.parametrize("recipe", ["int8", "int8_per_channel"])
def test_kernels_of_zeros_keep_their_bias(recipe: str) -> None:
    model = calibrated(recipe, scale=0.0)
    compared(model, convert(model), "litert", 3)


def test_one_feature_stays_a_matmul() -> None:
    model = calibrated(units=1, features=1)
    data = convert(model, mode="step")
    names = [tflite.op_name(flat, op) for flat in [tflite.load(data)] for op in flat.subgraphs[0].operators]
    assert names[-2:].count("FULLY_CONNECTED") == 1


@pytest.mark.skipif(not TFLITE_PYTHON, reason="no environment with tflite-runtime")
def test_channels_have_a_bias_even_of_zeros_and_all_time_steps() -> None:
    model = calibrated("int8_per_channel", variant="cfn", units=127)
    data = convert(model)
    flat = tflite.load(data)
    for graph in flat.subgraphs:
        for op in graph.operators:
            if tflite.op_name(flat, op) == "FULLY_CONNECTED":
                assert len(op.inputs) == 3
                assert op.inputs[2] >= 0
                assert len(graph.tensors[op.inputs[0]].shape) == 2
    compared(model, data, "tflite-runtime-reference", 3)


def test_values_that_no_kernel_can_scale_are_refused_by_name() -> None:
    model = calibrated(scale=1e6, activation="hard_tanh", recurrent_activation="hard_sigmoid")
    with pytest.raises(ConversionError, match=r"Expected values of like size around 'rnn/.*FULLY_CONNECTED"):
        convert(model)
    with pytest.raises(ValueError, match=r"Expected values up to 1e\+30 at 'rnn/.* got .* in float arithmetic; try"):
        calibrated(scale=1e36)
