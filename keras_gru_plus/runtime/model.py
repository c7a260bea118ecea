"""A `.tflite` file on one interpreter: real numbers in and out, states carried along."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from . import interpreters
from .file import File, ModelError, TensorInfo, read
from .grid import Quantizer, dequantize
from .trial import tried

Array = np.ndarray[Any, Any]


@dataclasses.dataclass(frozen=True)
class Info:
    """What a model is and what runs it.

    Attributes:
        mode: "sequence", "step" or "stateful".
        runtime, version: of the interpreter.
        threads: it may use.
        inputs, outputs: without the states.
        states: of a `step` file; those of a `stateful` one are inside.
        labels: class names, empty where the file has none.
    """

    mode: str
    runtime: str
    version: str
    threads: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    states: tuple[TensorInfo, ...]
    labels: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The same as plain values, tensors by name."""
        tensors = {
            field: {tensor.name: tensor.to_json() for tensor in getattr(self, field)}
            for field in ("inputs", "outputs", "states")
        }
        plain = {field: getattr(self, field) for field in ("mode", "runtime", "version", "threads")}
        return {**plain, **tensors, "labels": list(self.labels)}


class Model:
    """A loaded model; see `load`.

    Real numbers are quantized on the way in and dequantized on the way out; with `raw=True` both are the file's own
    integers. A model with one input takes a plain array, one with several a dict by name; outputs likewise.
    Not for several threads at once: each loads its own.
    """

    def __init__(self, file: File, runtime: str, threads: int) -> None:
        self._file, self._runtime, self._threads = file, runtime, threads
        count = 1 + max(tensor.position for tensor in file.outputs)
        try:
            self._interpreter = interpreters.make(runtime, file.content, count, threads=threads)
        except (RuntimeError, ValueError) as error:
            raise self._refused(error) from None
        self._inputs = [tensor for tensor in file.inputs if not tensor.is_state]
        self._outputs = [tensor for tensor in file.outputs if not tensor.is_state]
        self._states = [tensor for tensor in file.inputs if tensor.is_state]
        sources = {tensor.name: tensor.position for tensor in file.outputs}
        self._carried = [(tensor.position, sources[tensor.name]) for tensor in self._states]
        self._values = [tensor.zero() for tensor in file.inputs]
        self._enter = {tensor.name: _Entry(tensor, file.mode) for tensor in self._inputs}
        self._leave = [_Exit(tensor, self._one_step()) for tensor in self._outputs]

    def _one_step(self) -> bool:
        """Whether an invoke takes one time step."""
        return self.mode != "sequence" and all(t.shape[1] == 1 for t in self._inputs if len(t.shape) > 2)

    @property
    def mode(self) -> str:
        """Which calls it takes: "sequence" (`predict`), "step" or "stateful" (`step`, `stream`)."""
        return self._file.mode

    @property
    def runtime(self) -> str:
        """What runs it: "litert", "tflite-runtime" or "tflm"."""
        return self._runtime

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the output, empty where the file has none."""
        return self._file.labels

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs, without the states."""
        return [tensor.name for tensor in self._outputs]

    @property
    def info(self) -> Info:
        """Mode, runtime, tensors and labels."""
        version = interpreters.version_of(self._runtime)
        inputs, outputs, states = (tuple(group) for group in (self._inputs, self._outputs, self._states))
        return Info(self.mode, self._runtime, version, self._threads, inputs, outputs, states, self.labels)

    def predict(self, x: Any, *, raw: bool = False) -> Any:
        """Outputs of a `sequence` file, one invoke a sample.

        Args:
            x: `(samples, timesteps, features)`, or `(timesteps, features)` for one sample; a dict of those by name
                where there are several inputs.
            raw: the file's integers in and out.

        Returns:
            `(samples, …)`, or `(…)` for one sample; a dict by name where there are several outputs.

        Raises:
            ValueError: another shape or type, NaN, or a file of another mode.
        """
        if self.mode != "sequence":
            raise ValueError(
                f"Expected a model of mode 'sequence' for predict, got {self.mode!r}; try step or stream, or export "
                "it with --mode sequence."
            )
        given = self._by_name(x)
        arrays = {name: self._enter[name].batch(value, raw) for name, value in given.items()}
        lengths = {len(array) for array in arrays.values()}
        single = {np.ndim(value) for value in given.values()} == {len(tensor.shape) - 1 for tensor in self._inputs}
        if len(lengths) != 1 or lengths == {0}:
            raise ValueError(
                f"Expected the same number of samples (at least 1) of every input, got {sorted(lengths)}."
            )
        rows = []
        for sample in range(lengths.pop()):
            for name, array in arrays.items():
                entry = self._enter[name]
                self._values[entry.position] = entry(array[sample], raw)
            results = self._invoke()
            rows.append([leave(results, raw) for leave in self._leave])
        stacked = rows[0] if single else [np.stack(column) for column in zip(*rows)]
        return self._named(stacked)

    def step(self, x: Any, *, raw: bool = False) -> Any:
        """Outputs of a `step` or `stateful` file for the next time step; the state goes on.

        Args:
            x: `(features,)`, or `(hop, features)` for a file that takes several time steps an invoke; a dict of
                those by name where there are several inputs.
            raw: the file's integers in and out.

        Returns:
            The output without its batch, `(classes,)`; a dict by name where there are several.

        Raises:
            ValueError: another shape or type, NaN (the state stays as it was), or a `sequence` file.
        """
        if self._file.mode == "sequence":
            raise ValueError(
                "Expected a model of mode 'step' or 'stateful', got 'sequence', which has no state to go on from; "
                "try predict, or export it with --mode step."
            )
        values = self._values
        for name, value in self._by_name(x).items():
            entry = self._enter[name]
            values[entry.position] = entry(value, raw)
        results = self._invoke()
        for target, source in self._carried:
            values[target] = results[source]
        return self._named([leave(results, raw) for leave in self._leave])

    def stream(self, steps: Iterable[Any], *, raw: bool = False) -> Iterator[Any]:
        """Outputs for each of `steps`, as `step` gives them, as soon as they are there.

        It goes on from where the model stands: call `reset` first for a new signal.
        """
        for x in steps:
            yield self.step(x, raw=raw)

    def reset(self) -> None:
        """Back to the initial state, real zero. A `stateful` file is loaded anew for that, in milliseconds."""
        for tensor in self._states:
            self._values[tensor.position] = tensor.zero()
        if self.mode == "stateful":
            self._interpreter.fresh()

    @property
    def states(self) -> dict[str, Array]:
        """The integers of a `step` file's states by name, as they stand; may be set to go on from there.

        Raises:
            ValueError: on setting, other names, shapes or types.
        """
        return {tensor.name: self._values[tensor.position].copy() for tensor in self._states}

    @states.setter
    def states(self, values: Mapping[str, Any]) -> None:
        arrays = {name: np.asarray(value) for name, value in values.items()}
        wanted = {tensor.name: (tensor.shape, tensor.dtype) for tensor in self._states}
        found = {name: (array.shape, array.dtype.name) for name, array in arrays.items()}
        if found != wanted:
            raise ValueError(f"Expected states {wanted}, got {found}.")
        for tensor in self._states:
            self._values[tensor.position] = arrays[tensor.name].copy()

    def _invoke(self) -> list[Array]:
        try:
            return list(self._interpreter.invoke(self._values))
        except (RuntimeError, ValueError) as error:
            raise self._refused(error) from None

    def _refused(self, error: Exception) -> ModelError:
        return ModelError(
            f"Expected a model that {self._runtime} {interpreters.version_of(self._runtime)} can run, got: "
            f"{' '.join(str(error).split())}; try a newer or another runtime, or export it again."
        )

    def _by_name(self, x: Any) -> Mapping[str, Any]:
        if isinstance(x, Mapping):
            if x.keys() != self._enter.keys():
                raise ValueError(f"Expected inputs {', '.join(self._enter)}, got {', '.join(map(str, x)) or 'none'}.")
            return x
        if len(self._inputs) > 1:
            raise ValueError(f"Expected a dict with inputs {', '.join(self._enter)}, got {type(x).__name__}.")
        return {self._inputs[0].name: x}

    def _named(self, values: list[Any]) -> Any:
        return values[0] if len(values) == 1 else {t.name: value for t, value in zip(self._outputs, values)}


