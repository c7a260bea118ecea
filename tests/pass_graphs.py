"""The graphs in front of and behind each pass while models are converted."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from export_models import calibrated

from keras_gru_plus_export import tflite
from keras_gru_plus_export.devices import host

convert_module = importlib.import_module("keras_gru_plus_export.convert")
#: Passes whose outputs are other numbers on purpose; the taps of the files that they make are compared with fake
#: quantization, which has those numbers.
OTHER_NUMBERS = ("kernel_scales", "widen")
NAMES = (
    *("dead_loop_variables", "narrow_shapes", "table_activations", "carried_state", "merge_loops", "rows_of_input"),
    *("call_steps", "unroll_while", "break_ties", "table_gates", "subtract_by_adding", "full_offsets"),
    *("name_inputs_and_outputs", "relabel_inputs", "float_io", "scale_inputs", "reshape_options", "strip"),
    *("shared_memory", "common_operators", *OTHER_NUMBERS),
)


class Application(NamedTuple):
    """A pass in the conversion of a model: the file before and after it, and what applies it."""

    name: str
    before: bytes
    after: bytes
    change: Callable[[tflite.ModelT], Any]
    arguments: tuple[Any, ...]


def applications(model: str, **options: Any) -> list[Application]:
    """Those of the conversion of one of the models of `export_models` with these options of `convert`."""
    found: list[Application] = []

    def recording(name: str) -> Callable[..., Any]:
        real = getattr(convert_module, name)

        def change(flat: tflite.ModelT, *arguments: Any, **more: Any) -> Any:
            before = tflite.dump(flat)
            result = real(flat, *arguments, **more)
            apply = lambda graph: real(graph, *arguments, **more)  # noqa: E731
            found.append(Application(name, before, tflite.dump(flat), apply, arguments))
            return result

        return change

    with mock.patch.multiple(convert_module, **{name: recording(name) for name in NAMES}):
        convert_module.convert(calibrated(model), **options)
    return found


def sines(application: Application) -> bytes:
    """The file before `table_activations` after the pass with tables of the SIN by which activations are marked."""

    def tabulate(inputs: np.ndarray, grid: tflite.Grid) -> np.ndarray:
        integers = np.floor(np.sin(inputs.astype(np.float32)) / grid.scale + 0.5) + grid.zero_point
        return np.clip(integers, -128, 127).astype(np.int8)

    flat = tflite.load(application.before)
    convert_module.table_activations(flat, {"": tabulate})
    return tflite.dump(flat)


def fed(data: bytes, samples: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Random inputs for a file, states among them."""
    flat, inputs = tflite.load(data), {}
    for name, index in tflite.signature(flat).inputs.items():
        tensor = flat.subgraphs[0].tensors[index]
        kind, shape = tflite.dtype(tensor), (samples, *tensor.shape[1:])
        if kind == np.float32:
            inputs[name] = generator.normal(0, 1, shape).astype(kind)
        elif kind == np.int32:  # the smallest vocabulary of the models has five tokens
            inputs[name] = generator.integers(0, 5, shape).astype(kind)
        else:
            inputs[name] = generator.integers(np.iinfo(kind).min, np.iinfo(kind).max + 1, shape).astype(kind)
    return inputs


def compared(application: Application, runtime: str, mode: str, samples: int, seed: int) -> int | None:
    """How many integers or floats of the outputs differ; None where the graph before the pass cannot run."""
    name, before, after = application.name, application.before, application.after
    inputs = fed(before, samples, np.random.default_rng(seed))
    given, ends = dict(inputs), {}
    flat = tflite.load(before)
    if name == "table_activations":
        after = sines(application)
    elif name == "name_inputs_and_outputs":
        given = {application.arguments[0][key]: array for key, array in inputs.items()}
        ends = application.arguments[1]
    elif name == "float_io":
        given = {key: _real(flat, tflite.signature(flat).inputs[key], array) for key, array in inputs.items()}
    elif name == "scale_inputs":  # what the graph read before it now makes of the raw values itself
        for key, (offset, factor) in application.arguments[0].items():
            inputs[key] = (given[key] + np.float32(offset)) * np.float32(factor)
    if mode == "stateful":
        inputs, given = ({key: array[:, None] for key, array in part.items()} for part in (inputs, given))
    try:
        wanted = host.run(before, inputs, runtime=runtime, mode=mode)
    except host.RuntimeFailure:
        return None
    got = host.run(after, given, runtime=runtime, mode=mode)
    assert got.keys() == {ends.get(key, key) for key in wanted}
    differing = 0
    for key, array in wanted.items():
        if name == "float_io":
            array = _real(flat, tflite.signature(flat).outputs[key], array)
        differing += int(np.count_nonzero(array != got[ends.get(key, key)]))
    return differing


def _real(flat: tflite.ModelT, index: int, array: np.ndarray) -> np.ndarray:
    grid = tflite.grid(flat.subgraphs[0].tensors[index])
    return array if grid is None else host.dequantize(array, grid)


def twice(application: Application) -> str:
    """What is wrong with the pass a second time: it is to change no byte, or to refuse."""
    flat = tflite.load(application.after)
    if application.name == "scale_inputs":  # a scaling of what is scaled is another scaling
        return ""
    if application.name == "float_io":
        try:
            application.change(flat)
        except ValueError:
            return ""
        return "float ends were taken for integers"
    if application.name == "name_inputs_and_outputs":
        inputs, outputs = ({name: name for name in part.values()} for part in application.arguments)
        convert_module.name_inputs_and_outputs(flat, inputs, outputs)
    else:
        application.change(flat)
    return "" if tflite.dump(flat) == application.after else "a second time it changes the file"
