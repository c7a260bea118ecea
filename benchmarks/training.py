"""Seconds of one training step, side by side in one run: Keras' GRU, GRUPlus in float and with fake quantization.

PyTorch's nn.GRU takes part where torch is installed. Each candidate is warmed up (compiled), then all take turns; the
least time of the rounds counts, and ratios to `keras.layers.GRU` in the same mode say more than seconds do.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable

import keras
import numpy as np
import tables

import keras_gru_plus as kgp

TIMESTEPS, FEATURES, UNITS, BATCH = 100, 40, 128, 64
ROUNDS, STEPS = 5, 4
NOTE = (
    f"{TIMESTEPS} steps, {FEATURES} features, {UNITS} units, batch {BATCH}; forward, backward and Adam; the least of "
    f"{ROUNDS} rounds of {STEPS} steps on a CPU. XLA is what `compile()` chooses by default."
)


def _data() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    x = generator.normal(0, 1, (BATCH, TIMESTEPS, FEATURES)).astype(np.float32)
    return x, generator.integers(0, 10, BATCH)


def _keras_step(layer: keras.layers.Layer, *, jit: bool, quantized: bool = False) -> Callable[[], None]:
    x, y = _data()
    signal = keras.Input((TIMESTEPS, FEATURES))
    model = keras.Model(signal, keras.layers.Dense(10, activation="softmax")(layer(signal)))
    if quantized:
        model = kgp.calibrate(kgp.quantize_aware(model), x)
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=jit)
    return lambda: model.train_on_batch(x, y)


def _torch_step() -> Callable[[], None]:
    import torch

    x, y = (torch.from_numpy(array) for array in _data())
    layer, head = torch.nn.GRU(FEATURES, UNITS, batch_first=True), torch.nn.Linear(UNITS, 10)
    optimizer = torch.optim.Adam([*layer.parameters(), *head.parameters()])

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(head(layer(x)[0][:, -1]), y).backward()
        optimizer.step()

    return step


def main() -> None:
    steps: dict[tuple[str, str], Callable[[], None]] = {}
    for jit, mode in ((False, "graph"), (True, "XLA")):
        steps["keras.layers.GRU", mode] = _keras_step(keras.layers.GRU(UNITS), jit=jit)
        for variant in kgp.VARIANTS:
            steps[variant, mode] = _keras_step(kgp.GRUPlus(UNITS, variant=variant), jit=jit)
        for variant in ("gru", "mgu"):
            layer = kgp.GRUPlus(UNITS, variant=variant)
            steps[f"{variant}, fake-quant", mode] = _keras_step(layer, jit=jit, quantized=True)
    if importlib.util.find_spec("torch"):
        steps["torch.nn.GRU", "eager"] = _torch_step()
    least = dict.fromkeys(steps, float("inf"))
    for step in steps.values():
        step()
        step()
    for _ in range(ROUNDS):
        for name, step in steps.items():
            start = time.perf_counter()
            for _ in range(STEPS):
                step()
            least[name] = min(least[name], (time.perf_counter() - start) / STEPS)
    rows = []
    for (name, mode), seconds in least.items():
        keras_seconds = least["keras.layers.GRU", mode if mode != "eager" else "graph"]
        floats = least.get((name.removesuffix(", fake-quant"), mode))
        rows.append(
            {
                "layer": name,
                "mode": mode,
                "ms a step": f"{1000 * seconds:.1f}",
                "to keras.layers.GRU": f"{seconds / keras_seconds:.2f}",
                "to its float step": f"{seconds / floats:.2f}" if name.endswith("quant") and floats else "",
            }
        )
    tables.write("training", rows, NOTE)


if __name__ == "__main__":
    main()
