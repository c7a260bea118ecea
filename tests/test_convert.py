"""`convert`: what is in the file, what is refused, and what happens when the converter dies or lies."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_models
from export_models import ALL, MODELS, calibrated, converted, in_tiers

import keras_gru_plus as kgp
from keras_gru_plus.quantization.model import FakeQuantNetwork
from keras_gru_plus_export import ConversionError, analyze, convert, tflite, worker
from keras_gru_plus_export.check import check
from keras_gru_plus_export.convert import input_shapes
from keras_gru_plus_export.devices import host
from keras_gru_plus_export.streaming import check_steps, state_shapes

convert_module = importlib.import_module("keras_gru_plus_export.convert")

FILES = [(name, mode) for name, spec in MODELS.items() for mode in host.MODES if spec.steps or mode == "sequence"]
#: Inputs and outputs in Keras' order; in mode `step` the states follow.
ENDS = {
    "gru": (["signal"], ["classes"], ["state_gru"]),
    "stacked": (["signal"], ["per_step"], ["state_first", "state_second"]),
    "mixed": (["signal", "other"], ["gate", "positive", "per_step"], ["state_left", "state_right"]),
    "states": (["signal"], ["gru", "head"], ["state_gru"]),
}


@pytest.mark.parametrize(("name", "mode"), in_tiers(FILES))
def test_nothing_in_a_file_is_float(name: str, mode: str) -> None:
    found = analyze(converted(name, mode))
    operators = [op for graph in found.graphs for op in graph.operators]
    types = {info.type for op in operators for info in (*op.inputs, *op.outputs) if info}
    assert types <= {"int8", "int32", "bool", "resource"}
    assert not {op.name for op in operators} & {"QUANTIZE", "DEQUANTIZE"}
    indices = {"int32"} if name in ("text", "tagger") else set()
    assert {info.type for info in (*found.inputs, *found.outputs)} == {"int8"} | indices
    assert not found.float_tensors
    model = calibrated(name)
    states = state_shapes(model, mode, input_shapes(model, mode, None))
    assert found.resource_variables == (len(states) if mode == "stateful" else 0)


@pytest.mark.parametrize("mode", host.MODES)
@pytest.mark.parametrize("name", ENDS)
def test_ends_have_keras_names_in_keras_order(name: str, mode: str) -> None:
    inputs, outputs, states = ENDS[name]
    states = states if mode == "step" else []
    model = tflite.load(converted(name, mode))
    definition, graph = model.signatureDefs[0], model.subgraphs[0]
    assert [tflite.text(entry.name) for entry in definition.inputs] == [*inputs, *states]
    assert [tflite.text(entry.name) for entry in definition.outputs] == [*outputs, *states]
    assert [entry.tensorIndex for entry in definition.inputs] == graph.inputs
    assert [entry.tensorIndex for entry in definition.outputs] == graph.outputs
    assert [tflite.text(graph.tensors[index].name) for index in graph.inputs] == [*inputs, *states]
    steps = 12 if mode == "sequence" else 1
    shapes = [[1, steps, 5]] * len(inputs) + [[1, calibrated(name).get_layer(s[6:]).units] for s in states]
    assert [graph.tensors[index].shape for index in graph.inputs] == shapes


def test_inputs_are_labelled_with_their_learned_range() -> None:
    model = tflite.load(converted("mixed", "sequence"))
    for name, index in tflite.signature(model).inputs.items():
        low, _ = calibrated("mixed").taps.all()[f"{name}/input"].range()
        grid = tflite.grid(model.subgraphs[0].tensors[index])
        assert grid is not None
        assert grid.same(tflite.Grid((float(-low) / 128,), (0,)))


@pytest.mark.parametrize(("name", "mode"), [("gru", "sequence"), ("mixed", "step"), ("stacked", "stateful")])
def test_float_ends_are_the_int8_file_behind_quantize_and_dequantize(name: str, mode: str) -> None:
    plain, real = converted(name, mode), converted(name, mode, io="float")
    found = analyze(real)
    assert not found.float_tensors
    assert {info.type for info in (*found.inputs, *found.outputs)} == {"float32"}
    names = [op.name for graph in found.graphs for op in graph.operators]
    assert names.count("QUANTIZE") == len(found.inputs)
    assert names.count("DEQUANTIZE") == len(found.outputs)
    model = tflite.load(plain)
    ends = {**tflite.signature(model).inputs, **tflite.signature(model).outputs}
    grids = {key: tflite.grid(model.subgraphs[0].tensors[index]) for key, index in ends.items()}
    generator = np.random.default_rng(4)
    integers = {
        entry["name"]: generator.integers(-128, 128, (3, *entry["shape"][1:]) if entry["state"] else (3, 12, 5))
        .astype(np.int8)
        for entry in host.describe(model)["inputs"]
    }  # fmt: skip
    expected = host.run(plain, integers, runtime="litert-reference", mode=mode)
    fed = {key: host.dequantize(array, grids[key]) for key, array in integers.items()}
    got = host.run(real, fed, runtime="litert-reference", mode=mode)
    assert got.keys() == expected.keys()
    for key, array in got.items():
        assert len(np.unique(array)) > 3
        np.testing.assert_array_equal(array, host.dequantize(expected[key], grids[key]))


@pytest.mark.parametrize(("name", "mode"), [("features", "sequence"), ("features_int16", "step")])
def test_float_ends_scale_each_feature_before_quantize(name: str, mode: str) -> None:
    plain, real = converted(name, mode), converted(name, mode, io="float")
    names = [op.name for op in analyze(real).graphs[0].operators][:3]
    assert names == ["ADD", "MUL", "QUANTIZE"]
    model = tflite.load(plain)
    (tensor, *_), ends = (model.subgraphs[0].tensors[i] for i in model.subgraphs[0].inputs), tflite.signature(model)
    data = ALL[name].data(6, seed=2)["signal"]
    grid, key = tflite.grid(tensor), next(iter(ends.outputs))
    integers = host.quantize(data, grid, tflite.dtype(tensor))
    fed = {"signal": host.dequantize(integers, grid)}
    head = tflite.grid(model.subgraphs[0].tensors[ends.outputs[key]])
    for runtime in filter(host.available, ("litert", "litert-reference", "tflm")):
        wanted = host.run(plain, {"signal": integers}, runtime=runtime, mode=mode)[key]
        got = host.run(real, fed, runtime=runtime, mode=mode)[key]
        assert len(np.unique(got)) > 5
        np.testing.assert_array_equal(got, host.dequantize(wanted, head))


@pytest.mark.parametrize("by_feature", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_an_input_far_from_zero_that_hardly_moves_keeps_its_resolution(by_feature: bool) -> None:
    """The zero point is where it belongs, millions of steps away, and features that never vary are 0."""
    generator = np.random.default_rng(3)
    x = (101325 + 8 * generator.normal(0, 1, (32, 12, 1)).cumsum(axis=1)).astype(np.float32)
    if by_feature:
        x = np.concatenate([x, np.full_like(x, 1013.25), generator.normal(0, 1e-3, x.shape)], axis=2, dtype="f")
    keras.utils.set_random_seed(2)
    scale = keras.layers.Normalization()
    scale.adapt(x)
    layers = [
        keras.Input(x.shape[1:], name="x"),
        scale,
        kgp.GRUPlus(6, variant="mgu"),
        keras.layers.Dense(2, name="y"),
    ]
    model = keras.Sequential(layers)
    wanted = model.predict(x, verbose=0)
    for recipe, most in (("int8", 0.03), ("int16x8", 0.02)):
        quantized = kgp.calibrate(kgp.quantize_aware(model, recipe), x)
        data = convert(quantized)
        flat = tflite.load(data)
        grid = tflite.grid(flat.subgraphs[0].tensors[flat.subgraphs[0].inputs[0]])
        assert grid is not None
        assert grid.per_channel == by_feature
        assert max(map(abs, grid.zero_points)) < 2**31
        for runtime in filter(host.available, ("litert", "litert-reference", "tflm")):
            integers = host.quantize(x, grid, f"int{quantized.recipe.activation_bits}")
            if by_feature:
                assert not integers[..., 1].any()
            out = tflite.grid(flat.subgraphs[0].tensors[flat.subgraphs[0].outputs[0]])
            found = host.dequantize(host.run(data, {"x": integers}, runtime=runtime, mode="sequence")["y"], out)
            assert np.abs(found - wanted).mean() < most * np.abs(wanted).mean()


@pytest.mark.parametrize("mode", ["sequence", "step"])
@pytest.mark.parametrize("name", ["gru_before", "coupled_hard", "mixed", "stacked", "states"])
def test_keep_names_gives_every_tap_a_tensor(name: str, mode: str) -> None:
    model = calibrated(name)
    named = tflite.load(converted(name, mode, keep_names=True))
    names = {tflite.text(tensor.name) for graph in named.subgraphs for tensor in graph.tensors}
    values = FakeQuantNetwork(model._graph, model.taps, training=False).run(
        [tf.zeros((1, 12, 5))] * len(model.inputs)
    )
    # Inputs and outputs are called as Keras calls them; what is a state goes out as one, too.
    ends = {value.key for value in values} | {key for key in model.taps.all() if key.endswith(("/input", "/h"))}
    assert set(model.taps.all()) - names <= ends
    assert not any(
        "/" in tflite.text(t.name) for g in tflite.load(converted(name, mode)).subgraphs for t in g.tensors
    )


def test_names_are_all_that_keep_names_adds() -> None:
    named, bare = (tflite.load(converted("stacked", "sequence", **o)) for o in ({"keep_names": True}, {}))
    for model in (named, bare):
        for graph in model.subgraphs:
            for tensor in graph.tensors:
                tensor.name = None
    assert tflite.dump(named) == tflite.dump(bare)


def _open_model() -> Any:
    """`calibrated("gru")` with an open time dimension."""
    signal = keras.Input((None, 5), name="signal")
    x = kgp.GRUPlus(8, name="gru")(signal)
    model = keras.Model(signal, keras.layers.Dense(4, activation="softmax", name="classes")(x))
    quantized = kgp.quantize_aware(model)
    quantized.set_weights(calibrated("gru").get_weights())
    return quantized


def test_open_time_takes_the_window_it_is_given() -> None:
    model = _open_model()
    assert convert(model, timesteps=12) == converted("gru", "sequence")
    assert convert(model, mode="step") == converted("gru", "step")
    longer = convert(model, timesteps=20)
    x = np.random.default_rng(0).integers(-128, 128, (2, 20, 5)).astype(np.int8)
    whole = host.run(longer, {"signal": x}, runtime="litert", mode="sequence")["classes"]
    steps = host.run(converted("gru", "step"), {"signal": x}, runtime="litert", mode="step")["classes"]
    np.testing.assert_array_equal(whole, steps[:, -1])


def test_steps_of_an_iteration_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected `steps_per_iteration` to divide .*, got 5; try 1"):
        convert(calibrated("gru"), steps_per_iteration=5)
    with pytest.raises(ValueError, match="Expected `steps_per_iteration` to be 1, or more in mode 'sequence', got 0"):
        convert(calibrated("gru"), steps_per_iteration=0)
    with pytest.raises(ValueError, match=r"`steps_per_iteration` to be 1, or more .*, got 2\.0"):
        convert(calibrated("gru"), steps_per_iteration=2.0)
    with pytest.raises(ValueError, match="got 2 in mode 'step'"):
        convert(calibrated("gru"), mode="step", steps_per_iteration=2)


def test_open_time_without_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected `timesteps` for input 'signal', whose time .* is open, got none"):
        convert(_open_model())
    with pytest.raises(ValueError, match="Expected `timesteps` to be the model's 12, got 20"):
        convert(calibrated("gru"), timesteps=20)
    with pytest.raises(ValueError, match="Expected `timesteps` to be 1 or more, got 0"):
        convert(_open_model(), timesteps=0)
    wide = keras.Input((4, None), name="wide")
    with pytest.raises(ValueError, match=r"Expected only the time dimension to be open, got shape \(None, 4, None\)"):
        input_shapes(kgp.quantize_aware(keras.Model(wide, keras.layers.ReLU()(wide))), "sequence", None)


def _timed(*layers: keras.layers.Layer) -> keras.Model:
    return keras.Sequential([keras.Input((6, 4), name="signal"), *layers])


UNSTEPPABLE: dict[str, tuple[Callable[[], keras.Model], str]] = {
    "flatten": (
        lambda: _timed(kgp.GRUPlus(3, return_sequences=True), keras.layers.Flatten(name="flat")),
        r"layer 'flat' \(Flatten\), which needs the whole window at once",
    ),
    "reshape": (
        lambda: _timed(keras.layers.Reshape((3, 8), name="fold"), kgp.GRUPlus(3)),
        r"layer 'fold' \(Reshape\), which needs the whole window at once",
    ),
    "backwards": (
        lambda: _timed(kgp.GRUPlus(3, go_backwards=True, name="back")),
        r"layer 'back' \(GRUPlus\), which reads the sequence backwards",
    ),
    "other axis": (
        lambda: _timed(kgp.GRUPlus(6), keras.layers.Reshape((2, 3)), kgp.GRUPlus(3, name="over")),
        r"layer 'over' \(GRUPlus\), which runs over an axis that is not the input's time",
    ),
    "none": (
        lambda: _timed(keras.layers.Dense(3)),
        "a model with a GRUPlus layer for modes 'step' and 'stateful', got none",
    ),
}


@pytest.mark.parametrize("case", UNSTEPPABLE)
def test_what_cannot_step_is_refused_with_layer_and_reason(case: str) -> None:
    build, reason = UNSTEPPABLE[case]
    model = kgp.quantize_aware(build())
    with pytest.raises(ValueError, match=f"Expected .*{reason}"):
        check_steps(model)
    model.taps.ranges_set.assign(1.0)
    with pytest.raises(ValueError, match=f"Expected .*{reason}"):
        convert(model, mode="stateful")


def test_wrong_arguments_are_refused_before_anything_runs() -> None:
    model = calibrated("gru")
    for keywords, match in (
        ({"mode": "loop"}, "Expected `mode` to be one of sequence, step, stateful, got 'loop'"),
        ({"target": "esp32"}, "Expected `target` to be one of litert.*, got 'esp32'"),
        ({"io": "uint8"}, "Expected `io` to be one of int8, float, got 'uint8'"),
    ):
        with pytest.raises(ValueError, match=match):
            convert(model, **keywords)
    with pytest.raises(ValueError, match=r"Expected a model with ranges, got Functional .*calibrate"):
        convert(model.float_model())
    with pytest.raises(ValueError, match=r"Expected model .* to have its ranges set, got none; call .*calibrate"):
        convert(kgp.quantize_aware(model.float_model()))


def test_inputs_without_time_convert_whole_and_cannot_step() -> None:
    signal, fixed = keras.Input((None, 5), name="signal"), keras.Input((3,), name="fixed")
    outputs = [keras.layers.Dense(2, name="b")(fixed), kgp.GRUPlus(4, name="a")(signal)]
    model = kgp.quantize_aware(keras.Model([fixed, signal], outputs))
    kgp.calibrate(model, {"fixed": np.ones((4, 3)), "signal": np.ones((4, 7, 5))})
    graph = tflite.load(convert(model, timesteps=7)).subgraphs[0]
    assert [graph.tensors[index].shape for index in graph.inputs] == [[1, 3], [1, 7, 5]]
    with pytest.raises(ValueError, match=r"Expected inputs with a time axis .*got 'fixed' of shape \(None, 3\)"):
        convert(model, mode="step")


IN_A_FRESH_PROCESS = """
import hashlib, sys, keras, keras_gru_plus
from keras_gru_plus_export import convert
for path in sys.argv[1:]:
    data = convert(keras.saving.load_model(path), mode="step")
    print(hashlib.sha256(data).hexdigest())
