"""Models on every runtime of this machine, in child processes."""

from __future__ import annotations

import ast
import os
import pathlib
import sys

import numpy as np
import pytest
import tiny_models
from tiny_models import FEATURES, STEPS, UNITS

from keras_gru_plus.runtime import interpreters
from keras_gru_plus_export import tflite
from keras_gru_plus_export.devices import host

OTHER = os.environ.get("KGP_TFLITE_RUNTIME_PYTHON")
HERE = ("litert", "litert-reference", "tflm")
OLD = ("tflite-runtime", "tflite-runtime-reference")
RUNTIMES = [
    *HERE,
    *(
        pytest.param(name, marks=pytest.mark.skipif(not OTHER, reason="KGP_TFLITE_RUNTIME_PYTHON is not set"))
        for name in OLD
    ),
]


def python_of(runtime: str) -> str | None:
    return OTHER if runtime.startswith("tflite-runtime") else None


def samples(count: int = 5) -> np.ndarray:
    x = np.random.default_rng(2).integers(-128, 128, (count, STEPS, FEATURES)).astype(np.int8)
    x[1:2] = x[:1]
    return x


def run(name: str, runtime: str, x: np.ndarray | None = None) -> dict[str, np.ndarray]:
    mode = name if name in host.MODES else "step"
    inputs = {"x": samples() if x is None else x}
    return host.run(tiny_models.models()[name], inputs, runtime=runtime, mode=mode, python=python_of(runtime))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_mode_gives_the_same_last_output(runtime: str) -> None:
    sequence, step, hop, stateful = (run(name, runtime)["y"] for name in ("sequence", "step", "hop", "stateful"))
    assert sequence.shape == (5, 3)
    assert step.shape == stateful.shape == (5, STEPS, 3)
    assert len(np.unique(sequence)) > 5
    np.testing.assert_array_equal(step[:, -1], sequence)
    np.testing.assert_array_equal(stateful, step)
    np.testing.assert_array_equal(hop, step[:, 1::2])
    # Every sample starts from the initial state.
    np.testing.assert_array_equal(stateful[0], stateful[1])


# Not LiteRT's: its FULLY_CONNECTED differs by one in about one value of a thousand.
@pytest.mark.parametrize("runtime", RUNTIMES[-1:])
def test_old_reference_kernels_are_those_of_tflite_micro(runtime: str) -> None:
    for name in ("sequence", "step"):
        np.testing.assert_array_equal(run(name, runtime)["y"], run(name, "tflm")["y"])


def test_a_float_file_takes_and_gives_real_values() -> None:
    model = tflite.load(tiny_models.models()["step"])
    grid = tflite.grid(model.subgraphs[0].tensors[tflite.signature(model).outputs["y"]])
    assert grid is not None
    real = run("step_float", "litert-reference", samples().astype(np.float32) / 128)
    assert real["y"].dtype == np.float32
    expected = host.dequantize(run("step", "litert-reference")["y"], grid)
    np.testing.assert_array_equal(real["y"], expected)


def test_a_given_state_continues_a_sequence() -> None:
    x, model = samples(), tiny_models.models()["step"]
    whole = run("step", "tflm")
    first = run("step", "tflm", x[:, :4])
    assert first["state_mgu"].shape == (5, 4, UNITS)
    inputs = {"x": x[:, 4:], "state_mgu": first["state_mgu"][:, -1]}
    rest = host.run(model, inputs, runtime="tflm", mode="step")
    np.testing.assert_array_equal(rest["y"], whole["y"][:, 4:])


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_one_tensor_may_be_output_and_state(runtime: str) -> None:
    model = tflite.load(tiny_models.models()["same"])
    assert len(set(model.subgraphs[0].outputs)) == 1
    found = run("same", runtime)
    np.testing.assert_array_equal(found["y"], found["state_mgu"])
    np.testing.assert_array_equal(found["state_mgu"], run("step", runtime)["state_mgu"])


def test_the_smallest_arena_works_and_16_bytes_less_does_not() -> None:
    for name in ("sequence", "step"):
        model, inputs = tiny_models.models()[name], {"x": samples(1)}
        arena = host.smallest_arena(model, inputs, name)
        assert arena % 16 == 0
        assert 1000 < arena < 10_000
        small = host.run(model, inputs, runtime="tflm", mode=name, arena=arena)
        np.testing.assert_array_equal(small["y"], run(name, "tflm")["y"][:1])
        with pytest.raises(host.RuntimeFailure, match=r"exit code 1: .*TFLM failed to allocate tensors"):
            host.run(model, inputs, runtime="tflm", mode=name, arena=arena - 16)


