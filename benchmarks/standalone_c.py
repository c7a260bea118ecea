"""A time step as standalone C on emulated cores: instructions and bytes of code, GRU and MGU."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tables

import keras_gru_plus as kgp
from keras_gru_plus_export import convert, tflite
from keras_gru_plus_export.devices import bare_metal, host
from keras_gru_plus_export.standalone import compile_step
from keras_gru_plus_export.standalone.graph import read

STEPS = 50
GATES: dict[str, dict[str, Any]] = {
    "smooth": {},
    "saturating": {"activation": "hard_tanh", "recurrent_activation": kgp.activations.HardSigmoid(0.25)},
}
NOTE = (
    "A step of 32 units on 28 features with a classifier of 10, int8, as C by `--with c`, compiled with gcc -O2 and "
    f"run by QEMU: instructions, the average of {STEPS} steps. Outputs and states of every step are TFLite Micro's "
    "integers. Code and constants on the M4, in bytes."
)


def built(variant: str, options: dict[str, Any]) -> bytes:
    keras.utils.set_random_seed(0)
    layer = kgp.GRUPlus(32, variant=variant, name=variant, **options)
    model = keras.Sequential([keras.Input((28, 28), name="x"), layer, keras.layers.Dense(10, name="logits")])
    samples = np.random.default_rng(0).normal(0, 1, (64, 28, 28)).astype(np.float32)
    return convert(kgp.calibrate(kgp.quantize_aware(model), samples), mode="step", target="tflm")


def wanted(data: bytes, x: np.ndarray, state: str) -> np.ndarray:
    """TFLite Micro's outputs and states of every step, the state carried on."""
    shapes = {end["name"]: end["shape"] for end in host.describe(tflite.load(data))["inputs"]}
    fed = {"x": x.reshape(1, len(x), *shapes["x"])}
    outputs = host.run(data, fed, runtime="tflm", mode="step")
    return np.concatenate([outputs[name].reshape(len(x), -1) for name in ("logits", state)], axis=1)


def main() -> None:
    rows = []
    for variant in ("gru", "mgu"):
        for gates, options in GATES.items():
            data = built(variant, options)
            graph, sources = read(data), compile_step(data)
            x = np.random.default_rng(0).integers(-128, 128, (STEPS, 28)).astype(np.int8)
            row: dict[str, Any] = {"variant": variant, "gates": gates}
            expected = wanted(data, x, f"state_{variant}")
            for core in bare_metal.CORES:
                run = bare_metal.run(sources, graph, x, core=core)
                np.testing.assert_array_equal(run.outputs, expected, err_msg=core)
                row[core.removeprefix("cortex-").upper()] = f"{run.instructions / 1000:.1f}k"
                if core == "cortex-m4":
                    sizes = {"code": run.code, "constants": run.constants}
            rows.append(row | sizes)
    tables.write("standalone_c", rows, NOTE)


if __name__ == "__main__":
    main()