"""


def test_the_same_model_gives_the_same_bytes(tmp_path: Any) -> None:
    hashes, paths = [], []
    for name in ("mixed", "gru_per_channel"):
        again = convert(calibrated(name), mode="step")
        assert again == converted(name, "step")
        hashes.append(hashlib.sha256(again).hexdigest())
        paths.append(str(tmp_path / f"{name}.keras"))
        calibrated(name).save(paths[-1])
    command = [sys.executable, "-c", IN_A_FRESH_PROCESS, *paths]
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.split() == hashes, done.stderr[-2000:]


# -- a file that is not the model ------------------------------------------------------------------


class Caught:
    """What `check` was given for a file, before its inputs are relabelled."""

    def __init__(self, name: str, mode: str) -> None:
        def spy(model: Any, expected: Any) -> None:
            self.model, self.expected = copy.deepcopy(model), expected
            self.per_channel = any(weights.per_channel for weights in expected.kernels.values())

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(convert_module, "check", spy)
            convert(calibrated(name), mode=mode)

    def changed(self) -> Any:
        return copy.deepcopy(self.model)

    def refuses(self, model: Any, match: str) -> None:
        with pytest.raises(ConversionError, match=match):
            check(model, self.expected)


@pytest.fixture(scope="module", params=[("mgu", "sequence"), ("gru_per_channel", "step")], ids="-".join)
def caught(request: pytest.FixtureRequest) -> Caught:
    found = Caught(*request.param)
    check(found.changed(), found.expected)
    return found


def _operators(model: Any, kind: str, last: bool = False) -> tuple[Any, Any]:
    found = [(g, op) for g in model.subgraphs for op in g.operators if tflite.op_name(model, op) == kind]
    return found[-1 if last else 0]


def _edit(model: Any, tensor: Any, position: Any, by: int) -> None:
    values = tflite.constant(model, tensor).copy()
    values[position] += by
    tflite.set_constant(model, tensor, values)


@pytest.mark.parametrize("last", [False, True])
def test_a_changed_matmul_is_refused_by_its_tap(caught: Caught, last: bool) -> None:
    def fully_connected(model: Any) -> list[Any]:
        biased = [
            [graph.tensors[index] for index in op.inputs]
            for graph in model.subgraphs
            for op in graph.operators
            if tflite.op_name(model, op) == "FULLY_CONNECTED" and op.inputs[2] >= 0
        ]
        return biased[-1 if last else 0]

    tap = r"'(gru|classes)/\w+'"
    model = caught.changed()
    _edit(model, fully_connected(model)[2], 1, by=2)
    caught.refuses(model, f"Expected the bias of {tap} to be the model's")
    model = caught.changed()
    weights = fully_connected(model)[1]
    _edit(model, weights, (1, 2), by=-2 if tflite.constant(model, weights)[1, 2] > 0 else 2)
    caught.refuses(model, f"Expected the weights of {tap} to be the model's")
    model = caught.changed()
    weights = fully_connected(model)[1]
    weights.quantization.scale = weights.quantization.scale * np.float32(1 + 1e-4)
    caught.refuses(model, rf"Expected the weights of {tap} on scale max\|w\| / 127")
    model = caught.changed()
    scales = np.atleast_1d(fully_connected(model)[1].quantization.scale)
    other = scales[:1] if caught.per_channel else np.repeat(scales, fully_connected(model)[1].shape[0])
    tflite.set_grid(fully_connected(model)[1], other)
    caught.refuses(model, rf"Expected the weights of {tap} on scale max\|w\| / 127")


@pytest.mark.parametrize("kind", ["FULLY_CONNECTED", "LOGISTIC", "TANH", "MUL", "SUB", "SOFTMAX"])
def test_a_changed_grid_is_refused_by_its_tap(caught: Caught, kind: str) -> None:
    for change in ("scale", "zero point", "no grid"):
        model = caught.changed()
        graph, op = _operators(model, kind)
        tensor = graph.tensors[op.outputs[0]]
        grid = tflite.grid(tensor)
        assert grid is not None
        if change == "scale":
            tflite.set_grid(tensor, grid.scale * (1 + 1e-4), grid.zero_point)
        elif change == "zero point":
            tflite.set_grid(tensor, grid.scale, grid.zero_point + 1)
        else:
            tensor.quantization = None
        caught.refuses(
            model, rf"Expected scale [\d.e-]+, zero point -?\d+ for tap '?(gru|classes)/\w+'?, got .* from {kind}"
        )


def test_the_grid_of_another_tap_is_refused(caught: Caught) -> None:
    model = caught.changed()
    graph, op = _operators(model, "SUB")
    tflite.set_grid(graph.tensors[op.outputs[0]], 1 / 256, -128)
    caught.refuses(model, "for tap '?gru/h_diff'?, got")


def test_operators_that_are_not_of_the_model_are_refused(caught: Caught) -> None:
    model = caught.changed()
    graph, op = _operators(model, "ADD", last=True)
    tensor = graph.tensors[op.inputs[0]]
    between = tflite.add_tensor(graph, "between", tensor.shape, tensor.type, tflite.grid(tensor))
    graph.operators.insert(
        graph.operators.index(op), tflite.new_operator(model, tflite.OP.QUANTIZE, [op.inputs[0]], [between])
    )
    op.inputs = [between, op.inputs[1]]
    caught.refuses(model, "Expected no QUANTIZE in the file, got one that writes 'between'")
    model = caught.changed()
    graph, op = _operators(model, "MUL")
    graph.tensors[op.outputs[0]].type = tflite.TYPE.FLOAT32
    caught.refuses(model, "Expected int8 throughout, got float32 in MUL")
    model = caught.changed()
    graph, op = _operators(model, "FULLY_CONNECTED")
    graph.operators.remove(op)
    caught.refuses(model, "Expected every tensor to be written before it is read, got subgraph .* reads")
    model = caught.changed()
    graph, op = _operators(model, "FULLY_CONNECTED")
    graph.tensors[op.outputs[0]].name = "unknown"
    caught.refuses(model, "Expected every matmul to belong to a tap, got 'unknown'")
    model = caught.changed()
    model.signatureDefs[0].outputs[0].tensorIndex = model.subgraphs[0].inputs[0]
    caught.refuses(model, "Expected the signature to name the file's outputs, got other tensors")


def test_a_lost_matmul_is_refused(caught: Caught) -> None:
    expected = copy.deepcopy(caught.expected)
    expected.kernels["gru/other"] = next(iter(expected.kernels.values()))
    with pytest.raises(ConversionError, match="found none for gru/other"):
        check(caught.changed(), expected)


# -- the converter's process -----------------------------------------------------------------------


@pytest.fixture
def converter(monkeypatch: pytest.MonkeyPatch) -> Iterator[worker.Converter]:
    """A converter process of its own, which `convert` uses."""
    own = worker.Converter()
    monkeypatch.setattr(worker, "shared", own)
    yield own
    own.close()


@contextlib.contextmanager
def killer(converter: worker.Converter, number: int) -> Iterator[None]:
    """Ends the converter's process as soon as it is there; it takes seconds to load TensorFlow first."""

    def kill() -> None:
        while converter.pid is None:
            time.sleep(0.005)
        os.kill(converter.pid, number)

    thread = threading.Thread(target=kill)
    thread.start()
    yield
    thread.join()


