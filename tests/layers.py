"""What tests of layers share: every variant built small, its inputs, masks and states, and a fresh process."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
from references import REFERENCES

import keras_gru_plus as kgp
from keras_gru_plus.cells import Cell

BATCH, TIMESTEPS = 4, 5
# For two ways to compute the same float32 sums in another order: at most some 10 roundings of 2^-24 to
# numbers below 4.
FLOAT32 = 1e-6
# (features, units) of variants that do not take any; a stack's second layer has the same units as its first, and
# its output has to be an input of the variant.
SIZES: dict[str, tuple[int, int]] = {"grud": (5, 5)}
LENGTHS = np.array([5, 3, 1, 0])  # full, two cut, and a row without a step
STEPS = np.arange(TIMESTEPS)
MASKS = {
    "right": LENGTHS[:, None] > STEPS,
    "left": LENGTHS[:, None] > STEPS[::-1],
    "holes": np.array([[1, 1, 1, 1, 1], [0, 1, 0, 1, 1], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]], bool),
}
NAMES = list(kgp.VARIANTS)


def options(name: str) -> dict:
    return {"variant": name, **REFERENCES[name].options}


def cell_of(name: str) -> Cell:
    return kgp.variants.get(options(name)["variant"])


def columns(name: str, features: int) -> int:
    """Columns of an input of `features` values."""
    cell = cell_of(name)
    if isinstance(cell, kgp.variants.GRUD):
        return 2 * features + 1
    return features + 1 if isinstance(cell, kgp.variants.CfC) and cell.elapsed else features


def draw(name: str, rng: np.random.Generator, shape: tuple[int, ...], size: float = 1.0) -> np.ndarray:
    """Inputs `(…, features)` with the further columns of the variant: masks are 0 or 1, times positive."""
    *rows, features = shape
    x = rng.normal(0, size, (*rows, columns(name, features)))
    if isinstance(cell_of(name), kgp.variants.GRUD):
        x[..., features:-1] = x[..., features:-1] > 0
        x[..., -1] = np.abs(x[..., -1])
    return x


def sizes(name):
    """Features and units."""
    return SIZES.get(name, (3, 4))


def inputs(name, batch=BATCH, timesteps=TIMESTEPS, seed=0):
    """Sequences for a variant, normally distributed."""
    features = sizes(name)[0]
    values = (features - 1) // 2 if name == "grud" else features
    return draw(name, np.random.default_rng(seed), (batch, timesteps, values)).astype(np.float32)


def layer(name, weights_of=None, **options):
    """A built layer with random weights, or with those of another."""
    features, units = sizes(name)
    made = kgp.GRUPlus(units, variant=name, **options)
    made.build((BATCH, TIMESTEPS, features))
    if weights_of is None:
        return randomized(made)
    made.set_weights(weights_of.get_weights())
    return made


def starts(made, batch=BATCH, seed=3):
    """A random initial value for each state of a built layer."""
    rng = np.random.default_rng(seed)
    return [rng.uniform(-1, 1, (batch, size)).astype(np.float32) for size in made.state_size]


def randomized(layer):
    """The layer with all trainable weights, the biases included, drawn at random."""
    rng = np.random.default_rng(1)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(0, 0.7, weight.shape).astype(np.float32))
    return layer


def close(got, wanted, tolerance=FLOAT32):
    """Asserts that all tensors agree, within `tolerance` of the greater of 1 and the value."""
    for a, b in zip(keras.tree.flatten(got), keras.tree.flatten(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def python(code, *arguments, flags=(), **environment):
    """The standard output of a fresh process."""
    done = subprocess.run(
        [sys.executable, *flags, "-c", textwrap.dedent(code), *map(str, arguments)],
        env={**os.environ, "PYTHONWARNINGS": "ignore", **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()
