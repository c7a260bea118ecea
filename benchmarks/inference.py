"""One sequence on this CPU: LiteRT with our int8 files against ONNX Runtime, PyTorch and TensorFlow's converter.

Ratios to ONNX Runtime's float32 GRU in the same run, all with one thread and batch 1, taking turns. KGP_BENCH_ROUNDS
says how many rounds (15).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tables

SIZES = ((28, 28, 32), (28, 28, 128), (100, 40, 64), (100, 40, 256))
ROUNDS = int(os.environ.get("KGP_BENCH_ROUNDS", "15"))
SECONDS = 0.02  # a turn
#: Name in the table → variant and activations, and time steps of an iteration.
OURS: dict[str, tuple[dict[str, Any], int]] = {
    "gru": ({"variant": "gru"}, 1),
    "gru, 4 steps": ({"variant": "gru"}, 4),
    "gru, unrolled": ({"variant": "gru"}, 0),
    "mgu": ({"variant": "mgu"}, 1),
    "gru, saturating": ({"variant": "gru", "activation": "hard_tanh", "recurrent_activation": "hard_sigmoid"}, 1),
    "mgu, saturating": ({"variant": "mgu", "activation": "hard_tanh", "recurrent_activation": "hard_sigmoid"}, 1),
    "janet": ({"variant": "janet"}, 1),
    "mingru": ({"variant": "mingru"}, 1),
}
NOTE = (
    "The last state of one recurrent layer for T steps of D features and N units, batch 1, one thread. ONNX Runtime "
    "in µs a sequence, the others as multiples of it in the same run: the least of {rounds} turns each. PyTorch is "
    "in float32; `keras.layers.GRU` went through TFLiteConverter, in float32 and, unrolled, with int8. The rest are "
    "our int8 files on LiteRT. Unrolled: without a loop. A dash: {dash}."
)
DASH = "TensorFlow's converter did not end within {seconds} s, or its file does not run"
TIMEOUT = 240


def stock(steps: int, features: int, units: int, way: str, out: str) -> None:
    """Convert `keras.layers.GRU` in this process: way "float" or, unrolled, "int8"."""
    import keras

    from keras_gru_plus_export import tf_lite

    signal = keras.Input(batch_shape=(1, steps, features))
    model = keras.Model(signal, keras.layers.GRU(units, unroll=way == "int8")(signal))
    converter = tf_lite.from_keras(model)
    if way == "int8":
        samples = np.random.default_rng(0).normal(0, 1, (16, 1, steps, features)).astype(np.float32)
        tf_lite.calibrate(converter, lambda: ([sample] for sample in samples))
    Path(out).write_bytes(converter.convert())


def ours(steps: int, features: int, units: int, options: dict[str, Any], per_iteration: int) -> bytes:
    import keras

    import keras_gru_plus as kgp
    from keras_gru_plus_export import convert

    keras.utils.set_random_seed(0)
    signal = keras.Input((steps, features), name="x")
    model = keras.Model(signal, kgp.GRUPlus(units, **options)(signal))
    x = np.random.default_rng(0).normal(0, 1, (16, steps, features)).astype(np.float32)
    return convert(kgp.calibrate(kgp.quantize_aware(model), x), steps_per_iteration=per_iteration or steps)


def on_litert(file: bytes) -> Callable[[], object]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=file, num_threads=1)
    interpreter.allocate_tensors()
    (end,) = interpreter.get_input_details()
    random = np.random.default_rng(1)
    x = random.normal(0, 1, end["shape"]).astype(np.float32)
    interpreter.set_tensor(end["index"], x if end["dtype"] == np.float32 else (40 * x).astype(np.int8))
    interpreter.invoke()
    return interpreter.invoke  # type: ignore[no-any-return]


def peers(steps: int, features: int, units: int, folder: Path) -> dict[str, Callable[[], object]]:
    """ONNX Runtime and PyTorch on the same GRU."""
    import onnxruntime
    import torch

    torch.set_num_threads(1)
    gru = torch.nn.GRU(features, units, batch_first=True).eval()
    x = torch.randn(1, steps, features)
    path = str(folder / "gru.onnx")
    with warnings.catch_warnings():  # the exporter that needs no further package is called old
        warnings.simplefilter("ignore")
        torch.onnx.export(gru, (x,), path, dynamo=False, opset_version=17)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    fed = {session.get_inputs()[0].name: x.numpy()}

    def on_torch() -> object:
        with torch.inference_mode():
            return gru(x)

    return {"ONNX Runtime": lambda: session.run(None, fed), "PyTorch": on_torch}


def least(jobs: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Seconds of each, the least of the turns."""
    counts = {}
    for name, job in jobs.items():
        begin, count = time.perf_counter(), 0
        while time.perf_counter() - begin < SECONDS:
            job()
            count += 1
        counts[name] = count
    found = dict.fromkeys(jobs, float("inf"))
    for _ in range(ROUNDS):
        for name, job in jobs.items():
            begin = time.perf_counter()
            for _ in range(counts[name]):
                job()
            found[name] = min(found[name], (time.perf_counter() - begin) / counts[name])
    return found


def main() -> None:
    rows = []
    for size in SIZES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            jobs = peers(*size, folder)
            for way in ("float", "int8"):
                out = folder / f"{way}.tflite"
                command = [sys.executable, __file__, "--child", *map(str, size), way, str(out)]
                try:
                    subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=True)
                    jobs[f"Keras GRU, {way}"] = on_litert(out.read_bytes())
                except (subprocess.SubprocessError, ValueError, RuntimeError) as error:
                    print(f"  {size} {way}: {type(error).__name__}", flush=True)
            for label, (options, per_iteration) in OURS.items():
                jobs[label] = on_litert(ours(*size, options, per_iteration))
            seconds = least(jobs)
        base = seconds.pop("ONNX Runtime")
        row = {"T, D, N": ", ".join(map(str, size)), "ONNX Runtime, µs": f"{1e6 * base:.1f}"}
        for label in ("PyTorch", "Keras GRU, float", "Keras GRU, int8", *OURS):
            row[label] = f"{seconds[label] / base:.2f}" if label in seconds else "–"
        rows.append(row)
        print(row, flush=True)
    heads = list(rows[0])[1:]
    turned = [{"T, D, N": head, **{row["T, D, N"]: row[head] for row in rows}} for head in heads]
    tables.write("inference", turned, NOTE.format(rounds=ROUNDS, dash=DASH.format(seconds=TIMEOUT)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        stock(*map(int, sys.argv[2:5]), *sys.argv[5:7])  # type: ignore[call-arg]
    else:
        main()
