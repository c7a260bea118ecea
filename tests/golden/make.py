"""Writes what this version of the project exports: PYTHONPATH=. python tests/golden/make.py FOLDER.

Files of earlier versions stay in this directory, and the tests load them all: what someone exported once goes on
working. Public names only, so that the same script runs with an earlier version.
"""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_gru_plus as kgp
from keras_gru_plus import cells
from keras_gru_plus.activations import HardSigmoid
from keras_gru_plus_export import convert

TIMESTEPS, FEATURES, SAMPLES = 12, 4, 6


def models() -> dict[str, Any]:
    """Float models by name: each a family of layers whose files differ."""
    x = keras.Input((TIMESTEPS, FEATURES), name="signal")
    random = {"bias_initializer": keras.initializers.RandomNormal(0, 0.3, seed=3)}

    def ended(hidden: Any, name: str) -> Any:
        return keras.Model(x, keras.layers.Dense(3, activation="softmax", name="classes")(hidden), name=name)

    hard = {"activation": "hard_tanh", "recurrent_activation": HardSigmoid(0.25)}
    convolved = keras.layers.Conv1D(5, 3, padding="causal", activation="relu", name="conv")(x)
    return {
        "gru": ended(kgp.GRUPlus(6, name="recurrent", **random)(x), "gru"),
        "mgu": ended(kgp.GRUPlus(6, variant="mgu", name="recurrent", **hard, **random)(x), "mgu"),
        "fastgrnn": ended(
            kgp.GRUPlus(6, variant=cells.VARIANTS["fastgrnn"](recurrent_rank=2), name="recurrent", **random)(x),
            "fastgrnn",
        ),
        "stock": kgp.from_keras(ended(keras.layers.GRU(5, name="recurrent", **random)(convolved), "stock")),
    }


def main(folder: Path) -> None:
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    x = np.cumsum(generator.normal(0, 0.5, (64, TIMESTEPS, FEATURES)), axis=1).astype(np.float32)
    keras.utils.set_random_seed(0)
    for name, model in models().items():
        quantized = kgp.calibrate(kgp.quantize_aware(model), x)
        model.save(folder / f"{name}-float.keras")
        quantized.save(folder / f"{name}-quantized.keras")
        for mode in ("sequence", "step"):
            (folder / f"{name}-{mode}.tflite").write_bytes(convert(quantized, mode=mode))
        few = x[:SAMPLES]
        np.savez_compressed(
            folder / f"{name}.npz",
            x=few,
            float=model.predict(few, verbose=0),
            quantized=quantized.predict(few, verbose=0),
        )
    packages = ("keras-gru-plus", "keras", "tensorflow", "numpy", "ai-edge-litert")
    made = {name: metadata.version(name) for name in packages}
    (folder / "versions.json").write_text(json.dumps(made, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
