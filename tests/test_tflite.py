"""Reading, editing, compacting and writing TFLite files: results on real runtimes stay what they were."""

from __future__ import annotations

import contextlib
import copy

import numpy as np
import pytest
import tiny_models
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keras_gru_plus_export import tflite
from keras_gru_plus_export.analyze import analyze
from keras_gru_plus_export.devices import host

NAMES = ("sequence", "step", "same", "hop", "stateful", "step_float")
MODES = {"sequence": "sequence", "stateful": "stateful"}


def outputs(name: str, model: bytes, runtime: str) -> dict[str, np.ndarray]:
    x = np.random.default_rng(1).integers(-128, 128, (4, tiny_models.STEPS, tiny_models.FEATURES)).astype(np.int8)
    given_x = x.astype(np.float32) / 128 if name.endswith("float") else x
    return host.run(model, {"x": given_x}, runtime=runtime, mode=MODES.get(name, "step"))


def equal(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[key], right[key]) for key in left)


def compacted(data: bytes) -> bytes:
    model = tflite.load(data)
    tflite.remove_dead(model)
    tflite.compact(model)
    return tflite.dump(model)


@pytest.mark.parametrize("runtime", ["litert", "tflm"])
@pytest.mark.parametrize("name", NAMES)
def test_a_file_read_and_written_or_compacted_gives_the_same_results(name: str, runtime: str) -> None:
    original = tiny_models.models()[name]
    written, small = tflite.dump(tflite.load(original)), compacted(original)
    expected = outputs(name, original, runtime)
    assert any(len(np.unique(values)) > 5 for values in expected.values())
    assert equal(outputs(name, written, runtime), expected)
    assert equal(outputs(name, small, runtime), expected)
    assert len(small) < len(written)


@pytest.mark.parametrize("name", NAMES)
def test_writing_and_compacting_are_idempotent(name: str) -> None:
    original = tiny_models.models()[name]
    written, small = tflite.dump(tflite.load(original)), compacted(original)
    assert tflite.dump(tflite.load(written)) == written
    assert compacted(small) == small


def test_constants_are_aligned_to_16_bytes() -> None:
    data = tflite.dump(tflite.load(tiny_models.models()["sequence"]))
    root = tflite.schema.Model.GetRootAs(data, 0)
    offsets = []
    for index in range(root.BuffersLength()):
        table = root.Buffers(index)._tab
        if table.Offset(4):
            offsets.append(table.Vector(table.Offset(4)))
    assert len(offsets) > 5
    assert {offset % 16 for offset in offsets} == {0}


def test_compact_drops_and_renumbers_what_nothing_uses() -> None:
    model = tflite.load(tiny_models.models()["sequence"])
    expected = compacted(tiny_models.models()["sequence"])
    loop = next(op for op in model.subgraphs[0].operators if tflite.op_code(model, op) == tflite.OP.WHILE)
    # A subgraph nobody runs in the middle, a tensor, an operator code and a twin of every constant.
    model.subgraphs.insert(1, copy.deepcopy(model.subgraphs[1]))
    loop.builtinOptions.condSubgraphIndex += 1
    loop.builtinOptions.bodySubgraphIndex += 1
    tflite.add_tensor(model.subgraphs[0], "unused", (3,), tflite.TYPE.INT8)
    tflite.operator_index(model, tflite.OP.LOGISTIC)
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if tflite.is_constant(model, tensor):
                model.buffers.append(copy.deepcopy(model.buffers[tensor.buffer]))
                tensor.buffer = len(model.buffers) - 1
    tflite.compact(model)
    assert len(model.subgraphs) == 3
    assert len(tflite.dump(model)) == len(expected)
    assert equal(outputs("sequence", tflite.dump(model), "tflm"), outputs("sequence", expected, "tflm"))


def test_compact_keeps_an_empty_constant_apart_from_no_data() -> None:
    model = tflite.load(tiny_models.models()["step"])
    tensor = model.subgraphs[0].tensors[model.subgraphs[0].operators[0].inputs[1]]
    tflite.set_constant(model, tensor, np.zeros((0,), np.int32))
    tflite.compact(model)
    again = tflite.load(tflite.dump(model))
    empty = again.subgraphs[0].tensors[again.subgraphs[0].operators[0].inputs[1]]
    assert empty.buffer != 0
    assert tflite.constant(again, empty).shape == (0,)


def test_compact_gives_variables_their_own_buffers() -> None:
    model = tflite.load(tiny_models.models()["step"])
    graph = model.subgraphs[0]
    pair = [tflite.add_tensor(graph, name, (4,), tflite.TYPE.INT8) for name in ("a", "b")]
    for index in pair:
        tflite.set_constant(model, graph.tensors[index], np.arange(4, dtype=np.int8))
        graph.tensors[index].isVariable = True
    graph.operators[0].intermediates = pair
    tflite.compact(model)
    buffers = [graph.tensors[index].buffer for index in graph.operators[0].intermediates]
    assert len(set(buffers)) == 2