def test_a_converter_that_dies_or_hangs_is_an_error_and_the_next_conversion_works(
    converter: worker.Converter, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        killer(converter, signal.SIGSEGV),
        pytest.raises(ConversionError, match=r"The converter process died \(SIGSEGV\).*Nothing was written"),
    ):
        convert(calibrated("gru"))
    assert converter.pid is None
    assert convert(calibrated("gru")) == converted("gru", "sequence")
    stopped = converter.pid
    assert stopped is not None
    # A stopped process stands for one that never comes to an end.
    os.kill(stopped, signal.SIGSTOP)
    converter.timeout = 0.2
    with pytest.raises(ConversionError, match=r"died \(SIGKILL\) after its 0\.2 s were over"):
        convert(calibrated("gru"))
    assert converter.pid is None
    converter.timeout = 300
    assert convert(calibrated("gru")) == converted("gru", "sequence")
    # Ctrl-C: the answer that is still to come must not be taken for that of the next request.
    process = converter._process
    assert process is not None
    monkeypatch.setattr(process, "stdout", Interrupted(process.stdout))
    with pytest.raises(KeyboardInterrupt):
        convert(calibrated("gru"))
    assert converter.pid is None


class Interrupted:
    """A pipe at which the user presses Ctrl-C."""

    def __init__(self, stream: Any) -> None:
        self.close = stream.close

    def readline(self) -> str:
        raise KeyboardInterrupt


