"""Run exported models on this machine's runtimes, each run in a process of its own.

An interpreter may abort or hang on a model it does not like: in a child process that is an error message.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np

from keras_gru_plus.atomic import scratch
from keras_gru_plus.runtime import grid as grids
from keras_gru_plus.runtime import interpreters
from keras_gru_plus.runtime.file import STATE
from keras_gru_plus_export import tflite

RUNTIMES = ("litert", "litert-reference", "tflm", "tflite-runtime", "tflite-runtime-reference")
MODES = ("sequence", "step", "stateful")
RUNNER = pathlib.Path(__file__).with_name("runner.py")

Array = np.ndarray[Any, Any]


class RuntimeFailure(RuntimeError):  # noqa: N818 (what failed is the runtime)
    """A runtime refused the model, died or did not finish; `exit_code` is negative for a signal."""

    def __init__(self, message: str, exit_code: int | None = None, stdout: str = "") -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.stdout = stdout


def run(
    model: bytes,
    inputs: Mapping[str, Array],
    *,
    runtime: str,
    mode: str,
    python: str | None = None,
    arena: int | None = None,
    timeout: float = 300,
) -> dict[str, Array]:
    """Outputs of a model for many samples, by signature name and in the file's own types.

    Args:
        model: The .tflite file.
        inputs: By signature name, in the file's types (see `quantize`). With … for the input's shape without
            its batch: (samples, …) in mode "sequence", one invoke a sample; (samples, steps, …) in modes
            "step" and "stateful", one invoke a step. Where a file takes several time steps an invoke,
            (samples, time, …) is cut into hops. The `state_…` inputs of "step" start at zero unless
            given as (samples, …), and are fed back.
        runtime: One of `RUNTIMES`.
        mode: One of `MODES`.
        python: Interpreter of another environment that has the runtime; this one by default.
        arena: Bytes for tflite-micro, far more than enough by default.
        timeout: Seconds for all samples.

    Returns:
        Outputs of shape (samples, *shape), or (samples, steps, *shape).

    Raises:
        RuntimeFailure: The runtime refused the model, crashed or did not finish.
    """
    _expect("runtime", runtime, RUNTIMES)
    with _Files(model, inputs, mode) as files:
        size = [] if arena is None else ["--arena", str(arena)]
        _child(runtime, python, timeout, *files.arguments, *size)
        with np.load(files.outputs) as archive:
            return {name: archive[name] for name in archive.files}


def smallest_arena(model: bytes, inputs: Mapping[str, Array], mode: str, *, timeout: float = 300) -> int:
    """The smallest tflite-micro arena in bytes, a multiple of 16, with the outputs of a huge arena.

    Found by trying: what the interpreter reports as used is less than it needs to start. Pointers are 64-bit
    here, so a microcontroller needs less.

    Args:
        model: The .tflite file.
        inputs: As for `run`; one sample is enough.
        mode: One of `MODES`.
        timeout: Seconds for each child process.
    """
    failing = 0
    with _Files(model, inputs, mode) as files:
        while True:
            try:
                answer = _child("tflm", None, timeout, *files.arguments, "--bisect-arena", str(failing))
                break
            except RuntimeFailure as failure:
                tried = [int(line) for line in failure.stdout.split() if line.isdigit()]
                # A size that killed the child is a failing size; anything else is a real failure.
                if (
                    _is_from_outside(failure)
                    or failure.exit_code is None
                    or failure.exit_code >= 0
                    or not tried
                    or tried[-1] <= failing
                ):
                    raise
                failing = tried[-1]
    arena = int(answer["arena"])
    expected = run(model, inputs, runtime="tflm", mode=mode, timeout=timeout)
    # Once more in a process that has seen no other size: memory left over from those could have helped.
    found = run(model, inputs, runtime="tflm", mode=mode, arena=arena, timeout=timeout)
    if any(not np.array_equal(found[name], expected[name]) for name in expected):
        raise RuntimeFailure(f"Expected equal outputs with an arena of {arena} bytes, got others; report this")
    return arena


@functools.cache
def version(runtime: str, python: str | None = None) -> str | None:
    """Version of a runtime, None where it is not installed."""
    _expect("runtime", runtime, RUNTIMES)
    try:
        return str(_child(runtime, python, 120, "--version")["version"])
    except RuntimeFailure as failure:
        if _is_from_outside(failure):
            raise
        return None


def available(runtime: str, python: str | None = None) -> bool:
    """Whether a runtime can be used, here or in the environment of another Python."""
    return version(runtime, python) is not None


def versions(python: str | None = None) -> dict[str, str]:
    """Versions of the installed runtimes, for reports; `python` is where tflite-runtime is looked for."""
    found = {name: version(name, python if name.startswith("tflite-runtime") else None) for name in RUNTIMES}
    return {name: value for name, value in found.items() if value is not None}


def quantize(array: Any, grid: tflite.Grid, dtype: Any = np.int8) -> Array:
    """Integers for real values as TFLite's QUANTIZE gives them: halves away from zero, saturating.

    Of a grid with several scales each is for a feature, the last axis.
    """
    values = np.asarray(array, np.float32)
    several = grid.per_channel
    scale, zero_point = (grid.scales, grid.zero_points) if several else (grid.scale, grid.zero_point)
    return grids.Quantizer(scale, zero_point, dtype, values.shape)(values)


def dequantize(array: Array, grid: tflite.Grid) -> Array:
    """Integers as float32; of a grid with several scales each is for a feature, the last axis."""
    if grid.per_channel or abs(grid.zero_point) > 2**15:  # zero points may be beyond the digits of float32
        return np.asarray((array - np.array(grid.zero_points, np.float64)) * grid.scales, np.float32)
    return grids.dequantize(array, np.float32(grid.scale), grid.zero_point)


def describe(model: tflite.ModelT) -> dict[str, list[dict[str, Any]]]:
    """Inputs and outputs of a file: name, position, shape, dtype, zero point, and whether it is a state.

    Inputs are in tensor order. Several outputs may have one position: where a model returns its state, the
    converter writes one tensor under both names.
    """
    graph, signature = model.subgraphs[0], tflite.signature(model)

    def entry(name: str, index: int, indices: list[int]) -> dict[str, Any]:
        tensor, grid = graph.tensors[index], tflite.grid(graph.tensors[index])
        return {
            "name": name,
            "position": indices.index(index),
            "shape": list(tensor.shape),
            "dtype": tflite.type_name(tensor),
            "zero_point": 0 if grid is None else grid.zero_points[0],
            "state": name.startswith(STATE),
        }

    ends = ((signature.inputs, graph.inputs), (signature.outputs, graph.outputs))
    for names, indices in ends:
        if set(names.values()) != set(indices):
            raise tflite.InvalidModel(f"Expected a signature that names all inputs and outputs, got {list(names)}")
    inputs, outputs = ([entry(name, i, indices) for name, i in names.items()] for names, indices in ends)
    return {"inputs": inputs, "outputs": outputs}


class _Files:
    """Temporary files of one run; leaving the context removes them."""

    def __init__(self, model: bytes, inputs: Mapping[str, Array], mode: str) -> None:
        _expect("mode", mode, MODES)
        self._io = describe(tflite.load(model))
        self._arrays = {name: _fit(self._io, mode, name, np.asarray(value)) for name, value in inputs.items()}
        missing = [e["name"] for e in self._io["inputs"] if e["name"] not in inputs and not e["state"]]
        lengths = {array.shape[0] for array in self._arrays.values()}
        if missing or len(lengths) != 1 or 0 in lengths:
            wanted = [entry["name"] for entry in self._io["inputs"]]
            raise ValueError(
                f"Expected the same number of samples (at least 1) for every input of {wanted}, "
                f"got { ({name: len(array) for name, array in self._arrays.items()}) }"
            )
        self._model, self._mode = model, mode

    def __enter__(self) -> _Files:
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(scratch())
            (folder / "model.tflite").write_bytes(self._model)
            (folder / "io.json").write_text(json.dumps(self._io), encoding="utf-8")
            arrays: dict[str, Any] = self._arrays
            np.savez(folder / "inputs.npz", **arrays)
            self._stack = stack.pop_all()
        self.outputs = folder / "outputs.npz"
        self.arguments = [
            *("--model", str(folder / "model.tflite"), "--io", str(folder / "io.json"), "--mode", self._mode),
            *("--inputs", str(folder / "inputs.npz"), "--outputs", str(self.outputs)),
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, at)


def _fit(io: dict[str, list[dict[str, Any]]], mode: str, name: str, array: Array) -> Array:
    """The array as (samples, *shape) or (samples, steps, *shape), checked against the file's input."""
    entry = next((entry for entry in io["inputs"] if entry["name"] == name), None)
    if entry is None:
        raise ValueError(f"Expected inputs {[entry['name'] for entry in io['inputs']]}, got {name!r}")
    if array.dtype != entry["dtype"]:
        raise ValueError(f"Expected {name} to be {entry['dtype']}, got {array.dtype}; see quantize()")
    shape: list[int] = entry["shape"]
    stepped = mode != "sequence" and not entry["state"]
    whole = 1 < len(shape) == array.ndim and array.shape[2:] == tuple(shape[2:]) and array.shape[1] % shape[1] == 0
    if stepped and whole:
        # A file that takes `hop` time steps an invoke: cut the time axis into hops.
        return array.reshape(len(array), -1, *shape)
    lead = 2 if stepped else 1
    if array.shape[lead:] not in (tuple(shape[1:]), tuple(shape)):
        axes = "(samples, steps, …)" if stepped else "(samples, …)"
        raise ValueError(f"Expected {name} to be {axes} with … = {shape[1:]}, got {list(array.shape)}")
    return array.reshape(*array.shape[:lead], *shape)


