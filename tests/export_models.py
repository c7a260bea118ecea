"""Models that the export tests share; each is trained a little, calibrated and converted once per session."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from architectures import ARCHITECTURES, adapt, inputs_of

import keras_gru_plus as kgp
from keras_gru_plus_export import convert


def _sequences(samples: int, seed: int, timesteps: int = 12, features: int = 5) -> np.ndarray:
    """Smooth random signals, about -3 to 3."""
    generator = np.random.default_rng(seed)
    phase = generator.uniform(0, 6, (samples, 1, features))
    speed = generator.uniform(0.1, 1, (samples, 1, features))
    steps = np.arange(timesteps)[None, :, None]
    return (2 * np.sin(speed * steps + phase) + generator.normal(0, 0.3, (samples, timesteps, features))).astype("f")


@dataclasses.dataclass(frozen=True)
class Spec:
    """A model to export.

    Attributes:
        build: makes it, untrained.
        steps: it can run step by step.
        inputs: names of its inputs.
        recipe: of its quantization.
        masked: the input has columns that are masks.
        architecture: name in `ARCHITECTURES`.
    """

    build: Callable[[], keras.Model]
    steps: bool = True
    inputs: tuple[str, ...] = ("signal",)
    recipe: str = "int8"
    masked: bool = False
    architecture: str | None = None

    def data(self, samples: int, seed: int) -> dict[str, np.ndarray]:
        found = {name: _sequences(samples, seed + i) for i, name in enumerate(self.inputs)}
        if self.masked:  # two values, their mask, and times
            x = found[self.inputs[0]]
            x[..., 2:4] = x[..., 2:4] > -1
            x[..., 4] = np.abs(x[..., 4])
        return adapt(self.architecture, found) if self.architecture else found


def _biased(units: int, **options: Any) -> kgp.GRUPlus:
    """With biases that are not zero, as after training."""
    return kgp.GRUPlus(units, bias_initializer=keras.initializers.RandomNormal(0, 0.3, seed=1), **options)


def _classifier(variant: str = "gru", variant_options: Any = None, **options: Any) -> keras.Model:
    options["variant"] = {"name": variant, **(variant_options or {})}
    signal = keras.Input((12, 5), name="signal")
    x = _biased(8, name="gru", **options)(signal)
    return keras.Model(signal, keras.layers.Dense(4, activation="softmax", name="classes")(x))


def _stacked() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((12, 5), name="signal"),
            keras.layers.TimeDistributed(keras.layers.Dense(6, activation="relu"), name="front"),
            _biased(8, variant="mgu", return_sequences=True, name="first"),
            keras.layers.Dropout(0.1),
            _biased(7, variant="gru", return_sequences=True, name="second"),
            keras.layers.Dense(3, name="per_step"),
        ]
    )


def _mixed() -> keras.Model:
    """Two inputs, two outputs, a shared tensor, activations of their own."""
    signal, other = keras.Input((12, 5), name="signal"), keras.Input((12, 5), name="other")
    shared = keras.layers.Dense(6, name="shared")(signal)
    first = _biased(8, variant="mgu", activation="hard_tanh", recurrent_activation="hard_sigmoid", name="left")(
        shared
    )
    second = keras.layers.Dense(4, activation="tanh", name="squashed")(
        _biased(6, variant="coupled", name="right")(other)
    )
    a = keras.layers.Activation("sigmoid", name="gate")(keras.layers.Dense(3, name="left_logits")(first))
    b = keras.layers.ReLU(name="positive")(second)
    return keras.Model([signal, other], [a, b, keras.layers.ReLU(name="per_step")(shared)])


def _flattened() -> keras.Model:
    signal = keras.Input((12, 5), name="signal")
    x = _biased(4, return_sequences=True, go_backwards=True, name="gru")(signal)
    x = keras.layers.Flatten()(keras.layers.Reshape((6, 8))(x))
    return keras.Model(signal, keras.layers.Softmax(name="classes")(keras.layers.Dense(3)(x)))


def _states() -> keras.Model:
    signal = keras.Input((12, 5), name="signal")
    sequence, state = _biased(6, variant="mgu", return_sequences=True, return_state=True, name="gru")(signal)
    return keras.Model(signal, [sequence, keras.layers.Dense(2, name="head")(state)])


HARD = {"activation": "hard_tanh", "recurrent_activation": kgp.activations.HardSigmoid(0.25)}


def _variant(name: str, **options: Any) -> Spec:
    return Spec(functools.partial(_classifier, variant=name, **options), masked=name == "grud")


MODELS = {
    **{variant: _variant(variant) for variant in kgp.VARIANTS},
    **{f"{variant}_hard": _variant(variant, **HARD) for variant in kgp.VARIANTS},
    "gru_low_rank": _variant("gru", variant_options={"rank": 2, "recurrent_rank": 3}),
    "cfc_elapsed": _variant("cfc", variant_options={"elapsed": True}),
    "qrnn_wide": _variant("qrnn", variant_options={"width": 3}),
    "mingru_log_space": _variant("mingru", activation="log_space"),
    "mgu_zoneout": _variant("mgu", variant_options={"zoneout": 0.1}),
    "star_relu": _variant("star", activation="relu"),
    "gru_before": Spec(functools.partial(_classifier, reset_after=False)),
    "gru_per_channel": Spec(functools.partial(_classifier), recipe="int8_per_channel"),
    "no_bias": Spec(functools.partial(_classifier, use_bias=False)),
    "stacked": Spec(_stacked),
    "mixed": Spec(_mixed, inputs=("signal", "other")),
    "flattened": Spec(_flattened, steps=False),
    "states": Spec(_states),
}

WHOLE = {
    name: Spec(build, steps, inputs_of(name), architecture=name) for name, (build, steps) in ARCHITECTURES.items()
}
MODELS |= WHOLE

#: Models with a look-up table, and one with weights per channel, have no int16x8 form; of whole models these will do.
NOT_WIDE = (
    *(name for name in WHOLE if name not in ("encoder_decoder", "features")),
    "egru",
    "grud",
    "grud_hard",
    "mingru_log_space",
    "gru_per_channel",
)
WIDE = {
    f"{name}_int16": dataclasses.replace(spec, recipe="int16x8")
    for name, spec in MODELS.items()
    if name not in NOT_WIDE
}
ALL = MODELS | WIDE

#: Variants that have something of their own to export; the others are tested in the slow tier.
OWN = (
    "gru",
    "mgu",
    "coupled",
    "cifg",
    "janet",
    "qrnn",
    "egru",
    "fastgrnn",
    "grud",
    "gru_hard",
    "mgu_hard",
    "brc_hard",
)
LATER = [name for name in (*kgp.VARIANTS, *(f"{v}_hard" for v in kgp.VARIANTS)) if name not in OWN]
LATER += [name for name in WHOLE if name not in ("features", "keyword", "text")]
LATER += [name for name in WIDE if name not in ("gru_int16", "mgu_hard_int16", "fastgrnn_int16", "mixed_int16")]


def in_tiers(cases: Any) -> list[Any]:
    """Test parameters, models or tuples that start with one, of which those of `LATER` are slow."""
    found = []
    for case in cases:
        values = case if isinstance(case, tuple) else (case,)
        found.append(pytest.param(*values, marks=pytest.mark.slow if values[0] in LATER else ()))
    return found


@functools.cache
def calibrated(name: str) -> Any:
    """The model with its ranges set."""
    keras.utils.set_random_seed(1)
    spec = ALL[name]
    return kgp.calibrate(kgp.quantize_aware(spec.build(), spec.recipe), spec.data(64, seed=0))


@functools.cache
def converted(name: str, mode: str, **options: Any) -> bytes:
    """Its file in one mode."""
    return convert(calibrated(name), mode=mode, **options)