def test_a_graph_that_the_converter_refuses_is_an_error(tmp_path: Any) -> None:
    assert converted("gru", "sequence")
    pid = worker.shared.pid
    module = tf.Module()
    specification = [tf.TensorSpec((1, 3, 3), tf.float32)]
    module.function = tf.function(
        lambda x: tf.linalg.det(tf.quantization.fake_quant_with_min_max_args(x)), input_signature=specification
    )
    tf.saved_model.save(module, tmp_path / "determinant", signatures=module.function)
    for name, words in (("determinant", "MatrixDeterminant"), ("nothing", "does not exist")):
        with pytest.raises(ConversionError, match=f"The TensorFlow Lite converter refused the graph: .*{words}"):
            worker.shared.convert(str(tmp_path / name), per_channel=False, variables=False)
    assert convert(calibrated("mgu")) == converted("mgu", "sequence")
    assert worker.shared.pid == pid is not None, "a refusal does not end the process"


@pytest.mark.parametrize("name", ["sequence", "step"])
def test_the_file_of_another_model_is_an_error(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(worker.shared, "convert", lambda *_, **__: tiny_models.models()[name])
    with pytest.raises(ConversionError, match="Expected"):
        convert(calibrated("gru"))
    monkeypatch.setattr(worker.shared, "convert", lambda *_, **__: tiny_models.models()["step_float"])
    with pytest.raises(ConversionError, match="Expected"):
        convert(calibrated("gru"))


def test_the_converters_process_does_not_see_the_exporters_modules_as_the_standard_librarys() -> None:
    """The folder of worker.py has an html.py; with it first on the path, `import html` would find that."""
    code = (
        "import runpy, sys; worker = sys.argv[1]; sys.path.insert(0, worker.rpartition('/')[0]); sys.stdin.close();"
        "sys.stdin = iter(()); runpy.run_path(worker, run_name='__main__'); import html; html.escape"
    )
    done = subprocess.run([sys.executable, "-c", code, worker.__file__], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