def test_remove_dead_follows_chains_and_leaves_side_effects() -> None:
    model = tflite.load(tiny_models.models()["stateful"])
    graph = model.subgraphs[0]
    before = len(graph.operators)
    first, second = (tflite.add_tensor(graph, name, (1, 3), tflite.TYPE.INT8) for name in ("a", "b"))
    graph.operators.append(tflite.new_operator(model, tflite.OP.TANH, [graph.outputs[0]], [first]))
    graph.operators.append(tflite.new_operator(model, tflite.OP.TANH, [first], [second]))
    assert tflite.remove_dead(model) == 2
    assert len(graph.operators) == before
    kinds = {tflite.op_name(model, op) for op in graph.operators}
    assert {"ASSIGN_VARIABLE", "CALL_ONCE"} <= kinds


def test_an_operator_can_be_added() -> None:
    original = tiny_models.models()["step"]
    model = tflite.load(original)
    graph = model.subgraphs[0]
    index = tflite.signature(model).outputs["y"]
    grid = tflite.grid(graph.tensors[index])
    assert grid is not None
    real = tflite.add_tensor(graph, "real", graph.tensors[index].shape, tflite.TYPE.FLOAT32)
    options = tflite.schema.DequantizeOptionsT()
    graph.operators.append(tflite.new_operator(model, tflite.OP.DEQUANTIZE, [index], [real], options))
    assert graph.operators[-1].builtinOptionsType == tflite.schema.BuiltinOptions.DequantizeOptions
    graph.outputs = [real if entry == index else entry for entry in graph.outputs]
    for entry in model.signatureDefs[0].outputs:
        entry.tensorIndex = real if entry.tensorIndex == index else entry.tensorIndex
    for runtime in ("litert", "tflm"):
        expected = host.dequantize(outputs("step", original, runtime)["y"], grid)
        np.testing.assert_array_equal(outputs("step", tflite.dump(model), runtime)["y"], expected)


def test_operator_codes_are_found_again() -> None:
    model = tflite.load(tiny_models.models()["step"])
    count = len(model.operatorCodes)
    assert tflite.operator_index(model, tflite.OP.FULLY_CONNECTED) < count
    assert tflite.operator_index(model, tflite.OP.GATHER, 2) == count
    assert tflite.operator_index(model, tflite.OP.GATHER, 1) == count
    assert tflite.operator_index(model, tflite.OP.GATHER, 3) == count + 1


def test_constants_and_grids() -> None:
    model = tflite.load(tiny_models.models()["step"])
    graph = model.subgraphs[0]
    dense = next(op for op in graph.operators if tflite.op_name(model, op) == "FULLY_CONNECTED")
    assert tflite.consumers(graph, dense.outputs[0])
    assert tflite.producers(graph, dense.outputs[0]) == [dense]
    weight, bias = (graph.tensors[index] for index in dense.inputs[1:])
    grid = tflite.grid(weight)
    values = tflite.constant(model, weight)
    assert (tflite.type_name(weight), values.shape, values.dtype) == ("int8", (8, 14), np.int8)
    assert grid is not None
    assert (grid.per_channel, grid.axis, len(grid.scales)) == (True, 0, 8)
    # The converter's rule: the largest weight of a channel is 127.
    np.testing.assert_array_equal(np.abs(values).max(1), 127)
    with pytest.raises(ValueError, match="Expected a per-tensor grid, got 8 channels"):
        _ = grid.scale
    tflite.set_constant(model, bias, np.arange(8, dtype=np.int32))
    tflite.set_grid(bias, 0.25, 3)
    again = tflite.load(tflite.dump(model))
    bias = again.subgraphs[0].tensors[dense.inputs[2]]
    np.testing.assert_array_equal(tflite.constant(again, bias), np.arange(8))
    assert tflite.grid(bias) == tflite.Grid((0.25,), (3,))
    weight.quantization.zeroPoint = [1]
    assert tflite.grid(weight) == tflite.Grid(grid.scales, (1,) * 8, 0)
    weight.quantization.zeroPoint = None
    assert tflite.grid(weight) == grid
    with pytest.raises(ValueError, match="Expected a constant tensor, got"):
        tflite.constant(model, graph.tensors[dense.outputs[0]])
    with pytest.raises(TypeError, match="Expected an array of a TFLite type, got <U1"):
        tflite.set_constant(model, bias, np.array(["a"]))


def test_grids_are_compared_by_what_integers_mean() -> None:
    grid = tflite.Grid((0.1, 0.2), (0, 0), 1)
    assert grid.same(tflite.Grid((0.1 * (1 + 5e-7), 0.2), (0, 0), 1))
    assert not grid.same(tflite.Grid((0.1 * (1 + 5e-6), 0.2), (0, 0), 1))
    assert not grid.same(tflite.Grid((0.1, 0.2), (0, 1), 1))
    assert not grid.same(tflite.Grid((0.1, 0.2), (0, 0), 0))
    assert tflite.Grid((0.1,), (0,), 1).same(tflite.Grid((0.1,), (0,), 0))
    assert not grid.same(None)


