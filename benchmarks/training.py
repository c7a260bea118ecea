"""Seconds of one training step, side by side in one run: Keras' GRU, GRUPlus in float and with fake quantization.

PyTorch's nn.GRU and the mingru-keras package take part where they are installed (`pip install -e '.[bench]'`). Each
candidate is warmed up (compiled), then all take turns; the least time of the rounds counts, and ratios to
`keras.layers.GRU` in the same mode say more than milliseconds do.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable

import keras
import numpy as np
import tables
import tensorflow as tf

import keras_gru_plus as kgp

FEATURES, UNITS, BATCH = 40, 128, 64
SHORT, LONG = 100, 512
FEW = ("gru", "mgu", "coupled", "lightru", "fastgrnn0", "mingru", "sru1", "qrnn")
SCANS = tuple(name for name, cell in kgp.VARIANTS.items() if cell.scan)
ROUNDS, STEPS = 6, 3
NOTE = (
    f"{FEATURES} features, {UNITS} units, batch {BATCH}; forward, backward and Adam; the least of {ROUNDS} rounds of "
    f"{STEPS} steps on a CPU. `compile()` chooses graph mode on a CPU; XLA is jit_compile=True. mingru, sru1 and "
    "qrnn train by an associative scan. Times depend on the machine "
    "and what else it does: compare within the table."
)
Step = Callable[[], object]


def _data(timesteps: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    x = generator.normal(0, 1, (BATCH, timesteps, FEATURES)).astype(np.float32)
    return x, generator.integers(0, 10, BATCH)


def _keras_step(layer: keras.layers.Layer, timesteps: int, *, jit: bool, quantized: bool = False) -> Step:
    x, y = _data(timesteps)
    signal = keras.Input((timesteps, FEATURES))
    output = layer(signal)
    if len(output.shape) == 3:  # mingru-keras gives the whole sequence, without its shape in a graph
        output = keras.ops.reshape(output, (-1, timesteps, UNITS))[:, -1]
    model = keras.Model(signal, keras.layers.Dense(10, activation="softmax")(output))
    if quantized:
        model = kgp.calibrate(kgp.quantize_aware(model), x)
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=jit)
    return lambda: model.train_on_batch(x, y)


def _torch_step(timesteps: int) -> Step:
    import torch

    x, y = (torch.from_numpy(array) for array in _data(timesteps))
    layer, head = torch.nn.GRU(FEATURES, UNITS, batch_first=True), torch.nn.Linear(UNITS, 10)
    optimizer = torch.optim.Adam([*layer.parameters(), *head.parameters()])

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(head(layer(x)[0][:, -1]), y).backward()
        optimizer.step()

    return step


def _candidates(timesteps: int) -> dict[tuple[str, str], Step]:
    steps: dict[tuple[str, str], Step] = {}
    for jit, mode in ((False, "graph"), (True, "XLA")):
        steps["keras.layers.GRU", mode] = _keras_step(keras.layers.GRU(UNITS), timesteps, jit=jit)
        for variant in FEW if timesteps == SHORT else SCANS:
            steps[variant, mode] = _keras_step(kgp.GRUPlus(UNITS, variant=variant), timesteps, jit=jit)
        if importlib.util.find_spec("mingru_keras"):
            from mingru_keras import MinGRU

            steps["mingru-keras", mode] = _keras_step(MinGRU(UNITS), timesteps, jit=jit)
        for variant in ("gru", "mgu") if timesteps == SHORT else ():
            layer = kgp.GRUPlus(UNITS, variant=variant)
            steps[f"{variant}, fake-quant", mode] = _keras_step(layer, timesteps, jit=jit, quantized=True)
    if importlib.util.find_spec("torch"):
        steps["torch.nn.GRU", "eager"] = _torch_step(timesteps)
    return steps


def _least(steps: dict[tuple[str, str], Step]) -> dict[tuple[str, str], float]:
    least = dict.fromkeys(steps, float("inf"))
    for name, step in list(steps.items()):
        try:
            step()
            step()
        except (tf.errors.InvalidArgumentError, ValueError):
            if name[0] != "mingru-keras":
                raise
            del steps[name]  # its scan does not train for every length and in every mode
    for _ in range(ROUNDS):
        for name, step in steps.items():
            start = time.perf_counter()
            for _ in range(STEPS):
                step()
            least[name] = min(least[name], (time.perf_counter() - start) / STEPS)
    return least


def main() -> None:
    rows = []
    for timesteps in (SHORT, LONG):
        least = _least(_candidates(timesteps))
        for (name, mode), seconds in least.items():
            if seconds == float("inf"):
                rows.append({"timesteps": timesteps, "layer": name, "mode": mode, "ms a step": "does not train"})
                continue
            reference = least["keras.layers.GRU", mode if mode != "eager" else "graph"]
            floats = least.get((name.removesuffix(", fake-quant"), mode), seconds)
            rows.append(
                {
                    "timesteps": timesteps,
                    "layer": name,
                    "mode": mode,
                    "ms a step": f"{1000 * seconds:.1f}",
                    "to keras.layers.GRU": f"{seconds / reference:.2f}",
                    "to its float step": f"{seconds / floats:.2f}" if name.endswith("quant") else "",
                }
            )
    tables.write("training", rows, NOTE)


if __name__ == "__main__":
    main()
