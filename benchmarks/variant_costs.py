"""What a step of every variant costs on an emulated Cortex-M55: 28 features, 32 units, target tflm.

Instruction counts are exact and repeat; they are not cycles.
"""

from __future__ import annotations

import sys

import keras
import numpy as np
import tables

import keras_gru_plus as kgp
from keras_gru_plus_export import analyze, convert, tflite
from keras_gru_plus_export.devices import cortex_m55, host

STEPS, FEATURES, UNITS = 28, 28, 32
NOTE = (
    "One layer, each variant with the activations of its paper, int8, per-tensor weights, random weights and biases, "
    f"mode `step`, target tflm; {FEATURES} features ({FEATURES + 1} for grud: values, masks and a time), "
    f"{UNITS} units. Instructions of one step: TFLite Micro with CMSIS-NN on an emulated Cortex-M55, input and "
    "states packed one after the other. kB = 1000 bytes; arena as the device reports it. The outputs of the first "
    "step from a zero state are the tflite-micro wheel's, bit for bit, for every row."
)


def samples(variant: str) -> np.ndarray:
    """Noise `(64, steps, features)`; for grud values, a mask and gaps."""
    rng = np.random.default_rng(0)
    if variant != "grud":
        return rng.normal(0, 1, (64, STEPS, FEATURES)).astype(np.float32)
    values = rng.normal(0, 1, (64, STEPS, FEATURES // 2))
    masks = rng.random(values.shape) < 0.8
    gaps = rng.uniform(0.5, 1.5, (64, STEPS, 1))
    return np.concatenate([values, masks, gaps], axis=-1).astype(np.float32)


def main() -> int:
    if not cortex_m55.available() or not host.available("tflm"):
        print(f"Skipped: {cortex_m55.unavailable() or 'tflite-micro is not installed'}.", file=sys.stderr)
        return 0
    rows, details = [], {}
    for variant in kgp.VARIANTS:
        keras.utils.set_random_seed(0)
        x = samples(variant)
        signal = keras.Input((None, x.shape[-1]), name="x")
        bias = keras.initializers.RandomNormal(0, 0.3)
        layer = kgp.GRUPlus(UNITS, variant=variant, bias_initializer=bias, name="layer")
        data = convert(
            kgp.calibrate(kgp.quantize_aware(keras.Model(signal, layer(signal))), x), mode="step", target="tflm"
        )
        flat = tflite.load(data)
        grid = tflite.grid(flat.subgraphs[0].tensors[tflite.signature(flat).inputs["x"]])
        assert grid is not None
        first = {"x": host.quantize(x[:1, :1], grid)}
        run = cortex_m55.run(data, first, count=True)
        wanted = host.run(data, first, runtime="tflm", mode="step")["layer"]
        np.testing.assert_array_equal(run.outputs["layer"].reshape(wanted.shape), wanted, err_msg=variant)
        row = {
            "variant": variant,
            "instructions a step": f"{run.instructions / 1000:.1f}k",
            "operators": sum(entry.count for entry in analyze(data).operators),
            "file, kB": f"{len(data) / 1000:.2f}",
            "arena, kB": f"{run.arena / 1000:.2f}",
        }
        rows.append(row)
        details[variant] = {"instructions": run.instructions, "file": len(data), "arena": run.arena}
        print(row, flush=True)
    tables.write("variant_costs", rows, NOTE, details)
    return 0


if __name__ == "__main__":
    sys.exit(main())