class _Entry:
    """One input: real numbers to the file's."""

    def __init__(self, tensor: TensorInfo, mode: str) -> None:
        self.position = tensor.position
        self._tensor, self._shape, self._dtype = tensor, tensor.shape, np.dtype(tensor.dtype)
        leads = range(3 if mode != "sequence" else 2)
        self._shapes = {self._shape[n:] for n in leads if set(self._shape[:n]) <= {1}}
        self._quantizer = None
        if tensor.scale is not None and tensor.zero_point is not None:
            self._quantizer = Quantizer(tensor.scale, tensor.zero_point, tensor.dtype, self._shape)

    def __call__(self, x: Any, raw: bool) -> Array:
        """The value of one invoke."""
        quantizer = self._quantizer
        if raw or quantizer is None:
            x = self._plain(x, raw)
        elif not (type(x) is np.ndarray and x.dtype == np.float32):
            x = _real(x)
        if x.shape not in self._shapes:
            self._refuse(x)
        return x.reshape(self._shape) if raw or quantizer is None else quantizer(x)

    def batch(self, x: Any, raw: bool) -> Array:
        """Samples along the first axis."""
        array = np.asarray(x) if raw else _real(x)
        if array.ndim == len(self._shape) - 1:
            array = array[None]
        if array.shape[1:] != self._shape[1:]:
            self._refuse(array, "samples")
        return array

    def _plain(self, x: Any, raw: bool) -> Array:
        """A value in the file's own type."""
        array = np.asarray(x)
        if raw and array.dtype != self._dtype:
            raise ValueError(f"Expected {self._tensor.name!r} to be {self._dtype} (raw=True), got {array.dtype}.")
        array = np.ascontiguousarray(array, self._dtype)
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise ValueError(f"Expected numbers for {self._tensor.name!r}, got NaN; clean the data first")
        return array

    def _refuse(self, x: Array, lead: str = "") -> None:
        wanted = self._shape[1:] if lead or len(self._shape) < 3 or self._shape[1] > 1 else self._shape[2:]
        shape = ", ".join([*([lead] if lead else []), *map(str, wanted)])
        comma = "," if "," not in shape else ""
        raise ValueError(f"Expected {self._tensor.name!r} of shape ({shape}{comma}), got {x.shape}.")


