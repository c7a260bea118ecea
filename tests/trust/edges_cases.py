"""Cases at the edges of the input space, drawn so that each value of each dimension comes equally often."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

import keras_gru_plus as kgp
from keras_gru_plus.cells import VARIANTS

#: Dimension → its values; one that stands twice comes twice as often. Long windows are the costly ones.
DIMENSIONS: dict[str, Sequence[Any]] = {
    "variant": tuple(VARIANTS),
    "mode": ("sequence", "step", "stateful", "all"),
    "units": (1, 2, 3, 5, 127, 130),
    "features": (1, 3, 200),
    "timesteps": (1, 2, 1, 2, 1, 2, 1, 2, 1000),
    "weights": (
        "random",
        "random",
        "random",
        "zero",
        "huge",
        "large",
        "tiny",
        "denormal",
        "uneven",
        "equal",
        "one_zero",
    ),
    "bias": ("random", "zero", "random", "none"),
    "inputs": (
        "normal",
        "normal",
        "normal",
        "zero",
        "constant",
        "tiny",
        "denormal",
        "huge",
        "dead",
        "one_window",
        "offset",
        "outlier",
    ),
    "form": ("last", "sequences", "last", "sequences", "backwards", "bidirectional"),
    "activation": ("smooth", "smooth", "saturating"),
    "head": ("dense", "none"),
    "recipe": ("int8", "int8", "int8_per_channel", "int16x8"),
    "target": ("litert", "tflm"),
}
HARD = {"activation": "hard_tanh", "recurrent_activation": "hard_sigmoid"}


@dataclasses.dataclass(frozen=True)
class Case:
    """One model, its data and how it is exported; `number` and `seed` repeat it."""

    number: int
    seed: int
    variant: str
    mode: str
    units: int
    features: int
    timesteps: int
    weights: str
    bias: str
    inputs: str
    form: str
    activation: str
    head: str
    recipe: str
    target: str

    def __str__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)}" for name in DIMENSIONS)
        return f"case {self.number} of seed {self.seed} ({values})"

    @property
    def modes(self) -> tuple[str, ...]:
        """Modes of the files; one that is no sequence is compared with the file that is."""
        if not self.takes_steps:
            return ("sequence",)
        if self.mode == "all":
            return ("sequence", "step", "stateful")
        return ("sequence",) if self.mode == "sequence" else ("sequence", self.mode)

    @property
    def takes_steps(self) -> bool:
        """Whether there can be a file for it that goes forward step by step."""
        return self.form not in ("backwards", "bidirectional")

    def generator(self, purpose: int) -> np.random.Generator:
        """Random numbers of this case alone."""
        return np.random.default_rng((self.seed, self.number, purpose))


def drawn(cases: int, seed: int, **fixed: Sequence[Any]) -> Iterator[Case]:
    """The first `cases` of a seed, for each dimension one deck after the other; `fixed` replaces values."""
    dimensions = {**DIMENSIONS, **fixed}
    decks = {name: _deck(values, f"{seed} {name}") for name, values in dimensions.items()}
    for number in range(cases):
        yield Case(number, seed, **{name: next(deck) for name, deck in decks.items()})


def _deck(values: Sequence[Any], seed: str) -> Iterator[Any]:
    shuffled = random.Random(seed)
    while True:
        yield from shuffled.sample(list(values), len(values))


def built(case: Case) -> keras.Model:
    """The float model with its weights."""
    keras.utils.set_random_seed(case.number)
    options: dict[str, Any] = dict(HARD) if case.activation == "saturating" else {}
    layer: keras.layers.Layer = kgp.GRUPlus(
        case.units,
        variant=case.variant,
        use_bias=case.bias != "none",
        return_sequences=case.form == "sequences",
        go_backwards=case.form == "backwards",
        name="rnn",
        **options,
    )
    if case.form == "bidirectional":
        layer = keras.layers.Bidirectional(layer, name="both")
    signal = keras.Input((case.timesteps, case.features), name="signal")
    output = layer(signal)
    generator = case.generator(0)
    for index, weight in enumerate(layer.trainable_weights):
        if "bias" in weight.name and (case.bias == "zero" or case.weights in ("zero", "one_zero")):
            if case.bias == "random":
                weight.assign(generator.normal(0, 0.3, weight.shape))
            continue
        value = generator.normal(0, 0.3, weight.shape) if "bias" in weight.name else np.asarray(weight)
        weight.assign(_weight(case, value, generator, first=index == 0).astype(np.float32))
    if case.head == "dense":
        output = keras.layers.Dense(3, name="classes")(output)
    return keras.Model(signal, output)


def _weight(case: Case, value: np.ndarray, generator: np.random.Generator, first: bool) -> np.ndarray:
    value, kind = np.asarray(value, np.float64), case.weights
    if kind == "zero" or (kind == "one_zero" and first):
        return np.zeros_like(value)
    if kind == "equal":
        return np.full_like(value, 0.5)
    if kind == "uneven":
        return value * 10 ** generator.uniform(-8, 8, value.shape[-1:])
    exponents = {"huge": (4, 30), "large": (0, 4), "tiny": (-30, -4), "denormal": (-42, -38)}
    return value * 10 ** generator.uniform(*exponents[kind]) if kind in exponents else value


def data(case: Case, samples: int, purpose: int) -> np.ndarray:
    """Windows `(samples, timesteps, features)` of the case's kind."""
    generator, kind = case.generator(purpose), case.inputs
    shape = (samples, case.timesteps, case.features)
    x = generator.normal(0, 1, shape)
    power = case.generator(1).uniform(0, 1)  # that of calibration and of evaluation
    if kind == "zero":
        x[:] = 0
    elif kind == "constant":
        x[:] = 0.7
    elif kind == "tiny":
        x *= 10 ** (-30 + 26 * power)
    elif kind == "denormal":
        x *= 10 ** (-44 + 5 * power)
    elif kind == "huge":
        x *= 10 ** (4 + 26 * power)
    elif kind == "dead":
        x[..., ::2] = 0
    elif kind == "offset":
        x += 1e4
    elif kind == "outlier":
        x[0, 0, 0] = 1e6
    if case.variant == "grud" and case.features % 2:  # values, whether they are there, time since
        width = case.features // 2
        x[..., width : 2 * width] = x[..., width : 2 * width] > 0
        x[..., -1] = np.abs(x[..., -1])
    return x.astype(np.float32)
