"""Numbers of an analysis against counts by hand."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
import tiny_models
from tiny_models import CLASSES, FEATURES, STEPS, UNITS

from keras_gru_plus_export import tflite
from keras_gru_plus_export.analyze import analyze

# Two gates of (features + units) x units, and the head.
CELL = 2 * (FEATURES + UNITS) * UNITS
HEAD = UNITS * CLASSES
# int8 matrices, int32 biases.
WEIGHT_BYTES = CELL + HEAD + 4 * (2 * UNITS + CLASSES)


@pytest.mark.parametrize(
    ("name", "macs"),
    [
        ("step", CELL + HEAD),
        ("hop", 2 * CELL + HEAD),
        ("stateful", CELL + HEAD),
        ("sequence", STEPS * CELL + HEAD),
    ],
)
def test_multiplications_and_bytes(name: str, macs: int) -> None:
    data = tiny_models.models()[name]
    found = analyze(data)
    assert found.macs == macs
    assert found.weight_bytes == WEIGHT_BYTES
    assert found.table_bytes == 0
    assert found.file_bytes == len(data) == found.weight_bytes + found.other_bytes
    assert found.resource_variables == (name == "stateful")


def test_inputs_and_outputs() -> None:
    found = analyze(tiny_models.models()["step"])
    inputs = {info.name: info for info in found.inputs}
    assert inputs["x"].shape == (1, 1, FEATURES)
    assert str(inputs["state_mgu"]) == f"int8[1,{UNITS}] 0.0078125 +0"
    assert {info.name: str(info) for info in found.outputs}["y"] == f"int8[1,{CLASSES}] 0.03125 +0"
    assert found.float_io == found.float_tensors == ()


def test_floats_are_listed_inside_and_at_the_ends() -> None:
    ends = analyze(tiny_models.models()["step_float"])
    assert sorted(info.name for info in ends.float_io) == ["state_mgu", "state_mgu", "x", "y"]
    assert ends.float_tensors == ()
    # The converter carries the state as float: initial value, result, condition, and both ends of the body.
    inside = analyze(tiny_models.models()["sequence"])
    assert inside.float_io == ()
    assert [info.subgraph for info in inside.float_tensors] == [0, 0, 1, 2, 2]


def test_operators_of_control_flow_bodies_are_counted() -> None:
    found = analyze(tiny_models.models()["sequence"])
    assert [(loop.trip_count, loop.macs_per_iteration) for loop in found.loops] == [(STEPS, CELL)]
    rows = {(row.subgraph, row.name, row.inputs): row.count for row in found.operators}
    assert rows[2, "FULLY_CONNECTED", ("int8", "int8", "int32")] == 2
    assert rows[2, "ADD", ("int8", "int8")] == 1
    assert rows[2, "ADD", ("int32", "int32")] == 2
    assert rows[1, "LESS", ("int32", "int32")] == 1
    assert [(graph.subgraph, graph.role) for graph in found.graphs] == [
        (0, "main"),
        (1, "WHILE cond"),
        (2, "WHILE body"),
    ]
    names = [info.name for info in found.graphs[0].operators]
    assert names == ["RESHAPE", "WHILE", "QUANTIZE", "FULLY_CONNECTED"]


def sequence_parts() -> tuple[tflite.ModelT, tflite.OperatorT, tflite.OperatorT]:
    model = tflite.load(tiny_models.models()["sequence"])
    loop = model.subgraphs[0].operators[1]
    (compare,) = tflite.while_parts(model, loop)[0].operators
    return model, loop, compare


def scalar(model: tflite.ModelT, graph: tflite.SubGraphT, value: int) -> int:
    index = tflite.add_tensor(graph, "scalar", (), tflite.TYPE.INT32)
    tflite.set_constant(model, graph.tensors[index], np.array(value, np.int32))
    return index


@pytest.mark.parametrize(
    ("builtin", "swap", "start", "limit", "count"),
    [
        ("LESS", False, 0, 7, 7),
        ("LESS", False, 3, 7, 4),
        ("LESS", False, 9, 7, 0),
        ("LESS_EQUAL", False, 0, 7, 8),
        ("GREATER", True, 0, 7, 7),
        ("GREATER_EQUAL", True, 0, 7, 8),
        ("GREATER", False, 0, 7, None),
        ("NOT_EQUAL", False, 0, 7, None),
    ],
)
def test_trip_counts(builtin: str, swap: bool, start: int, limit: int, count: int | None) -> None:
    model, loop, compare = sequence_parts()
    condition = tflite.while_parts(model, loop)[0]
    compare.opcodeIndex = tflite.operator_index(model, getattr(tflite.OP, builtin))
    counter = next(index for index in compare.inputs if index in condition.inputs)
    compare.inputs = [counter, scalar(model, condition, limit)][:: -1 if swap else 1]
    position = condition.inputs.index(counter)
    loop.inputs[position] = scalar(model, model.subgraphs[0], start)
    found = analyze(tflite.dump(model))
    assert found.loops[0].trip_count == count
    assert found.macs == (1 if count is None else count) * CELL + HEAD


def test_a_step_of_two_halves_the_trips() -> None:
    model, loop, compare = sequence_parts()
    condition, body = tflite.while_parts(model, loop)
    position = condition.inputs.index(compare.inputs[0])
    (add,) = tflite.producers(body, body.outputs[position])
    add.inputs = [add.inputs[0], scalar(model, body, 2)]
    assert analyze(tflite.dump(model)).loops[0].trip_count == STEPS // 2


def test_an_unknown_start_is_no_trip_count() -> None:
    model, loop, compare = sequence_parts()
    condition = tflite.while_parts(model, loop)[0]
    graph = model.subgraphs[0]
    start = tflite.add_tensor(graph, "start", (), tflite.TYPE.INT32)
    graph.inputs.append(start)
    loop.inputs[condition.inputs.index(compare.inputs[0])] = start
    assert analyze(tflite.dump(model)).loops[0].trip_count is None


def test_a_limit_that_the_loop_carries() -> None:
    model, loop, compare = sequence_parts()
    condition, body = tflite.while_parts(model, loop)
    loop.inputs.append(scalar(model, model.subgraphs[0], 6))
    loop.outputs.append(tflite.add_tensor(model.subgraphs[0], "limit", (), tflite.TYPE.INT32))
    for graph in (condition, body):
        graph.inputs.append(tflite.add_tensor(graph, "limit", (), tflite.TYPE.INT32))
    body.outputs.append(body.inputs[-1])
    compare.inputs = [compare.inputs[0], condition.inputs[-1]]
    assert analyze(tflite.dump(model)).loops[0].trip_count == 6


def test_the_first_of_two_conditions_ends_the_loop() -> None:
    model, loop, compare = sequence_parts()
    condition = tflite.while_parts(model, loop)[0]
    other, both = (tflite.add_tensor(condition, name, (), tflite.TYPE.BOOL) for name in ("other", "both"))
    sooner = scalar(model, condition, 4)
    first = compare.outputs[0]
    condition.operators += [
        tflite.new_operator(model, tflite.OP.LESS, [compare.inputs[0], sooner], [other]),
        tflite.new_operator(model, tflite.OP.LOGICAL_AND, [first, other], [both]),
    ]
    condition.outputs = [both]
    assert analyze(tflite.dump(model)).loops[0].trip_count == 4


def test_lookup_tables_are_no_weights() -> None:
    model = tflite.load(tiny_models.models()["step"])
    graph = model.subgraphs[0]
    table = tflite.add_tensor(graph, "table", (256,), tflite.TYPE.INT8)
    tflite.set_constant(model, graph.tensors[table], np.arange(-128, 128, dtype=np.int8))
    found, ids = (tflite.add_tensor(graph, name, (2,), tflite.TYPE.INT8) for name in ("found", "ids"))
    tflite.set_constant(model, graph.tensors[ids], np.array([1, 2], np.int32))
    graph.operators.append(tflite.new_operator(model, tflite.OP.GATHER, [table, ids], [found]))
    graph.outputs.append(found)
    analysis = analyze(tflite.dump(model))
    assert (analysis.table_bytes, analysis.weight_bytes) == (256, WEIGHT_BYTES)


def test_weights_that_a_loop_carries_unchanged_are_weights() -> None:
    model, loop, _ = sequence_parts()
    condition, body = tflite.while_parts(model, loop)
    graph = model.subgraphs[0]
    dense = next(op for op in body.operators if tflite.op_name(model, op) == "FULLY_CONNECTED")
    weight = body.tensors[dense.inputs[1]]
    shape, grid, buffer = list(weight.shape), tflite.grid(weight), weight.buffer
    loop.inputs.append(tflite.add_tensor(graph, "w", shape, weight.type, grid, buffer))
    loop.outputs.append(tflite.add_tensor(graph, "w_out", shape, weight.type, grid))
    for inner in (condition, body):
        inner.inputs.append(tflite.add_tensor(inner, "w", shape, weight.type, grid))
    body.outputs.append(body.inputs[-1])
    dense.inputs[1] = body.inputs[-1]
    analysis = analyze(tflite.dump(model))
    assert (analysis.weight_bytes, analysis.macs) == (WEIGHT_BYTES, STEPS * CELL + HEAD)


def test_convolutions() -> None:
    model = tflite.load(tiny_models.models()["step"])
    graph = model.subgraphs[0]

    def operator(builtin: int, shapes: list[tuple[int, ...]], result: tuple[int, ...]) -> None:
        inputs = [tflite.add_tensor(graph, "in", shape, tflite.TYPE.INT8) for shape in shapes]
        for index in inputs:
            tflite.set_constant(model, graph.tensors[index], np.zeros(graph.tensors[index].shape, np.int8))
        graph.outputs.append(tflite.add_tensor(graph, "out", result, tflite.TYPE.INT8))
        graph.operators.append(tflite.new_operator(model, builtin, inputs, [graph.outputs[-1]]))

    base = analyze(tflite.dump(model)).macs
    operator(tflite.OP.CONV_2D, [(1, 9, 1, 4), (5, 3, 1, 4)], (1, 7, 1, 5))
    operator(tflite.OP.DEPTHWISE_CONV_2D, [(1, 9, 1, 4), (1, 3, 1, 4)], (1, 7, 1, 4))
    operator(tflite.OP.BATCH_MATMUL, [(2, 3, 4), (2, 4, 5)], (2, 3, 5))
    macs = [info.macs for info in analyze(tflite.dump(model)).graphs[0].operators[-3:]]
    assert macs == [7 * 5 * 3 * 4, 7 * 4 * 3, 2 * 3 * 4 * 5]
    assert analyze(tflite.dump(model)).macs == base + sum(macs)


def test_json_and_paths(tmp_path: pathlib.Path) -> None:
    data = tiny_models.models()["sequence"]
    (tmp_path / "m.tflite").write_bytes(data)
    assert analyze(tmp_path / "m.tflite") == analyze(str(tmp_path / "m.tflite")) == analyze(data)
    plain = analyze(data).to_json()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["format"] == 1
    assert plain["inputs"][0]["grid"] == {"scales": [1 / 128], "zero_points": [0], "axis": 0}
