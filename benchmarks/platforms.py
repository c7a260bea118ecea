"""Watch activity on x86-64 and on emulated Raspberry Pis: which outputs are bit-equal, and the accuracy of each."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import tables

from keras_gru_plus import runtime
from keras_gru_plus.datasets import watch_activity
from keras_gru_plus.quantization import calibrate, quantize_aware
from keras_gru_plus.runtime.grid import Quantizer
from keras_gru_plus_export import convert, demo
from keras_gru_plus_export.devices import pi
from keras_gru_plus_export.progress import Progress

UNITS, MODES = 32, ("sequence", "step", "stateful")
NOTE = (
    "mgu and gru, {units} units, trained and fine-tuned as in `accuracy`, one seed, {windows} windows of 100 steps "
    "of subject 8, which overlap by 90 %. x86-64 is this machine, the others are QEMU's Cortex-A72 and Cortex-A7. "
    "Differences are over all outputs (in `step` and `stateful` of every step), the largest in steps of the grid "
    "(1/256) and the share of values: to x86-64 on the same runtime, and to the reference kernels of tflite-runtime. "
    "Accuracy in %, difference in points. For aarch64 `pip install keras-gru-plus[edge]` downloads "
    "{megabytes:.1f} MB, {packages} wheels with our own."
)


def downloads(wheel: Path, folder: Path) -> tuple[float, int]:
    """MB and number of the wheels that the extra `edge` brings to a 64-bit Pi."""
    platforms = [part for name in pi.BOARDS["aarch64"].wheels for part in ("--platform", name)]
    options = ["--only-binary=:all:", "--implementation", "cp", "--python-version", "3.11", "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", *platforms, *options, f"{wheel}[edge]"]
    subprocess.run(command, check=True, capture_output=True)
    sizes = [path.stat().st_size for path in folder.glob("*.whl")]
    return sum(sizes) / 1e6, len(sizes)


def write_models(folder: Path) -> np.ndarray:
    """Files of every mode with their inputs; returns the targets."""
    data = watch_activity(hop=10).standardized()  # training windows as in the demo, and as many of the test's
    for variant in ("mgu", "gru"):
        keras.utils.set_random_seed(0)
        model = demo.build(demo.recurrent_layer(variant, UNITS), data)
        demo.fit(model, data, demo.FULL.epochs, demo.FULL.learning_rate, "", Progress())
        quantized = calibrate(quantize_aware(model), data.train.x, percentile=demo.PERCENTILE)
        demo.fine_tune(quantized, data, demo.FULL, Progress())
        for mode in MODES:
            path = folder / f"{variant}-{mode}.tflite"
            path.write_bytes(convert(quantized, mode=mode))
            (tensor,) = runtime.load(path).info.inputs
            quantizer = Quantizer(tensor.scale or 1, tensor.zero_point or 0, tensor.dtype, data.test.x.shape)
            np.savez(path.with_suffix(".npz"), **{tensor.name: quantizer(data.test.x)})
    return data.test.y


def accuracy(outputs: np.ndarray, targets: np.ndarray) -> float:
    last = outputs if outputs.ndim == 2 else outputs[:, -1]
    return 100 * float((last.argmax(-1) == targets).mean())


def apart(found: np.ndarray, wanted: np.ndarray) -> str:
    largest, share = pi.difference({"": found}, {"": wanted})
    return f"up to {largest}, {100 * share:.2f} %" if largest else "bit-equal"


def main() -> None:
    other = os.environ.get("KGP_TFLITE_RUNTIME_PYTHON")
    pythons = {"litert": sys.executable, "tflite-runtime": other, "tflm": sys.executable}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("models", "wheel", "downloads"):
            (folder / part).mkdir()
        targets = write_models(folder / "models")
        wheel = pi.built_wheel(folder / "wheel")
        megabytes, packages = downloads(wheel, folder / "downloads")
        found = {
            ("x86-64", f"{family}{kernels}"): pi.outputs(python, folder / "models", f"{family}{kernels}")
            for family, python in pythons.items()
            if python
            for kernels in (("", "-reference") if family != "tflm" else ("",))
        }
        for board, family in pi.REQUIREMENTS:
            place = folder / f"{board}-{family}"
            place.mkdir()
            machine = pi.Machine(board, family, wheel, place)
            for kernels in ("", "-reference"):
                found[board, family + kernels] = machine.outputs(folder / "models", family + kernels)
                print(f"  {board} {family}{kernels}", flush=True)
    rows = []
    for (board, name), outputs in found.items():
        host, reference = found.get(("x86-64", name)), found.get(("x86-64", "tflite-runtime-reference"))
        for key, array in outputs.items():
            row = {"platform": board, "runtime": name, "file": key.split("/")[0], "to x86-64": "", "to reference": ""}
            row |= {"accuracy": f"{accuracy(array, targets):.2f}", "accuracy to x86-64": ""}
            if reference is not None:
                row["to reference"] = apart(array, reference[key])
            if host is not None and board != "x86-64":
                row["to x86-64"] = apart(array, host[key])
                row["accuracy to x86-64"] = f"{accuracy(array, targets) - accuracy(host[key], targets):+.2f}"
            rows.append(row)
    note = NOTE.format(units=UNITS, windows=len(targets), megabytes=megabytes, packages=packages)
    tables.write("platforms", rows, note)


if __name__ == "__main__":
    main()
