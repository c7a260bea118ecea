"""What TensorFlow's own ways to a `.tflite` file make of a Keras model; each in a process that may die.

As a script, `stock_paths.py PATH MODEL.keras DATA.npz OUT.tflite` goes one way. `outcome` goes it in a child and says
what came of it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

#: Name → what it does.
PATHS = {
    "keras": "TFLiteConverter.from_keras_model with representative data, int8 in and out",
    "saved_model": "the same from a SavedModel",
    "litert": 'model.export(format="litert")',
}
TIMEOUT = 240.0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        path: name in `PATHS`.
        result: "crash", "error", "float", "partly float" or "int8".
        detail: the signal, the message's first line, or the float operators.
        file: the bytes, if any.
    """

    path: str
    result: str
    detail: str = ""
    file: bytes | None = dataclasses.field(default=None, repr=False)

    @property
    def text(self) -> str:
        """For a table."""
        size = f", {len(self.file) / 1000:.1f} kB" if self.file else ""
        return f"{self.result}{size}" + (f": {self.detail}" if self.detail else "")


def outcome(path: str, model: Any, samples: dict[str, np.ndarray]) -> Outcome:
    """Goes one way with a model and a few samples of its inputs."""
    with tempfile.TemporaryDirectory() as folder:
        keras_file, data, out = (Path(folder, name) for name in ("model.keras", "data.npz", "out.tflite"))
        model.save(keras_file)
        np.savez(data, **samples)
        command = [sys.executable, "-W", "ignore", __file__, path, str(keras_file), str(data), str(out)]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=TIMEOUT, env=environment, check=False
            )
        except subprocess.TimeoutExpired:
            return Outcome(path, "error", f"no end after {TIMEOUT:g} s")
        if done.returncode < 0:
            from keras_gru_plus_export.worker import describe_exit

            return Outcome(path, "crash", describe_exit(done.returncode))
        if done.returncode or not out.is_file():
            return Outcome(path, "error", _reason(done.stderr))
        return _judged(path, out.read_bytes())


def _reason(text: str) -> str:
    """The line of a traceback that says most, without places in files."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found = [line for line in lines if re.search(r"error: |Error: |Select TF|TensorListReserve|Flex", line)]
    line = re.sub(r"/\S*?([^/\s]+\.py):\S*|loc\(.*?\)", r"\1", (found or lines or ["no message"])[-1])
    return line[:120]


def _judged(path: str, file: bytes) -> Outcome:
    from keras_gru_plus_export import tflite

    model = tflite.load(file)
    kinds: Counter[str] = Counter()
    floats: Counter[str] = Counter()
    for graph in model.subgraphs:
        for op in graph.operators:
            name = tflite.op_name(model, op)
            types = {tflite.type_name(graph.tensors[i]) for i in (*op.inputs, *op.outputs) if i >= 0}
            kinds[name] += 1
            if types & {"float32", "float16"} and name not in ("QUANTIZE", "DEQUANTIZE"):
                floats[name] += 1
    if not floats:
        return Outcome(path, "int8", "", file)
    share = floats.total() / kinds.total()
    names = ", ".join(name for name, _ in floats.most_common(3))
    result = "float" if share > 0.5 else "partly float"
    return Outcome(path, result, f"{floats.total()} of {kinds.total()} operators float ({names} …)", file)


def _go(path: str, keras_file: str, data: str, out: str) -> None:
    import keras
    import tensorflow as tf

    model = _with_batch_1(keras.saving.load_model(keras_file))
    if path == "litert":
        model.export(out, format="litert", verbose=False)
        return
    with np.load(data) as archive:
        arrays = [archive[name] for name in archive.files]

    def representative() -> Any:
        for i in range(len(arrays[0])):
            yield [array[i : i + 1] for array in arrays]

    if path == "saved_model":
        with tempfile.TemporaryDirectory() as folder:
            model.export(folder, format="tf_saved_model", verbose=False)
            converter = tf.lite.TFLiteConverter.from_saved_model(folder)
            Path(out).write_bytes(_int8(converter, representative))
    else:
        Path(out).write_bytes(_int8(tf.lite.TFLiteConverter.from_keras_model(model), representative))


def _with_batch_1(model: Any) -> Any:
    """The model for one sample at a time: with an open batch no recurrent layer converts at all."""
    import keras

    functional = keras.Model(model.inputs, model.outputs) if isinstance(model, keras.Sequential) else model
    inputs = keras.tree.map_structure(
        lambda t: keras.Input(batch_shape=(1, *t.shape[1:]), dtype=t.dtype, name=t.name), functional.input
    )
    clone = keras.models.clone_model(functional, input_tensors=inputs)
    clone.set_weights(model.get_weights())
    for layer in clone._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
    return clone


def _int8(converter: Any, representative: Any) -> bytes:
    import tensorflow as tf

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


if __name__ == "__main__":
    if len(sys.argv) != 5 or sys.argv[1] not in PATHS:
        sys.exit(f"Expected {json.dumps(sorted(PATHS))}, a model, data and an output file.")
    sys.path = [entry for entry in sys.path if entry != str(Path(__file__).parent)]
    _go(*sys.argv[1:])
