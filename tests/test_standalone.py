"""Standalone C: TFLite Micro's integers on this machine under sanitizers and on five emulated cores."""

from __future__ import annotations

import functools
import shutil

import export_models
import keras
import numpy as np
import pytest

import keras_gru_plus as kgp
from keras_gru_plus_export import convert, tflite
from keras_gru_plus_export.devices import bare_metal, host
from keras_gru_plus_export.standalone import Unsupported, compile_step, fit, kernels
from keras_gru_plus_export.standalone.graph import Graph, read

needs_tflm = pytest.mark.skipif(not host.available("tflm"), reason="tflite-micro: Linux x86-64")
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc")
needs_cores = pytest.mark.skipif(bare_metal.unavailable() is not None, reason=str(bare_metal.unavailable()))

STEPS, RESET = 60, 25
FAST = ("gru", "mgu_hard", "grud", "mixed", "gru_per_channel", "qrnn_wide")
#: Front ends: hops, convolutions, tables of tokens.
WITHOUT_C = ("keyword", "dilated", "image", "normalized_hops", "normalized_inside", "text", "residual")
STEPPING = [name for name, spec in export_models.MODELS.items() if spec.steps and name not in WITHOUT_C]


def inputs_of(graph: Graph) -> np.ndarray:
    width = sum(end.size for end in graph.inputs)
    values = np.random.default_rng(0).normal(0, 60, (STEPS, width))
    return np.clip(np.round(values), -128, 127).astype(np.int8)


def wanted(data: bytes, graph: Graph, x: np.ndarray) -> np.ndarray:
    """Outputs and states of every step by TFLite Micro, which starts anew at the reset."""
    ends = np.cumsum([0, *(end.size for end in graph.inputs)])
    shapes = {e["name"]: e["shape"] for e in host.describe(tflite.load(data))["inputs"]}
    found = []
    for part in (x[:RESET], x[RESET:]):
        fed = {
            end.name: part[:, first : first + end.size].reshape(1, len(part), *shapes[end.name])
            for end, first in zip(graph.inputs, ends)
        }
        outputs = host.run(data, fed, runtime="tflm", mode="step")
        names = [end.name for end, _ in (*graph.outputs, *graph.states)]
        found.append(np.concatenate([outputs[name].reshape(len(part), -1) for name in names], axis=1))
    return np.concatenate(found)


@needs_tflm
@needs_gcc
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in STEPPING]
)
def test_every_step_has_the_integers_of_tflite_micro(name: str) -> None:
    for target in ("tflm", "litert"):
        data = export_models.converted(name, "step", target=target)
        graph, sources = read(data), compile_step(data)
        x = inputs_of(graph)
        expected = wanted(data, graph, x)
        assert len(np.unique(expected)) > 20
        np.testing.assert_array_equal(bare_metal.run(sources, graph, x, reset=RESET).outputs, expected)


@functools.cache
def mgu_32() -> bytes:
    """MGU(32) saturating on 28 features with a classifier of 10, the README's example."""
    keras.utils.set_random_seed(0)
    layer = kgp.GRUPlus(
        32,
        variant="mgu",
        activation="hard_tanh",
        recurrent_activation=kgp.activations.HardSigmoid(0.25),
        name="mgu",
    )
    model = keras.Sequential([keras.Input((28, 28), name="x"), layer, keras.layers.Dense(10, name="logits")])
    samples = np.random.default_rng(0).normal(0, 1, (64, 28, 28)).astype("f")
    return convert(kgp.calibrate(kgp.quantize_aware(model), samples), mode="step", target="tflm")


#: Instructions of a step that are not exceeded; compilers differ a little.
CEILINGS = {"cortex-m0": 40_000, "cortex-m3": 17_000, "cortex-m4": 12_500, "cortex-m7": 12_500, "cortex-m55": 7_000}


@needs_tflm
@needs_cores
def test_emulated_cores_give_the_same_with_few_instructions_and_little_code() -> None:
    data = mgu_32()
    graph, sources = read(data), compile_step(data)
    x = inputs_of(graph)
    expected = wanted(data, graph, x)
    for core, ceiling in CEILINGS.items():
        run = bare_metal.run(sources, graph, x, core=core, reset=RESET)
        np.testing.assert_array_equal(run.outputs, expected, err_msg=core)
        assert 1000 < run.instructions <= ceiling, (core, run.instructions)
        assert 300 < run.code <= 1500, (core, run.code)


@needs_tflm
@needs_cores
@pytest.mark.slow
@pytest.mark.parametrize("name", ["gru", "grud", "mixed", "gru_per_channel", "stacked"])
def test_emulated_cores_give_the_same_for_other_models(name: str) -> None:
    data = export_models.converted(name, "step", target="tflm")
    graph, sources = read(data), compile_step(data)
    x = inputs_of(graph)
    expected = wanted(data, graph, x)
    for core in bare_metal.CORES:
        np.testing.assert_array_equal(bare_metal.run(sources, graph, x, core=core, reset=RESET).outputs, expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", WITHOUT_C)
def test_front_ends_have_no_c_and_are_refused(name: str) -> None:
    for target in ("tflm", "litert"):
        with pytest.raises(Unsupported, match="Expected "):
            compile_step(export_models.converted(name, "step", target=target))


def test_what_has_no_c_is_refused_by_name() -> None:
    with pytest.raises(Unsupported, match=r"Expected operators that standalone C has \(ADD, .*, got WHILE"):
        compile_step(export_models.converted("mgu_hard", "sequence"))
    with pytest.raises(Unsupported, match="Expected int8 inputs and outputs, got 'signal' of type int16"):
        compile_step(export_models.converted("mgu_hard_int16", "step"))


def c_result(v: np.ndarray, rounding: fit.Rounding) -> np.ndarray:
    """What the generated C computes, written down a second time."""
    found = (v + rounding.offset + np.where(v < 0, rounding.negative, 0)) >> rounding.shift
    low = -(2**31) if rounding.low is None else rounding.low
    return np.clip(found, low, 2**31 if rounding.high is None else rounding.high)


@pytest.mark.parametrize("seed", range(4))
def test_arithmetic_is_the_kernels_for_every_pair(seed: int) -> None:
    random = np.random.default_rng(seed)
    a, b, y = (
        tflite.Grid((float(np.float32(s)),), (int(z),))
        for s, z in zip(random.uniform(0.003, 0.02, 3), random.integers(-20, 20, 3))
    )
    left, right = kernels.EVERY[:, None], kernels.EVERY[None]
    table = kernels.add(a, b, y, subtract=bool(seed % 2))
    found = fit.sum_of_two(table, a.scale / y.scale, (-1) ** seed * b.scale / y.scale)
    if found is not None:  # else the kernel's own three roundings are written
        np.testing.assert_array_equal(c_result(found.first * left + found.second * right, found.rounding), table)
    real = a.scale * b.scale / y.scale
    table = kernels.multiply(a, b, y)
    times = fit.product(table, a.zero_point, b.zero_point, real, kernels.multiplier(real))
    assert times is not None
    v = (left - times.first) * (right - times.second) * times.factor
    np.testing.assert_array_equal(c_result(v, times.rounding), table)