class _Exit:
    """One output: the file's numbers to real ones, without the batch and, for one time step, without time."""

    def __init__(self, tensor: TensorInfo, one_step: bool) -> None:
        self._name, self._position, shape = tensor.name, tensor.position, tensor.shape
        drop = 1 + (one_step and len(shape) > 2 and shape[1] == 1)
        self._shape = shape[drop:] if shape[0] == 1 else shape
        self._scale = None if tensor.scale is None else np.array(tensor.scale, np.float32)
        self._zero_point = np.array(0 if tensor.zero_point is None else tensor.zero_point, np.float32)

    def __call__(self, results: list[Array], raw: bool) -> Array:
        try:
            value = results[self._position].reshape(self._shape)
        except ValueError:
            found = results[self._position].shape
            raise ModelError(
                f"Expected {self._name!r} of shape {self._shape}, got {found}; export the file again."
            ) from None
        return value if raw or self._scale is None else dequantize(value, self._scale, self._zero_point)


def _real(x: Any) -> Array:
    try:
        return np.asarray(x, np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"Expected an array of numbers, got {type(x).__name__} ({error}).") from None


def load(
    path: str | os.PathLike[str] | bytes, runtime: str = "auto", threads: int = 1, *, trial: bool = False
) -> Model:
    """Loads a `.tflite` file.

    Args:
        path: of the file, or its bytes.
        runtime: "litert" (package ai-edge-litert), "tflite-runtime" or "tflm" (tflite-micro); "auto" takes the first
            that is installed, and `Model.runtime` says which. "litert-reference" and "tflite-runtime-reference" run
            the slow reference kernels.
        threads: for one invoke; models of this size are fastest with one. TFLite Micro has one.
        trial: for a file of unknown origin or from a worn card: it runs in a process of its own first. Every index
            and size of a file is checked in any case, but an interpreter trusts more than those, and one that a
            damaged file crashes ends the process that it is in. Takes the start of a Python, 0.2 s on a desktop.

    Raises:
        ModelError: no such file, no TFLite model, a damaged one, or one that the runtime cannot run.
        ImportError: no runtime is installed, or not this one.
        ValueError: unknown runtime, no thread.

    Example:
        model = load("model.tflite")
        for probabilities in model.stream(sensor):
            print(model.labels[probabilities.argmax()])
    """
    if runtime not in ("auto", *interpreters.RUNTIMES):
        raise ValueError(
            f"Expected `runtime` to be one of auto, {', '.join(interpreters.RUNTIMES)}, got {runtime!r}."
        )
    if threads < 1 or (threads > 1 and runtime == "tflm"):
        raise ValueError(f"Expected `threads` to be 1{' or more' if runtime != 'tflm' else ''}, got {threads}.")
    file = read(path)
    reasons = []
    for candidate in interpreters.PACKAGES if runtime == "auto" else (runtime,):
        reason = interpreters.unusable(candidate)
        if reason is None:
            if trial:
                tried(file, candidate, threads)
            return Model(file, candidate, threads)
        reasons.append(reason)
    raise ImportError(f"Expected a runtime for .tflite files, got none: {'; '.join(reasons)}.")