def _child(runtime: str, python: str | None, timeout: float, *arguments: str) -> dict[str, Any]:
    """Run runner.py and return its answer."""
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment = {**os.environ, **one_thread}
    if python is not None and python != sys.executable:
        # Paths of this environment would shadow the other's packages.
        for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"):
            environment.pop(name, None)
    command = [python or sys.executable, str(RUNNER), "--interpreters", str(interpreters.__file__)]
    command += ["--runtime", runtime, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, env=environment, timeout=timeout, check=False)
    except OSError as error:
        raise RuntimeFailure(f"Expected a Python interpreter at {command[0]}, got {error}") from None
    except subprocess.TimeoutExpired:
        raise RuntimeFailure(f"Expected {runtime} to finish in {timeout} s, got no answer") from None
    stdout, stderr = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    if done.returncode:
        code = done.returncode
        how = f"signal {_signal_name(-code)}" if code < 0 else f"exit code {code}"
        lines = [line.strip() for line in stderr.splitlines() if line.strip() and not line.startswith("INFO:")]
        last = " | ".join(lines[-4:])[-800:] or "nothing on stderr"
        raise RuntimeFailure(f"Expected {runtime} to run the model, got {how}: {last}", code, stdout)
    answer: dict[str, Any] = json.loads(stdout.splitlines()[-1])
    return answer


def _is_from_outside(failure: RuntimeFailure) -> bool:
    """Whether a runtime was ended or starved, which says nothing of it and its model."""
    words = ("MemoryError", "Cannot allocate memory", "failed to map segment", "No space left")
    return failure.exit_code in (-9, -15) or any(word in str(failure) for word in words)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def _expect(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"Expected {what} to be one of {', '.join(allowed)}, got {value!r}")
