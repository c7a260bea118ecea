"""What TensorFlow's own ways to int8 do with the zoo: each in a child process, because some end in SIGSEGV.

python benchmarks/stock.py [architecture …]. Three ways: `TFLiteConverter.from_keras_model` with a representative data
set, the same from a SavedModel, and `model.export(format="litert")`, which takes no quantization arguments. Rows of
architectures that are not named stay as they were.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

WAYS = ("from_keras_model", "from_saved_model", "export_litert")
TIMEOUT = 180
SAMPLES = 64  # representative
EVALUATION = 500


def child(way: str, path: str, data: str, out: str) -> None:
    """Convert the saved model by one of the ways."""
    import keras
    import numpy as np
    import tensorflow as tf

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
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        names = [t.name for t in shapes]
    else:
        converter = tf.lite.TFLiteConverter.from_keras_model(model)

    def representative():
        for i in range(SAMPLES):
            sample = [array[i : i + 1].astype(np.float32) for array in arrays.values()]
            yield dict(zip(names, sample, strict=True))  # by name: the converter may order inputs anew

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    Path(out).write_bytes(converter.convert())


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


def attempt(way: str, model: str, data: str, out: str) -> str:
    """Empty if the way gave a file, else how it ended."""
    command = [sys.executable, __file__, "--child", way, model, data, out]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return f"no end after {TIMEOUT} s"
    if done.returncode < 0:
        return f"crash: {signal.Signals(-done.returncode).name}"
    if done.returncode or not Path(out).is_file():
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.split(":")[0].endswith(("Error", "Exception")) or "error:" in line]
        text = (errors or lines or ["no message"])[-1]
        flex = [line for line in lines if "Flex" in line or "TensorList" in line or "Select" in line]
        return f"error: {text[:160]}" + (" (needs Flex/Select operators)" if flex else "")
    return ""


def inspect(file: bytes, task: Any) -> dict[str, Any]:
    """Share of operators with float tensors, Flex operators, size, arena, and the score where it runs."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter
    from zoo import zeros

    from keras_gru_plus_export import tflite
    from keras_gru_plus_export.data import score
    from keras_gru_plus_export.devices import host

    flat = tflite.load(file)
    total = floats = 0
    for graph in flat.subgraphs:
        for operator in graph.operators or []:
            total += 1
            ends = [graph.tensors[i] for i in (*operator.inputs, *operator.outputs) if i >= 0]
            floats += any(tensor.type == 0 for tensor in ends)  # FLOAT32; VARIANT has no NumPy type
    row: dict[str, Any] = {"bytes": len(file), "operators": total, "float operators": floats}
    flex = sorted({code.customCode.decode() for code in flat.operatorCodes if code.customCode})
    row["custom operators"] = flex
    try:
        row["arena"] = host.smallest_arena(file, zeros(file), "sequence")
    except Exception as error:  # noqa: BLE001 (whatever the runtime says belongs in the table)
        row["tflm"] = str(error).splitlines()[0][:160]
    try:
        interpreter = Interpreter(model_content=file)
        interpreter.allocate_tensors()
        ends, (first, *_) = interpreter.get_input_details(), interpreter.get_output_details()
        arrays = list(task.test[0].values())
        # The converter may order inputs anew: shapes and names decide, ambiguous ones are left unscored.
        if len(arrays) > 1 or len(interpreter.get_output_details()) > 1:
            raise ValueError("several inputs or outputs: order unknown, not scored")
        target = next(iter(task.test[1].values()))
        chosen = np.linspace(0, len(target) - 1, min(EVALUATION, len(target))).astype(np.int64)
        predicted = []
        for sample in arrays[0][chosen]:
            scale, zero = ends[0]["quantization"]
            if ends[0]["dtype"] == np.int8:
                sample = np.clip(np.rint(sample / scale) + zero, -128, 127).astype(np.int8)
            interpreter.set_tensor(ends[0]["index"], sample[None].astype(ends[0]["dtype"]))
            interpreter.invoke()
            raw = interpreter.get_tensor(first["index"])
            scale, zero = first["quantization"]
            predicted.append((raw.astype(np.float32) - zero) * scale if first["dtype"] == np.int8 else raw)
        row["score"] = score(task.metric, np.concatenate(predicted), target[chosen])
    except Exception as error:  # noqa: BLE001 (as above)
        row["litert"] = str(error).splitlines()[0][:160]
    return row


