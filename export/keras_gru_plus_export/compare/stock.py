"""TensorFlow's own ways from a Keras model to int8, each in a child process, because some end in SIGSEGV.

`TFLiteConverter.from_keras_model` with a representative data set, the same from a SavedModel, and
`model.export(format="litert")`, which takes no quantization arguments.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_gru_plus.atomic import scratch

WAYS = ("from_keras_model", "from_saved_model", "export_litert")
TIMEOUT = 180
SAMPLES = 64  # representative


def attempts(model: Any, inputs: list[np.ndarray[Any, Any]]) -> dict[str, Any]:
    """What each way makes of a model: `described` of its file, or {"failed": how it ended}.

    Args:
        model: a Keras model.
        inputs: samples of each of its inputs.
    """
    with kept(model, inputs) as files:
        made = {way: attempt(way, files) for way in WAYS}
    return {way: {"failed": file} if isinstance(file, str) else described(file) for way, file in made.items()}


@contextlib.contextmanager
def kept(model: Any, inputs: list[np.ndarray[Any, Any]]) -> Iterator[Path]:
    """A directory with the model and samples, for `attempt`."""
    with scratch() as folder:
        model.save(folder / "model.keras")
        samples: dict[str, Any] = {f"input{i}": array[:SAMPLES] for i, array in enumerate(inputs)}
        np.savez(folder / "data.npz", **samples)
        yield folder


def attempt(way: str, files: Path) -> bytes | str:
    """The file that a way gave, or how it ended."""
    out = files / f"{way}.tflite"
    command = [sys.executable, "-m", __name__, way, str(files / "model.keras"), str(files / "data.npz"), str(out)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return f"no end after {TIMEOUT} s"
    if done.returncode < 0:
        return f"crash: {signal.Signals(-done.returncode).name}"
    if done.returncode or not out.is_file():
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.split(":")[0].endswith(("Error", "Exception")) or "error:" in line]
        text = (errors or lines or ["no message"])[-1]
        flex = [line for line in lines if "Flex" in line or "TensorList" in line or "Select" in line]
        return f"error: {text[:160]}" + (" (needs Flex/Select operators)" if flex else "")
    return out.read_bytes()


def described(file: bytes) -> dict[str, Any]:
    """Bytes of a file, its operators, those with float tensors, custom ones; its arena if TFLite Micro runs it."""
    from ..devices import host
    from ..tflite import load

    flat = load(file)
    total = floats = 0
    for graph in flat.subgraphs:
        for operator in graph.operators or []:
            total += 1
            ends = [graph.tensors[i] for i in (*operator.inputs, *operator.outputs) if i >= 0]
            floats += any(tensor.type == 0 for tensor in ends)  # FLOAT32; VARIANT has no NumPy type
    flex = sorted({code.customCode.decode() for code in flat.operatorCodes if code.customCode})
    row: dict[str, Any] = {
        "bytes": len(file),
        "operators": total,
        "float operators": floats,
        "custom operators": flex,
    }
    try:
        entries = host.describe(flat)["inputs"]
        zeros = {entry["name"]: np.zeros((1, *entry["shape"][1:]), entry["dtype"]) for entry in entries}
        row["arena"] = host.smallest_arena(file, zeros, "sequence")
    except Exception as error:  # noqa: BLE001 (whatever the runtime says is the result)
        row["tflm"] = str(error).splitlines()[0][:160]
    return row


def with_batch_1(model: Any) -> Any:
    """The model for one sample at a time, which is as easy as it gets for a converter."""
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


def _child(way: str, path: str, data: str, out: str) -> None:
    """Convert the saved model by one of the ways."""
    import keras
    import tensorflow as tf

    from keras_gru_plus_export import tf_lite  # by its full name: this file runs as a script

    model = with_batch_1(keras.models.load_model(path))
    if way == "export_litert":
        model.export(out, format="litert", verbose=False)
        return
    names = [tensor.name for tensor in model.inputs]
    with np.load(data) as content:
        arrays = dict(zip(names, (content[key] for key in content.files), strict=True))
    if way == "from_saved_model":
        folder = out + ".saved"
        shapes = [tf.TensorSpec((1, *t.shape[1:]), t.dtype, t.name) for t in model.inputs]
        archive = keras.export.ExportArchive()
        archive.track(model)
        call = model if len(shapes) == 1 else lambda *tensors: model(list(tensors))
        archive.add_endpoint("serve", call, input_signature=shapes)
        archive.write_out(folder, verbose=False)
        converter = tf_lite.from_saved_model(folder)
        names = [t.name for t in shapes]
    else:
        converter = tf_lite.from_keras(model)

    def representative() -> Iterator[Any]:
        for i in range(SAMPLES):
            sample = [array[i : i + 1].astype(np.float32) for array in arrays.values()]
            yield dict(zip(names, sample, strict=True))  # by name: the converter may order inputs anew

    tf_lite.calibrate(converter, representative)
    Path(out).write_bytes(converter.convert())


if __name__ == "__main__":
    _child(*sys.argv[1:])
