"""Instructions, file and arena of target tflm on an emulated Cortex-M55: 28 features, 28 steps, 32 units, per tensor.

Instruction counts are exact and repeat; they are not cycles.
"""

from __future__ import annotations

import itertools
import sys

import keras
import numpy as np
import tables

import keras_gru_plus as kgp
from keras_gru_plus_export import convert, tflite
from keras_gru_plus_export.devices import cortex_m55, host

STEPS, FEATURES, UNITS, PROVEN = 28, 28, 32, 50
#: Layers → modes, and steps an iteration.
CASES = {
    1: (("sequence", 1), ("sequence", 4), ("sequence", 7), ("sequence", 28), ("step", 1)),
    2: (("sequence", 1), ("sequence", 4), ("step", 1)),
}
GATES = {
    "smooth": {},
    "saturating": {"activation": "hard_tanh", "recurrent_activation": kgp.activations.HardSigmoid(0.25)},
}
NOTE = (
    "TFLite Micro with CMSIS-NN, emulated Cortex-M55; target tflm, int8, per-tensor weights, random weights and "
    "biases. Instructions of one time step: in `sequence` a 28th of one invoke, the loop included. kB = 1000 bytes; "
    "arena as the device reports it. Steps an iteration: option `steps_per_iteration`, 1 unless given. Two layers "
    "are stacked, with 32 units each. The device runs one invoke each time it is switched on and reads its inputs "
    "one after the other from one place, so a `step` file is counted with input and state packed there. Proven: time "
    f"steps whose int8 outputs are the tflite-micro wheel's, bit for bit; for `step`, {PROVEN} steps, each with the "
    "state that the device gave at the one before; for `sequence` with 1 step an iteration, one invoke of a file for "
    f"{PROVEN} steps."
)


def model_of(variant: str, gates: str, layers: int = 1) -> kgp.quantization.QuantizedModel:
    """A quantized model of one layer or of several that are stacked, its time dimension open."""
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(0, 1, (64, STEPS, FEATURES)).astype(np.float32)
    y = signal = keras.Input((None, FEATURES), name="x")
    bias = keras.initializers.RandomNormal(0, 0.3)
    for number in range(layers, 0, -1):
        options = {"bias_initializer": bias, "return_sequences": number > 1, **GATES[gates]}
        y = kgp.GRUPlus(UNITS, variant=variant, name=f"before{number}" if number > 1 else "layer", **options)(y)
    return kgp.calibrate(kgp.quantize_aware(keras.Model(signal, y)), x)


def samples(*shape: int) -> np.ndarray:
    """Integers all over the range."""
    return np.random.default_rng(1).integers(-128, 128, shape).astype(np.int8)


def states(data: bytes) -> list[str]:
    """Names of a file's states."""
    return [name for name in tflite.signature(tflite.load(data)).inputs if name.startswith("state_")]


def counted(data: bytes, mode: str) -> cortex_m55.Run:
    """One invoke, instructions counted."""
    inputs = {"x": samples(1, STEPS if mode == "sequence" else 1, FEATURES)}
    if mode == "step":
        inputs |= {name: samples(1, UNITS) for name in states(data)}
    return cortex_m55.run(data, inputs, count=True)


def proven(model: kgp.quantization.QuantizedModel, data: bytes, mode: str, per_iteration: int) -> int:
    """Time steps whose outputs were compared with the wheel's; raises AssertionError at the first that differs."""
    if mode == "sequence":
        long = convert(model, target="tflm", timesteps=PROVEN) if per_iteration == 1 else data
        steps = PROVEN if per_iteration == 1 else STEPS
        x = {"x": samples(1, steps, FEATURES)}
        same(cortex_m55.run(long, x).outputs, host.run(long, x, runtime="tflm", mode="sequence"))
        return steps
    x = samples(1, PROVEN, FEATURES)
    wanted = host.run(data, {"x": x}, runtime="tflm", mode="step")
    inputs: dict[str, np.ndarray] = {}
    for step in range(PROVEN):
        outputs = cortex_m55.run(data, {"x": x[:, step : step + 1], **inputs}).outputs
        inputs = {name: outputs[name] for name in states(data)}
        same({"layer": outputs["layer"]}, {"layer": wanted["layer"][:, step]})
    return PROVEN


def same(got: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    """Raises AssertionError where outputs differ."""
    for name, array in wanted.items():
        np.testing.assert_array_equal(got[name].reshape(array.shape), array, err_msg=name)


def main() -> int:
    if not cortex_m55.available() or not host.available("tflm"):
        print(f"Skipped: {cortex_m55.unavailable() or 'tflite-micro is not installed'}.", file=sys.stderr)
        return 0
    rows, details = [], {}
    for layers, variant, gates in itertools.product((1, 2), ("gru", "mgu"), GATES):
        model = model_of(variant, gates, layers)
        for mode, per_iteration in CASES[layers]:
            timesteps = STEPS if mode == "sequence" else None
            options = {"mode": mode, "timesteps": timesteps, "steps_per_iteration": per_iteration}
            data = convert(model, target="tflm", **options)
            run = counted(data, mode)
            steps = STEPS if mode == "sequence" else 1
            rows.append(
                {
                    "layers": layers,
                    "variant": variant,
                    "gates": gates,
                    "mode": mode,
                    "steps an iteration": per_iteration if mode == "sequence" else "–",
                    "instructions a step": f"{run.instructions / steps / 1000:.1f}k",
                    "file, kB": f"{len(data) / 1000:.2f}",
                    "arena, kB": f"{run.arena / 1000:.2f}",
                    "proven steps": proven(model, data, mode, per_iteration),
                }
            )
            details[f"{layers} {variant} {gates} {mode} {per_iteration}"] = {
                "instructions": run.instructions,
                "file": len(data),
                "arena": run.arena,
                "functions": dict(list(run.functions.items())[:12]),
            }
    tables.write("cortex_m55", rows, NOTE, details)
    return 0


if __name__ == "__main__":
    sys.exit(main())
