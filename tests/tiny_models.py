"""Small int8 models for the exporter's tests: an MGU as a WHILE, a step, a hop of two, and with a variable.

`models()` converts them in a child process: warnings are errors in the tests, and TensorFlow is full of them.
"""

from __future__ import annotations

import functools
import os
import pathlib
import subprocess
import sys
import tempfile

FEATURES, UNITS, STEPS, CLASSES = 6, 8, 10, 3


def models() -> dict[str, bytes]:
    """name -> .tflite: sequence, step, same (output = state), hop, stateful, step_float (float io)."""
    found, error = _converted()
    assert not error, error
    return found


# The error is kept, too: else every test would try again.
@functools.cache
def _converted() -> tuple[dict[str, bytes], str]:
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, folder]
        done = subprocess.run(command, env={**os.environ, **quiet}, capture_output=True, text=True)
        files = {path.stem: path.read_bytes() for path in pathlib.Path(folder).glob("*.tflite")}
    return files, done.stderr[-3000:] if done.returncode else ""


def write(folder: pathlib.Path) -> None:
    """Convert every model into a folder."""
    import numpy as np
    import tensorflow as tf

    from keras_gru_plus_export import tf_lite

    rng = np.random.default_rng(0)

    def weights(*shape: int) -> tf.Tensor:
        return tf.constant(rng.normal(0, 1 / np.sqrt(shape[0]), shape).astype(np.float32))

    def fq(x: tf.Tensor, low: float, high: float) -> tf.Tensor:
        return tf.quantization.fake_quant_with_min_max_vars(x, low, high, 8)

    def unit(x: tf.Tensor) -> tf.Tensor:
        return fq(x, -1.0, 127 / 128)

    gate, candidate = weights(FEATURES + UNITS, UNITS), weights(FEATURES + UNITS, UNITS)
    head, bias = weights(UNITS, CLASSES), weights(2 * UNITS + CLASSES)

    def step(x: tf.Tensor, h: tf.Tensor) -> tf.Tensor:
        f = fq(tf.matmul(tf.concat([x, h], 1), gate) + (bias[:UNITS] + 0.5), 0.0, 255 / 256)
        c = unit(tf.matmul(tf.concat([x, unit(f * h)], 1), candidate) + bias[UNITS : 2 * UNITS])
        return unit(h + fq(f * fq(c - h, -2.0, 127 / 64), -2.0, 127 / 64))

    def dense(h: tf.Tensor) -> tf.Tensor:
        return fq(tf.matmul(h, head) + bias[2 * UNITS :], -4.0, 127 / 32)

    x_step, state = tf.TensorSpec((1, 1, FEATURES), name="x"), tf.TensorSpec((1, UNITS), name="state_mgu")

    def flat(x: tf.Tensor) -> tf.Tensor:
        return tf.reshape(unit(x), (1, FEATURES))

    class Model(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.carried = tf.Variable(tf.zeros((1, UNITS)))

        @tf.function(input_signature=[tf.TensorSpec((1, STEPS, FEATURES), name="x")])
        def sequence(self, x):
            xs, h = tf.transpose(unit(x), [1, 0, 2]), tf.zeros((1, UNITS))
            loop = tf.while_loop(
                lambda t, h: t < STEPS, lambda t, h: (t + 1, step(tf.gather(xs, t), unit(h))), [0, h]
            )
            return {"y": dense(unit(loop[1]))}

        @tf.function(input_signature=[x_step, state])
        def step(self, x, state_mgu):
            h = step(flat(x), unit(state_mgu))
            return {"y": dense(h), "state_mgu": h}

        @tf.function(input_signature=[x_step, state])
        def same(self, x, state_mgu):
            h = step(flat(x), unit(state_mgu))
            return {"y": h, "state_mgu": h}

        @tf.function(input_signature=[tf.TensorSpec((1, 2, FEATURES), name="x"), state])
        def hop(self, x, state_mgu):
            xs = tf.reshape(unit(x), (2, FEATURES))
            h = step(xs[1:], step(xs[:1], unit(state_mgu)))
            return {"y": dense(h), "state_mgu": h}

        @tf.function(input_signature=[x_step])
        def stateful(self, x):
            h = step(flat(x), self.carried.read_value())
            self.carried.assign(h)
            return {"y": dense(h)}

    model = Model()
    for name in ("sequence", "step", "same", "hop", "stateful", "step_float"):
        with tempfile.TemporaryDirectory() as saved:
            function = getattr(model, name.removesuffix("_float"))
            tf.saved_model.save(model, saved, signatures=function.get_concrete_function())
            converter = tf_lite.from_saved_model(saved)
            tf_lite.optimize(converter)
            converter.exclude_conversion_metadata = True
            converter._experimental_variable_quantization = name == "stateful"
            if not name.endswith("_float"):
                tf_lite.int8_ends(converter)
            (folder / f"{name}.tflite").write_bytes(converter.convert())


if __name__ == "__main__":
    write(pathlib.Path(sys.argv[1]))
