"""Whole models in quantization-aware form: what they compute, that they train, that they are saved."""

from __future__ import annotations

import re
from typing import Any

import keras
import numpy as np
import pytest
from architectures import ARCHITECTURES
from export_models import ALL, calibrated, converted

import keras_gru_plus as kgp
from keras_gru_plus_export import tflite
from keras_gru_plus_export.data import Data
from keras_gru_plus_export.devices import cortex_m55, host
from keras_gru_plus_export.summary import _coarse_features

IN_TIERS = [
    pytest.param(name, marks=() if name in ("keyword", "text", "siamese") else pytest.mark.slow)
    for name in ARCHITECTURES
]


def inputs(name: str, samples: int, seed: int = 0) -> dict[str, np.ndarray]:
    return ALL[name].data(samples, seed)


def flat(outputs: Any) -> list[np.ndarray]:
    return [np.asarray(output) for output in keras.tree.flatten(outputs)]


@pytest.mark.parametrize("name", IN_TIERS)
def test_recipe_none_is_the_float_model_and_int8_is_near_it(name: str) -> None:
    keras.utils.set_random_seed(1)
    model = ARCHITECTURES[name][0]()
    x = inputs(name, 32)
    given = [x[key] for key in x] if len(x) > 1 else next(iter(x.values()))
    wanted = flat(model.predict(given, verbose=0))
    for got, output in zip(flat(kgp.quantize_aware(model, "none").predict(given, verbose=0)), wanted, strict=True):
        np.testing.assert_allclose(got, output, rtol=0, atol=1e-6)
    quantized = kgp.calibrate(kgp.quantize_aware(model), x)
    for got, output in zip(flat(quantized.predict(given, verbose=0)), wanted, strict=True):
        error = np.abs(got - output).mean() / np.abs(output).mean()
        assert 0 < error < 0.12  # 8 bits, a few operators, a dozen steps of feedback


@pytest.mark.parametrize("name", IN_TIERS)
def test_training_moves_weights_and_ranges_and_all_is_saved(name: str, tmp_path: Any) -> None:
    model = calibrated(name)
    model.save(tmp_path / "model.keras")
    trained = keras.saving.load_model(tmp_path / "model.keras")
    x = inputs(name, 32, seed=4)
    given = [x[key] for key in x] if len(x) > 1 else next(iter(x.values()))
    before = flat(model.predict(given, verbose=0))
    for got, output in zip(flat(trained.predict(given, verbose=0)), before, strict=True):
        np.testing.assert_array_equal(got, output)
    targets = [1.0 * (output > np.median(output)) for output in before]  # what it does already, but sharper
    keras.utils.set_random_seed(2)
    trained.compile(keras.optimizers.Adam(0.01), ["mse"] * len(targets))
    statistics = _statistics(trained)
    weights, ranges = trained.float_model().get_weights(), trained.taps.get_weights()
    history = trained.fit(given, targets, epochs=4, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    moved = [np.any(a != b) for a, b in zip(weights, trained.float_model().get_weights())]
    assert sum(moved) == len(trained.trainable_weights)
    assert any(np.any(a != b) for a, b in zip(ranges, trained.taps.get_weights()))
    for old, new in zip(statistics, _statistics(trained), strict=True):
        np.testing.assert_array_equal(old, new)  # folded into kernels, they stay


@pytest.mark.skipif(not cortex_m55.available(), reason=str(cortex_m55.unavailable()))
@pytest.mark.parametrize("name", IN_TIERS)
def test_a_cortex_m55_gives_what_the_wheel_gives(name: str) -> None:
    """CMSIS-NN's kernels where the wheel has the reference ones."""
    data = converted(name, "sequence", target="tflm")
    model = tflite.load(data)
    ends = {key: model.subgraphs[0].tensors[i] for key, i in tflite.signature(model).inputs.items()}
    integers = {
        key: array
        if tflite.grid(ends[key]) is None
        else host.quantize(array, tflite.grid(ends[key]), np.dtype("int8"))
        for key, array in inputs(name, 3, seed=3).items()
    }
    wanted = host.run(data, integers, runtime="tflm", mode="sequence")
    got = cortex_m55.run(data, integers).outputs
    for key, array in wanted.items():
        assert len(np.unique(array)) > 2
        np.testing.assert_array_equal(got[key].reshape(array.shape), array)


def _statistics(model: keras.Model) -> list[Any]:
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    return [weight.numpy() for layer in norms for weight in (layer.moving_mean, layer.moving_variance)]


def test_features_on_different_scales_are_warned_of_where_no_normalization_parts_them() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(0, [100.0, 1.0], (64, 6, 2)).astype(np.float32)

    def warned(x: np.ndarray, *layers: Any) -> list[str]:
        model = keras.Sequential([keras.Input((6, 2), name="x"), *layers, kgp.GRUPlus(3)])
        return _coarse_features(kgp.calibrate(kgp.quantize_aware(model), x), Data({"x": x}))

    for front in ([], [keras.layers.Rescaling(0.1)], [keras.layers.Normalization(None, mean=2.0, variance=9.0)]):
        (warning,) = warned(x, *front)
        assert re.search(
            r"Input 'x' has one scale .* 1 of 2 move .*\(feature 1 over 2\.\d\): put a keras\.lay", warning
        )
    assert warned(x, keras.layers.Normalization(mean=[0.0, 0.0], variance=[1e4, 1.0])) == []
    assert warned(x[..., :1] * [1.0, 0.5]) == []