def measure(name: str) -> dict[str, Any]:
    """Trains the architecture in float, or takes what the zoo trained, and tries every way."""
    import numpy as np
    import zoo
    import zoo_models

    architecture = zoo_models.ZOO[name]
    task = architecture.data()
    model = zoo.float_model(architecture, task, 0)
    found: dict[str, Any] = {"metric": task.metric}
    with tempfile.TemporaryDirectory(prefix="kgp-") as folder:
        path, data = f"{folder}/model.keras", f"{folder}/data.npz"
        model.save(path)
        np.savez(data, **{f"input{i}": array[:SAMPLES] for i, array in enumerate(task.train[0].values())})
        for way in WAYS:
            out = f"{folder}/{way}.tflite"
            problem = attempt(way, path, data, out)
            found[way] = {"failed": problem} if problem else inspect(Path(out).read_bytes(), task)
    return found


def text(result: dict[str, Any], metric: str) -> str:
    """What came of a way: the failure, or the file's operators and where it runs."""
    if "failed" in result:
        return str(result["failed"])
    parts = [f"{result['bytes'] / 1000:.1f} kB"]
    if result["float operators"]:
        parts.append(f"{result['float operators']} of {result['operators']} operators float")
    if result["custom operators"]:
        parts.append(f"{len(result['custom operators'])} kinds of Flex operator")
    parts.append(f"arena {result['arena'] / 1000:.1f} kB" if "arena" in result else "not on TFLM")
    if "score" in result:
        parts.append(f"{100 * result['score']:.1f} %" if metric == "accuracy" else f"{result['score']:.3f}")
    else:
        parts.append("not on LiteRT without Flex" if "Select TensorFlow op" in result["litert"] else result["litert"])
    return "; ".join(parts).replace("|", "\\|")


def own(runs: list[dict[str, Any]]) -> str:
    """The same of keras-gru-plus, from the runs of the zoo."""
    done = sorted((run for run in runs if "refused" not in run), key=lambda run: run["seed"])
    if not done:
        return runs[0]["refused"] if runs else "not measured"
    mean = sum(run["fine-tuned"]["litert"] for run in done) / len(done)
    score = f"{100 * mean:.1f} %" if done[0]["metric"] == "accuracy" else f"{mean:.3f}"
    return f"{done[0]['bytes'] / 1000:.1f} kB; arena {done[0]['arena'] / 1000:.1f} kB; {score}"


def write(every: dict[str, Any]) -> None:
    """The table of all that was measured so far, in the zoo's order."""
    import tables
    import zoo_models

    ours = tables.RESULTS / "zoo.json"
    runs = list(json.loads(ours.read_text())["values"].values()) if ours.is_file() else []
    rows = []
    for name in filter(every.__contains__, zoo_models.ZOO):
        row = {"architecture": name, **{way: text(every[name][way], every[name]["metric"]) for way in WAYS}}
        row["keras-gru-plus"] = own([run for run in runs if (run["architecture"], run["recipe"]) == (name, "int8")])
        rows.append(row)
    tables.write("stock", rows, NOTE, every)


NOTE = (
    "TensorFlow's and Keras' own ways on the zoo's float models (batch 1): `TFLiteConverter.from_keras_model` and "
    '`from_saved_model` with a representative data set, int8 operators only; `model.export(format="litert")`, which '
    "does not quantize. Each in a process of its own, which is what crashes. Flex operators are TensorFlow's own and "
    "need the Flex delegate, which neither the LiteRT wheel nor TFLite Micro has. A score is on LiteRT, of a stock "
    "file on at most 500 test samples. keras-gru-plus: int8, fine-tuned, as in zoo.md. kB = 1000 bytes. Arena: "
    "smallest on the tflite-micro wheel."
)


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
        return 0
    import tables
    import zoo_models

    names = sys.argv[1:] or list(zoo_models.ZOO)
    unknown = sorted(set(names) - set(zoo_models.ZOO))
    if unknown:
        print(f"Expected architectures among {', '.join(zoo_models.ZOO)}, got {', '.join(unknown)}.", file=sys.stderr)
        return 2
    before = tables.RESULTS / "stock.json"
    every: dict[str, Any] = json.loads(before.read_text()).get("values", {}) if before.is_file() else {}
    for name in names:  # the others keep what they had
        every[name] = measure(name)
        write(every)
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
