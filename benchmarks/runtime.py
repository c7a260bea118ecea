"""What `keras_gru_plus.runtime` costs over the bare interpreter: import and load, and each step."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tables

from keras_gru_plus import runtime
from keras_gru_plus.runtime.interpreters import MODULES

ROUNDS, STEPS = 7, 4000
NOTE = (
    "MGU(32) on 6 features with Dense(7), int8, mode step. Start: seconds to import keras_gru_plus.runtime and load "
    f"the file, in a new process that has imported the interpreter; the median of {ROUNDS}. Step: microseconds of "
    "`model.step` on real numbers, and of the bare interpreter's set, invoke and get of input, state and outputs, on "
    f"integers; the least of {ROUNDS} means over {STEPS} steps, the two taking turns. Times depend on the machine."
)
STARTED = """
import importlib, sys, time
importlib.import_module(sys.argv[1])
start = time.perf_counter()
import keras_gru_plus.runtime
keras_gru_plus.runtime.load(sys.argv[2], sys.argv[3])
print(time.perf_counter() - start)
"""


def built() -> bytes:
    import keras

    import keras_gru_plus as kgp
    from keras_gru_plus_export import convert

    keras.utils.set_random_seed(0)
    signal = keras.Input((100, 6), name="window")
    rnn = kgp.GRUPlus(32, variant="mgu", name="gru")(signal)
    model = keras.Model(signal, keras.layers.Dense(7, activation="softmax", name="activity")(rnn))
    x = np.random.default_rng(0).normal(0, 1, (32, 100, 6)).astype(np.float32)
    return convert(kgp.calibrate(kgp.quantize_aware(model), x), mode="step")


def start(path: Path, name: str) -> float:
    """Seconds to import and load."""
    command = [sys.executable, "-c", STARTED, MODULES[name], str(path), name]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def bare(interpreter: Any, values: list[np.ndarray]) -> float:
    """Seconds of a step of the interpreter alone, the state carried on."""
    x, state = values
    if hasattr(interpreter, "set_input"):
        begin = time.perf_counter()
        for _ in range(STEPS):
            interpreter.set_input(x, 0)
            interpreter.set_input(state, 1)
            interpreter.invoke()
            interpreter.get_output(0)
            state = interpreter.get_output(1)
    else:
        first, second = (detail["index"] for detail in interpreter.get_input_details())
        output, carried = (detail["index"] for detail in interpreter.get_output_details())
        begin = time.perf_counter()
        for _ in range(STEPS):
            interpreter.set_tensor(first, x)
            interpreter.set_tensor(second, state)
            interpreter.invoke()
            interpreter.get_tensor(output)
            state = interpreter.get_tensor(carried)
    return (time.perf_counter() - begin) / STEPS


def ours(model: runtime.Model, x: np.ndarray) -> float:
    begin = time.perf_counter()
    for _ in range(STEPS):
        model.step(x)
    return (time.perf_counter() - begin) / STEPS


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(built())
        for name in ("litert", "tflm"):
            model = runtime.load(path, name)
            x = np.random.default_rng(1).normal(0, 1, 6).astype(np.float32)
            values = [tensor.zero() for tensor in (*model.info.inputs, *model.info.states)]
            interpreter = model._interpreter.interpreter
            pairs = [(bare(interpreter, values), ours(model, x)) for _ in range(ROUNDS)]
            alone, whole = (1e6 * min(column) for column in zip(*pairs))
            rows.append(
                {
                    "runtime": name,
                    "start, s": f"{np.median([start(path, name) for _ in range(ROUNDS)]):.3f}",
                    "bare step, µs": f"{alone:.1f}",
                    "model.step, µs": f"{whole:.1f}",
                    "more, µs": f"{whole - alone:.1f}",
                }
            )
    tables.write("runtime", rows, NOTE)


if __name__ == "__main__":
    main()
