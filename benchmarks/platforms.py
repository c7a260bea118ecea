"""Watch activity on x86-64, on emulated Raspberry Pis and in a browser: which outputs are bit-equal, how accurate.

`--only browser` runs that and what it is compared with, and keeps the other rows of the table.
"""

from __future__ import annotations

import argparse
import json
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
from keras_gru_plus.runtime import file
from keras_gru_plus.runtime.grid import Quantizer
from keras_gru_plus_export import convert, demo
from keras_gru_plus_export.devices import pi
from keras_gru_plus_export.extras import Context, web
from keras_gru_plus_export.progress import Progress

sys.path.append(str(Path(__file__).parents[1] / "examples" / "web"))
import browser

UNITS, MODES = 32, ("sequence", "step", "stateful")
BROWSER = "browser"
NOTE = (
    "mgu and gru, {units} units, trained and fine-tuned as in `accuracy`, one seed; {windows} windows of 100 steps "
    "of subject 8, which overlap by 90 %. x86-64 is this machine; aarch64 and armv7 are QEMU's Cortex-A72 and "
    "Cortex-A7; browser is headless Chromium {browser} on this machine with LiteRT.js, `-old` without relaxed SIMD. "
    "The largest difference and the share of different values are over all outputs (in `step` and `stateful` of "
    "every step), in steps of the output's grid (1/256): to x86-64 on the same runtime (the browser: on litert), and "
    "to the reference kernels of tflite-runtime. Accuracy in %, difference in points. For aarch64 "
    "`pip install keras-gru-plus[edge]` downloads {megabytes:.1f} MB, {packages} wheels with our own."
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


def in_browser(models: Path, folder: Path, old: bool) -> tuple[str, dict[str, np.ndarray]]:
    """Outputs of every file in LiteRT.js, as `pi.outputs` names them, and the browser's version."""
    jobs = []
    (folder / "web" / "public" / "job").mkdir(parents=True, exist_ok=True)
    job = folder / "web" / "public" / "job"
    for path in sorted(models.glob("*.tflite")):
        info = file.read(path)
        with np.load(path.with_suffix(".npz")) as archive:
            ((name, x),) = ((key, archive[key]) for key in archive.files)
        steps = 1 if info.mode == "sequence" else x.shape[1]
        x.tofile(job / f"{path.stem}.bin")
        (job / path.name).write_bytes(info.content)
        (output,) = (tensor.name for tensor in info.outputs if not tensor.is_state)
        ends = {
            key: [tensor.to_json() for tensor in tensors]
            for key, tensors in (("inputs", info.inputs), ("outputs", info.outputs))
        }
        names = {"model": path.name, "data": f"{path.stem}.bin", "result": f"{path.stem}.out", "mode": info.mode}
        jobs.append({**names, **ends, "samples": len(x), "steps": steps, "input": name, "output": output})
    if not (folder / "web" / "public" / "index.html").exists():
        context = Context(info.content, info.mode, "platforms", None, {name: x[:1].astype(np.float32)}, None)
        for name, content in web.files(context).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        browser.npm_install(folder / "web")
    (job / "jobs.json").write_text(json.dumps(jobs))
    answer = browser.drive("run", folder / "web", old=old, timeout=3600)
    assert ("relaxed" in answer["runtime"]) != old
    found = {}
    for one in jobs:
        array = np.fromfile(job / one["result"], np.int8).reshape(one["samples"], one["steps"], -1)
        found[f"{one['model'].removesuffix('.tflite')}/{one['output']}"] = (
            array[:, 0] if one["mode"] == "sequence" else array
        )
    return answer["version"], found


def on_this_machine(models: Path, runtimes: list[str] | None = None) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """Outputs of every file on the runtimes that are installed, by ("x86-64", runtime)."""
    other = os.environ.get("KGP_TFLITE_RUNTIME_PYTHON")
    pythons = {"litert": sys.executable, "tflite-runtime": other, "tflm": sys.executable}
    names = [
        (family, family + kernels)
        for family, python in pythons.items()
        if python
        for kernels in (("", "-reference") if family != "tflm" else ("",))
    ]
    return {
        ("x86-64", name): pi.outputs(str(pythons[family]), models, name)
        for family, name in names
        if runtimes is None or name in runtimes
    }


def on_boards(models: Path, wheel: Path, folder: Path) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """The same on emulated Raspberry Pis."""
    found = {}
    for board, family in pi.REQUIREMENTS:
        place = folder / f"{board}-{family}"
        place.mkdir()
        machine = pi.Machine(board, family, wheel, place)
        for kernels in ("", "-reference"):
            found[board, family + kernels] = machine.outputs(models, family + kernels)
            print(f"  {board} {family}{kernels}", flush=True)
    return found


def rows_of(found: dict[tuple[str, str], dict[str, np.ndarray]], targets: np.ndarray) -> list[dict[str, str]]:
    rows = []
    for (board, name), outputs in found.items():
        host = found.get(("x86-64", "litert" if board == BROWSER else name))
        reference = found.get(("x86-64", "tflite-runtime-reference"))
        for key, array in outputs.items():
            row = {"platform": board, "runtime": name, "file": key.split("/")[0], "to x86-64": "", "to reference": ""}
            row |= {"accuracy": f"{accuracy(array, targets):.2f}", "accuracy to x86-64": ""}
            if reference is not None:
                row["to reference"] = apart(array, reference[key])
            if host is not None and board != "x86-64":
                row["to x86-64"] = apart(array, host[key])
                row["accuracy to x86-64"] = f"{accuracy(array, targets) - accuracy(host[key], targets):+.2f}"
            rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=[BROWSER], help="add or replace these rows only")
    options = parser.parse_args()
    before = json.loads((tables.RESULTS / "platforms.json").read_text()) if options.only else {}
    reason = browser.unavailable()
    if options.only and reason:
        parser.error(reason)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("models", "wheel", "downloads"):
            (folder / part).mkdir()
        models = folder / "models"
        targets = write_models(models)
        if options.only:
            found = on_this_machine(models, ["litert", "tflite-runtime-reference"])
            facts = dict(before["values"])
        else:
            found = on_this_machine(models)
            wheel = pi.built_wheel(folder / "wheel")
            megabytes, packages = downloads(wheel, folder / "downloads")
            facts = {"windows": len(targets), "megabytes": megabytes, "packages": packages}
            found |= on_boards(models, wheel, folder)
        if reason is None:
            for kernels, old in (("", False), ("-old", True)):
                facts["browser"], found[BROWSER, f"litert.js{kernels}"] = in_browser(models, folder, old)
        rows = rows_of(found, targets)
    note = NOTE.format(units=UNITS, **{"browser": "none", **facts})
    if options.only:
        rows, again = merged(before["rows"], rows)
        note += again
    tables.write("platforms", rows, note, facts)


def merged(old: list[dict[str, str]], new: list[dict[str, str]]) -> tuple[list[dict[str, str]], str]:
    """Old rows with the browser's new ones at the end, and what must be said if they are not of the same models."""
    kept = [row for row in old if row["platform"] != BROWSER]
    others = [row for row in new if row["platform"] == "x86-64" and row not in kept]
    again = ", ".join(f"{row['file']} {row['accuracy']}" for row in others if row["runtime"] == "litert")
    said = (
        f" The browser's rows are of models trained later than the others; on litert they have: {again}."
        if again
        else ""
    )
    return kept + [row for row in new if row["platform"] == BROWSER], said


if __name__ == "__main__":
    main()
