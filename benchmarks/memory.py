"""Slow memory: the adding problem over 500 steps in float, int8 and int16x8, and what 16 bits cost.

Each step brings a number in [0, 1] and a mark; the answer is the sum of the two marked numbers, of which the second
comes up to 499 steps before the end. Predicting 1 every time has a mean absolute error of 1/3.
"""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np
import tables
from ai_edge_litert.interpreter import Interpreter

import keras_gru_plus as kgp
from keras_gru_plus.initializers import Chrono
from keras_gru_plus_export import convert, tflite
from keras_gru_plus_export.devices import host

TIMESTEPS, UNITS = 500, 16
EPOCHS, FINE_TUNING, ROUNDS = 12, 3, 20
NOTE = (
    f"Adding problem, {TIMESTEPS} steps, {UNITS} units, trained at this length on 2048 sequences for {EPOCHS} "
    f"epochs (fine-tuned: {FINE_TUNING} more with fake quantization), 512 others scored, one seed; always answering "
    "1 has an error of 0.333. chrono: `bias_initializer=initializers.Chrono(500)`. Unmoved: share of the updates of "
    "a unit that leave its state exactly as it was, in Keras, on 64 sequences. Weights per tensor, mode sequence. "
    f"LiteRT: microseconds for one sequence on a CPU, the files of a row's model taking turns, the least of "
    f"{ROUNDS}. Arena: the smallest with which the tflite-micro wheel (64-bit) runs. kB = 1000 bytes."
)


def samples(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    numbers, marks, rows = generator.uniform(0, 1, (count, TIMESTEPS)), np.zeros((count, TIMESTEPS)), np.arange(count)
    first, second = (generator.integers(half, half + TIMESTEPS // 2, count) for half in (0, TIMESTEPS // 2))
    marks[rows, first] = marks[rows, second] = 1
    total = numbers[rows, first] + numbers[rows, second]
    return np.stack([numbers, marks], -1).astype(np.float32), total[:, None].astype(np.float32)


def build(variant: str, bias: Any, *, watched: bool = False) -> keras.Model:
    """The model; `watched`, with all states as a further output."""
    x = keras.Input((TIMESTEPS, 2), name="x")
    rnn = kgp.GRUPlus(
        UNITS, variant=variant, bias_initializer=bias, name="rnn", return_sequences=watched, return_state=watched
    )
    found = rnn(x)
    total = keras.layers.Dense(1, name="sum")
    return keras.Model(x, [found[0], total(found[1])] if watched else total(found))


def fit(model: keras.Model, x: np.ndarray, y: np.ndarray, epochs: int, rate: float) -> None:
    model.compile(keras.optimizers.Adam(rate, clipnorm=1.0), "mse")
    model.fit(x, y, batch_size=32, epochs=epochs, verbose=0)


def unmoved(model: keras.Model, watcher: keras.Model, x: np.ndarray) -> float:
    """Share of updates that leave a unit's state as it was."""
    watcher.set_weights(model.get_weights())
    states = np.asarray(watcher.predict(x, verbose=0)[0])
    return float((states[:, 1:] == states[:, :-1]).mean())


def on_litert(data: bytes, x: np.ndarray) -> tuple[np.ndarray, int]:
    """Outputs on LiteRT, and the arena for tflite-micro."""
    model = tflite.load(data)
    graph, ends = model.subgraphs[0], tflite.signature(model)
    tensor, grid = graph.tensors[ends.inputs["x"]], tflite.grid(graph.tensors[ends.outputs["sum"]])
    integers = host.quantize(x, tflite.grid(tensor), tflite.dtype(tensor))
    output = host.run(data, {"x": integers}, runtime="litert", mode="sequence")["sum"]
    return host.dequantize(output, grid), host.smallest_arena(data, {"x": integers[:1]}, "sequence")


def microseconds(files: dict[str, bytes]) -> dict[str, float]:
    """Least time of one invoke of each file; they take turns."""
    interpreters = {name: Interpreter(model_content=data, num_threads=1) for name, data in files.items()}
    least = dict.fromkeys(files, float("inf"))
    for interpreter in interpreters.values():
        interpreter.allocate_tensors()
    for _ in range(ROUNDS):
        for name, interpreter in interpreters.items():
            start = time.perf_counter()
            interpreter.invoke()
            least[name] = min(least[name], 1e6 * (time.perf_counter() - start))
    return least


def main() -> None:
    (x, y), (held_out, wanted) = samples(2048, 0), samples(512, 1)
    rows = []
    for name, variant, bias in (
        ("gru", "gru", "zeros"),
        ("mgu", "mgu", "zeros"),
        ("gru, chrono", "gru", Chrono(TIMESTEPS, seed=0)),
        ("mgu, chrono", "mgu", Chrono(TIMESTEPS, seed=0)),
    ):
        keras.utils.set_random_seed(0)
        model = build(variant, bias)
        fit(model, x, y, EPOCHS, 1e-2)
        watched = build(variant, bias, watched=True)
        tuned = kgp.calibrate(kgp.quantize_aware(model, "int8"), x)
        models = {
            "float": (model, watched),
            "int8": (kgp.calibrate(kgp.quantize_aware(model, "int8"), x), kgp.quantize_aware(watched, "int8")),
            "int8, fine-tuned": (tuned, kgp.quantize_aware(watched, "int8")),
            "int16x8": (
                kgp.calibrate(kgp.quantize_aware(model, "int16x8"), x),
                kgp.quantize_aware(watched, "int16x8"),
            ),
        }
        fit(tuned, x, y, FINE_TUNING, 1e-3)
        files = {key: convert(quantized) for key, (quantized, _) in models.items() if key != "float"}
        times = microseconds(files)
        for key, (made, watcher) in models.items():
            row = {
                "trained": name,
                "arithmetic": key,
                "error, Keras": f"{np.abs(made.predict(held_out, verbose=0) - wanted).mean():.4f}",
                "error, LiteRT": "",
                "unmoved, %": f"{100 * unmoved(made, watcher, held_out[:64]):.1f}",
                "file, kB": "",
                "arena, kB": "",
                "LiteRT, µs": "",
            }
            if key in files:
                outputs, arena = on_litert(files[key], held_out)
                row |= {
                    "error, LiteRT": f"{np.abs(outputs.reshape(wanted.shape) - wanted).mean():.4f}",
                    "file, kB": f"{len(files[key]) / 1000:.2f}",
                    "arena, kB": f"{arena / 1000:.2f}",
                    "LiteRT, µs": f"{times[key]:.0f}",
                }
            rows.append(row)
            print("  ", *row.values(), flush=True)
        keras.backend.clear_session()
    tables.write("memory", rows, NOTE)


if __name__ == "__main__":
    main()