def test_a_runtime_that_dies_is_an_error_message() -> None:
    # With 16 bytes tflite-micro ends in a segmentation fault.
    with pytest.raises(host.RuntimeFailure, match="Expected tflm to run the model, got signal SIG") as caught:
        host.run(tiny_models.models()["step"], {"x": samples(1)}, runtime="tflm", mode="step", arena=16)
    assert caught.value.exit_code is not None
    assert caught.value.exit_code < 0


def test_a_runtime_that_does_not_finish_is_an_error_message() -> None:
    with pytest.raises(host.RuntimeFailure, match=r"to finish in 0\.001 s, got no answer"):
        host.run(tiny_models.models()["step"], {"x": samples(1)}, runtime="tflm", mode="step", timeout=0.001)


def test_a_refused_model_is_one_line() -> None:
    model = tflite.load(tiny_models.models()["step"])
    subtract = next(op for op in model.subgraphs[0].operators if tflite.op_name(model, op) == "SUB")
    subtract.opcodeIndex = tflite.operator_index(model, tflite.OP.TILE)
    with pytest.raises(host.RuntimeFailure, match=r"exit code 1: .*TILE") as caught:
        host.run(tflite.dump(model), {"x": samples(1)}, runtime="tflm", mode="step")
    assert "\n" not in str(caught.value)


def test_wrong_inputs_are_named() -> None:
    model = tiny_models.models()["sequence"]

    def refused(inputs: dict[str, np.ndarray], match: str) -> None:
        with pytest.raises(ValueError, match=match):
            host.run(model, inputs, runtime="litert", mode="sequence")

    refused({}, r"Expected the same number of samples \(at least 1\) for every input of \['x'\], got \{\}")
    refused({"z": samples()}, r"Expected inputs \['x'\], got 'z'")
    refused({"x": samples().astype(np.float32)}, "Expected x to be int8, got float32")
    refused({"x": samples()[:, 1:]}, r"Expected x to be \(samples, …\) with … = \[10, 6\], got \[5, 9, 6\]")
    without_python = {"runtime": "litert", "mode": "sequence", "python": "/nowhere/python"}
    with pytest.raises(host.RuntimeFailure, match="Expected a Python interpreter at /nowhere/python, got"):
        host.run(model, {"x": samples()}, **without_python)
    with pytest.raises(ValueError, match="Expected runtime to be one of litert"):
        host.run(model, {"x": samples()}, runtime="lite", mode="sequence")
    with pytest.raises(ValueError, match="Expected mode to be one of sequence, step, stateful, got 'loop'"):
        host.run(model, {"x": samples()}, runtime="litert", mode="loop")


def test_what_is_installed() -> None:
    assert all(host.available(name) for name in HERE)
    assert not host.available("litert", "/nowhere/python")
    assert host.versions().keys() >= set(HERE)
    model, fed = tiny_models.models()["step"], {"x": samples(1)}
    here, named = (
        host.run(model, fed, runtime="tflm", mode="step", python=python) for python in (None, sys.executable)
    )
    np.testing.assert_array_equal(here["y"], named["y"])


def test_quantize_rounds_halves_away_from_zero_like_the_kernel() -> None:
    grid = tflite.Grid((0.5,), (1,))
    values = np.array([-0.75, -0.25, 0.0, 0.25, 0.75, 1.25, 1e9, -1e9], np.float32)
    np.testing.assert_array_equal(host.quantize(values, grid), [-1, 0, 1, 2, 3, 4, 127, -128])
    just_below = np.nextafter(np.float32(0.25), np.float32(0))
    assert host.quantize(just_below, grid) == 1
    with pytest.raises(ValueError, match="Expected numbers to quantize, got NaN"):
        host.quantize([np.nan], grid)
    np.testing.assert_array_equal(host.dequantize(np.array([-1, 3], np.int8), grid), np.float32([-1.0, 1.0]))


def test_quantize_is_the_quantize_of_a_float_file() -> None:
    # Halves of a step, which the state output shows: with a gate that is never full it is the input's grid.
    grid = tflite.Grid((1 / 128,), (0,))
    x = (np.arange(-70, 50, 2, dtype=np.float32)[:60].reshape(1, STEPS, FEATURES) + 0.5) / 128
    real = run("step_float", "tflm", x)
    integer = run("step", "tflm", host.quantize(x, grid))
    model = tflite.load(tiny_models.models()["step"])
    head = tflite.grid(model.subgraphs[0].tensors[tflite.signature(model).outputs["y"]])
    assert head is not None
    np.testing.assert_array_equal(real["y"], host.dequantize(integer["y"], head))


@pytest.mark.parametrize("path", [host.RUNNER, pathlib.Path(interpreters.__file__)], ids=lambda path: path.stem)
def test_what_runs_in_other_pythons_is_python_3_8_and_imports_nothing_of_the_project(path: pathlib.Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in imported} - sys.stdlib_module_names == {"numpy"}
