"""Files that mean harm, each into the commands that would open it: refused, with nothing run, read or written."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from . import fuzz_seeds as seeds
from .check import Check, Counts
from .fuzz_inputs import npy_of, npy_with, npz_of
from .fuzz_worker import Worker
from .fuzzing import ROWS, Bench
from .hostile_models import bomb, models, zip_of

#: One case: its name, files, command, and what comes on stdin.
Case = tuple[str, dict[str, bytes], list[str], str]


class _Evil:
    """A pickle that leaves a canary."""

    def __init__(self, here: Path) -> None:
        self.here = here

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.here}/canary",)


def _pickled(here: Path) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([{}], object), allow_pickle=True)
    head = file.getvalue()[: file.getvalue().index(b"\n") + 1]
    return head + pickle.dumps(_Evil(here))


def _arrays(here: Path) -> Iterator[tuple[str, str, bytes]]:
    yield "a pickle", "npy", _pickled(here)
    yield "a bare pickle", "npy", pickle.dumps(_Evil(here))
    yield "a pickle inside", "npz", npz_of({"x": _pickled(here)})
    yield "giant", "npy", npy_with(((1, 0), "<f4", "(1000000000, 1000000000)", "False", 100))
    yield "giant inside", "npz", npz_of({"x": npy_with(((1, 0), "<f4", "(10**9,)", "False", 100))})
    yield "giant inside, a real number", "npz", npz_of({"x": npy_with(((1, 0), "<f4", "(1000000000,)", "False", 9))})
    yield "giant and of nothing", "npz", npz_of({"x": npy_with(((1, 0), "|V0", "(1000000000,)", "False", 9))})
    header = npy_with(((1, 0), "<f4", f"({3 << 28},)", "False", 0))
    yield "a bomb", "npz", bomb("x.npy", header)
    yield "a path", "npz", zip_of({"../canary.npy": npy_of(np.zeros(3))})
    yield "an absolute path", "npz", zip_of({"/tmp/canary.npy": npy_of(np.zeros(3))})
    yield "no array", "npz", zip_of({"x": b"text"})
    yield "code for a type", "npy", npy_with(((1, 0), "__import__('os')", "(1,)", "False", 9))


_READERS: dict[str, list[list[str]]] = {
    "npz": [
        ["data", "{}/functional.keras", "{}/evil.npz"],
        ["recording", "{}/evil.npz"],
        ["task", "{}/evil.npz", "60,20,20"],
        ["export", "{}/functional.keras", "--calibrate", "{}/evil.npz", "--out", "{}/out"],
        ["export", "{}/functional.keras", "--with", "web", "--recording", "{}/evil.npz", "--out", "{}/out"],
        ["compare", "{}/evil.npz", "--split", "60,20,20", "--out", "{}/out"],
    ],
    "npy": [
        ["data", "{}/functional.keras", "{}/evil.npy"],
        ["recording", "{}/evil.npy"],
        ["run", "{}/step.tflite", "--input", "{}/evil.npy"],
        ["export", "{}/functional.keras", "--calibrate", "{}/evil.npy", "--out", "{}/out"],
    ],
    "keras": [
        ["keras_model", "{}/evil.keras"],
        ["export", "{}/evil.keras", "--calibrate", "{}/x.npy", "--out", "{}/out"],
    ],
    "h5": [
        ["keras_model", "{}/evil.h5"],
        ["export", "{}/evil.h5", "--calibrate", "{}/x.npy", "--out", "{}/out"],
    ],
    "tflite": [
        ["run", "{}/evil.tflite", "--input", "{}/rows.csv"],
        ["bench", "{}/evil.tflite", "--seconds", "0.01"],
        ["watch", "{}/evil.tflite", "--input", "{}/rows.csv"],
        ["runtime", "{}/evil.tflite"],
    ],
}


def _tflites() -> Iterator[tuple[str, str, bytes]]:
    from keras_gru_plus_export import tflite

    def changed(name: str, change: Callable[[Any], None]) -> bytes:
        model = tflite.load(seeds.tflite()[name])
        change(model)
        return tflite.dump(model)

    def endless(model: Any) -> None:
        """The loop counts by zeros."""
        loop = next(op for op in model.subgraphs[0].operators if tflite.op_name(model, op) == "WHILE")
        body = tflite.while_parts(model, loop)[1]
        for tensor in body.tensors:
            if tflite.type_name(tensor) == "int32" and tflite.is_constant(model, tensor):
                values = tflite.constant(model, tensor)
                if values.size == 1 and values.ravel()[0] == 1:
                    tflite.set_constant(model, tensor, np.zeros_like(values))

    def wide(model: Any) -> None:
        for tensor in model.subgraphs[0].tensors:
            if model.buffers[tensor.buffer].data is None:
                tensor.shape = [1, 40_000, 40_000]

    yield "a loop without an end", "tflite", changed("sequence", endless)
    yield "tensors of gigabytes", "tflite", changed("step", wide)


def _texts() -> Iterator[Case]:
    for name, content in {
        "a line of 100 MB": b"1" * 100_000_000,
        "100 MB of columns": b"1," * 50_000_000,
        "100 MB without a number": b"," * 100_000_000,
        "100 MB in quotes": b'"' + b"x,\n" * 33_000_000,
    }.items():
        yield name, {"evil.csv": content}, ["run", "{}/step.tflite", "--input", "{}/evil.csv"], ""
        yield (
            name,
            {"evil.csv": content},
            ["watch", "{}/step.tflite", "--input", "{}/evil.csv", "--on-error", "stop"],
            "",
        )
    for name, text in {"deep": "[" * 10**6, "digits": '{"bits": ' + "9" * 10**6 + "}"}.items():
        command = ["export", "{}/functional.keras", "--recipe", "{}/evil.json", "--out", "{}/out"]
        yield name, {"evil.json": text.encode()}, command, ""
    labels = ["export", "{}/functional.keras", "--labels", "{}/evil.txt", "--out", "{}/out"]
    yield "labels that are no text", {"evil.txt": b"\xff\xfe\x00"}, labels, ""


def cases(here: Path) -> Iterator[Case]:
    """All of them."""
    for name, ending, content in (*models(here), *_arrays(here), *_tflites()):
        for command in _READERS[ending]:
            yield name, {f"evil.{ending}": content}, command, ""
    yield from _texts()


def _run(count: int, seed: int) -> Counts:
    with tempfile.TemporaryDirectory(prefix="kgp-fuzz-") as folder, Worker(Path(folder, "tmp")) as worker:
        here = Path(folder)
        bench = Bench(here, worker)
        bench.put("rows.csv", ROWS.encode())
        bench.put("functional.keras", seeds.keras()["functional.keras"])
        bench.put("step.tflite", seeds.tflite()["step"])
        bench.put("x.npy", npy_of(np.random.default_rng(0).normal(size=(8, 10, 6)).astype(np.float32)))
        secrets = [here / name for name in ("secret", "secret.h5", "inner.keras", "evil.tar")]
        for secret in secrets:
            secret.write_bytes(b"words\n" * 1000)
        _watched(secrets)
        seen = _sees_reading(secrets[0])
        every = list(cases(here))
        # A sample has some of each kind; in full everything is tried.
        step = max(1, len(every) // count)
        for name, files, command, text in every[seed % step :: step]:
            _watched(secrets)
            refused = bench.counts.refused
            bench.try_one(files, command, name, text, planted=str(here / "secret"))
            where = f"{name}: {' '.join(command)}"
            if bench.counts.refused == refused:
                bench.counts.fail(f"{where}: not refused")
            if (here / "canary").exists() or any("canary" in path.name for path in here.parent.iterdir()):
                bench.counts.fail(f"{where}: code of the file ran, or it wrote")
                (here / "canary").unlink(missing_ok=True)
            if seen and any(secret.stat().st_atime > 2 for secret in secrets):
                bench.counts.fail(f"{where}: another file was read")
            if left := sorted(path.name for path in worker.temporary.iterdir()):
                bench.counts.fail(f"{where}: left {', '.join(left)[:200]} in the temporary directory")
                shutil.rmtree(worker.temporary)
                worker.temporary.mkdir()
        return bench.done()


def _watched(secrets: list[Path]) -> None:
    for secret in secrets:
        os.utime(secret, (1, 2))


def _sees_reading(path: Path) -> bool:
    """Whether this file system notes when a file was read."""
    path.read_bytes()
    noted = path.stat().st_atime > 2
    _watched([path])
    return noted


CHECKS: dict[str, Check] = {
    "hostile": Check(
        "Files made to run code, to read or write other files, or to fill the memory are refused with one message "
        "and nothing of it happens.",
        _run,
        quick=0,
        sample=120,
        whole=10_000,
    )
}
