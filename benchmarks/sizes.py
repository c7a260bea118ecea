"""File and arena of a recurrent layer: 28 features, 28 steps, 32 units, per-tensor weights, default options."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tables

import keras_gru_plus as kgp
from keras_gru_plus_export import analyze, convert, tflite
from keras_gru_plus_export.devices import host

NOTE = (
    "28 features, 28 steps, 32 units, random weights and biases, int8, per-tensor weights, target litert. "
    "kB = 1000 bytes. Arena: the smallest with which the tflite-micro wheel (64-bit) allocates and invokes."
)


GATES: dict[str, dict[str, Any]] = {
    "smooth": {},
    "saturating": {"activation": "hard_tanh", "recurrent_activation": kgp.activations.HardSigmoid(0.25)},
}


def model_of(variant: str, gates: str) -> kgp.QuantizedModel:
    """A quantized model of one layer."""
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(0, 1, (64, 28, 28)).astype(np.float32)
    signal = keras.Input((28, 28), name="x")
    bias = keras.initializers.RandomNormal(0, 0.3)
    layer = kgp.GRUPlus(32, variant=variant, bias_initializer=bias, name="layer", **GATES[gates])
    return kgp.calibrate(kgp.quantize_aware(keras.Model(signal, layer(signal))), x)


def main() -> None:
    x = np.random.default_rng(0).normal(0, 1, (1, 28, 28)).astype(np.float32)
    rows = []
    for variant in ("gru", "mgu", "coupled"):  # of all variants, one mode: variants.py
        for gates in GATES:
            model = model_of(variant, gates)
            for mode in ("sequence", "step", "stateful"):
                data = convert(model, mode=mode)
                flat = tflite.load(data)
                grid = tflite.grid(flat.subgraphs[0].tensors[tflite.signature(flat).inputs["x"]])
                assert grid is not None
                found = analyze(data)
                arena = host.smallest_arena(data, {"x": host.quantize(x, grid)}, mode)
                rows.append(
                    {
                        "variant": variant,
                        "gates": gates,
                        "mode": mode,
                        "file, kB": f"{len(data) / 1000:.2f}",
                        "weights, kB": f"{found.weight_bytes / 1000:.2f}",
                        "arena, kB": f"{arena / 1000:.2f}",
                        "operators": sum(entry.count for entry in found.operators),
                        "MACs per invoke": found.macs,
                    }
                )
    tables.write("sizes", rows, NOTE)


if __name__ == "__main__":
    main()