def test_int4_constants_are_unpacked() -> None:
    model = tflite.load(tiny_models.models()["step"])
    tensor = tflite.schema.TensorT(shape=[3], type=tflite.TYPE.INT4, buffer=len(model.buffers))
    # Low half first: -8, 7, -1 and an unused half.
    model.buffers.append(tflite.schema.BufferT(data=np.array([0x78, 0x0F], np.uint8)))
    np.testing.assert_array_equal(tflite.constant(model, tensor), [-8, 7, -1])


def test_signature_names_come_in_tensor_order_and_fall_back_to_tensor_names() -> None:
    model = tflite.load(tiny_models.models()["step"])
    graph = model.subgraphs[0]
    signature = tflite.signature(model)
    assert sorted(signature.inputs) == ["state_mgu", "x"]
    assert list(signature.inputs.values()) == graph.inputs
    assert list(signature.outputs.values()) == graph.outputs
    model.signatureDefs = None
    names = [tflite.text(graph.tensors[index].name) for index in graph.inputs]
    assert list(tflite.signature(model).inputs) == names


def test_a_tensor_that_nothing_writes_is_found() -> None:
    model = tflite.load(tiny_models.models()["step"])
    assert tflite.without_producer(model) == []
    graph = model.subgraphs[0]
    graph.operators = [op for op in graph.operators if tflite.op_name(model, op) != "SUB"]
    (found,) = tflite.without_producer(model)
    assert found.startswith("subgraph 0: MUL reads ")


def test_only_a_while_has_parts() -> None:
    model = tflite.load(tiny_models.models()["sequence"])
    reshape, loop = model.subgraphs[0].operators[:2]
    condition, body = tflite.while_parts(model, loop)
    assert [len(graph.operators) for graph in (condition, body)] == [1, 13]
    with pytest.raises(ValueError, match="Expected a WHILE, got RESHAPE"):
        tflite.while_parts(model, reshape)


@pytest.mark.parametrize(
    "data", [b"", b"TFL3", b"x" * 64, b"\x00\x00\x00\x00TFL3", b"\xff" * 4 + b"TFL3" + b"\xff" * 99]
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(tflite.InvalidModel, match=r"^Expected a TFLite file \(identifier TFL3\), got \d+ bytes"):
        tflite.load(data)


def test_indices_and_call_cycles_are_checked() -> None:
    def refused(change: object, match: str) -> None:
        model = tflite.load(tiny_models.models()["sequence"])
        change(model)  # type: ignore[operator]
        with pytest.raises(tflite.InvalidModel, match=match):
            tflite.load(tflite.dump(model))

    def loop(model: tflite.ModelT) -> tflite.OperatorT:
        return model.subgraphs[0].operators[1]

    def set_body(model: tflite.ModelT) -> None:
        body = model.subgraphs[2]
        body.operators.append(copy.deepcopy(loop(model)))

    def cut_constant(model: tflite.ModelT) -> None:
        buffer = next(buffer for buffer in model.buffers if buffer.data is not None and len(buffer.data) > 100)
        buffer.data = buffer.data[:-1]

    refused(lambda m: setattr(m.subgraphs[0].operators[0], "inputs", [99, 1]), "inputs: tensor 99 of")
    refused(lambda m: setattr(m.subgraphs[0], "outputs", [-1]), "inputs and outputs: tensor -1 of")
    refused(lambda m: setattr(loop(m).builtinOptions, "bodySubgraphIndex", 7), r"WHILE of subgraphs \[1, 7\] of 3")
    refused(lambda m: setattr(loop(m), "inputs", loop(m).inputs[1:]), "carry different numbers")
    refused(lambda m: setattr(m.subgraphs[0].tensors[0], "buffer", 999), "tensor 0 of subgraph 0: buffer 999")
    refused(lambda m: setattr(m.subgraphs[0].tensors[0], "shape", [-4]), r"shape \[-4\]")
    refused(lambda m: setattr(m, "version", 2), "schema version 2, not 3")
    refused(cut_constant, r"111 bytes of data where type and shape ask for 112")
    refused(set_body, "a subgraph that runs itself")


@settings(max_examples=250, deadline=2000, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(NAMES),
    cut=st.one_of(st.just(1.0), st.floats(0, 1)),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=4),
)
def test_damaged_bytes_are_a_model_or_refused(name: str, cut: float, changes: list[tuple[float, int]]) -> None:
    data = bytearray(tiny_models.models()[name])
    data = data[: int(cut * len(data))]
    for position, flip in changes if data else []:
        data[int(position * (len(data) - 1))] ^= flip
    try:
        model = tflite.load(bytes(data))
    except tflite.InvalidModel as error:
        assert str(error).startswith("Expected a TFLite file")  # noqa: PT017 (a valid model is fine, too)
        return
    analyze(bytes(data)).to_json()
    with contextlib.suppress(tflite.InvalidModel):  # inputs without names are fine for all but the runner
        host.describe(model)
    tflite.without_producer(model)
    tflite.compact(model)
    tflite.load(tflite.dump(model))
