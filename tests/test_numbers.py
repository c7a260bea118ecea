"""The int8 file against the fake-quant model it came from, tap by tap and mode by mode, on every runtime."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from export_models import ALL, LATER, calibrated, converted
from replay import INTERPOLATED, SEVERAL, TFLITE_PYTHON, modes, predicted, taps_beyond_rounding

from keras_gru_plus_export import tflite
from keras_gru_plus_export.data import output_names
from keras_gru_plus_export.devices import host
from keras_gru_plus_export.streaming import recurrent_layers

NEEDS_TFLM = pytest.mark.skipif(not host.available("tflm"), reason="tflite-micro: Linux x86-64")
NEEDS_TFLITE = pytest.mark.skipif(not TFLITE_PYTHON, reason="no environment with tflite-runtime")
RUNTIMES = {
    "litert": (),
    "litert-reference": (),
    "tflm": (NEEDS_TFLM,),
    "tflite-runtime": (NEEDS_TFLITE,),
    "tflite-runtime-reference": (NEEDS_TFLITE,),
}
#: One of each family whose kernels are the same; the slow models run on the others only when asked for.
FAMILIES = ("litert", "tflm")


def on_runtimes(names: Iterable[str]) -> list[Any]:
    """Parameters (name, runtime) in their tiers."""
    found = []
    for name in names:
        for runtime, marks in RUNTIMES.items():
            later = () if name not in LATER else (pytest.mark.slow,) if runtime in FAMILIES else (pytest.mark.long,)
            found.append(pytest.param(name, runtime, marks=(*marks, *later)))
    return found


@pytest.mark.parametrize(
    ("name", "runtime"), on_runtimes(name for name, spec in ALL.items() if spec.steps and name not in SEVERAL)
)
def test_every_tap_is_within_one_lsb_when_fed_the_same_integers(name, runtime):
    assert not taps_beyond_rounding(name, runtime, samples=100, seed=7)


@pytest.mark.parametrize(("name", "runtime"), on_runtimes(ALL))
def test_modes_agree_bit_for_bit_and_with_the_fake_quant_model(name, runtime):
    """`step` and `stateful` repeat `sequence` exactly; a state feeds rounding back, up to 6 LSB off fake-quant."""
    model, flat = calibrated(name), tflite.load(converted(name, "sequence"))
    results = modes(name, runtime, samples=40, seed=3)
    assert len(results) == (3 if ALL[name].steps else 1)
    for output, fake in zip(output_names(model), predicted(name, samples=40, seed=3)):
        whole = results["sequence"][output].reshape(fake.shape)
        for found in results.values():
            np.testing.assert_array_equal(found[output].reshape(fake.shape), whole)
        grid = tflite.grid(flat.subgraphs[0].tensors[tflite.signature(flat).outputs[output]])
        difference = np.abs(whole - (np.rint(fake / grid.scale) + grid.zero_point))
        # Without a bound the state amplifies what it is fed back. 16 bits: interpolating kernels add theirs.
        bounded = all(layer.variant.bound for _, layer in recurrent_layers(model))
        wide = model.recipe.activation_bits == 16
        assert difference.max() <= (6 if bounded else 12) + (INTERPOLATED["SOFTMAX"] if wide else 0)
        assert difference.mean() <= (2.0 if wide else 1.0)
