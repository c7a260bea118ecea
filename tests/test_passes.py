"""Each pass on its own: the file's results stay, a second time changes nothing, and what is odd is refused."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import flatbuffers
import numpy as np
import pytest
import tiny_models
from hand_graphs import GRID, TYPE, Model
from tiny_models import FEATURES, STEPS, UNITS

from keras_gru_plus_export import tflite
from keras_gru_plus_export._tflite_file import _AlignedBuffer
from keras_gru_plus_export.devices import host
from keras_gru_plus_export.passes import PassError
from keras_gru_plus_export.passes.break_ties import break_ties
from keras_gru_plus_export.passes.call_steps import call_steps
from keras_gru_plus_export.passes.carried_state import carried_state
from keras_gru_plus_export.passes.common_operators import common_operators
from keras_gru_plus_export.passes.dead_loop_variables import dead_loop_variables
from keras_gru_plus_export.passes.float_io import float_io
from keras_gru_plus_export.passes.full_offsets import full_offsets
from keras_gru_plus_export.passes.labels import labels
from keras_gru_plus_export.passes.relabel_inputs import relabel_inputs
from keras_gru_plus_export.passes.reshape_options import reshape_options
from keras_gru_plus_export.passes.rows_of_input import rows_of_input
from keras_gru_plus_export.passes.scale_inputs import scale_inputs
from keras_gru_plus_export.passes.shared_memory import NAME, shared_memory
from keras_gru_plus_export.passes.signature import name_inputs_and_outputs
from keras_gru_plus_export.passes.strip import strip
from keras_gru_plus_export.passes.subtract_by_adding import subtract_by_adding
from keras_gru_plus_export.passes.table_gates import table_gates
from keras_gru_plus_export.passes.unroll_while import unroll_while

NAMES = ("sequence", "step", "same", "hop", "stateful")


def _relabelled(model: tflite.ModelT) -> None:
    relabel_inputs(model, {tflite.signature(model).inputs["x"]: tflite.Grid((0.05,), (0,))})


PASSES: dict[str, Callable[[tflite.ModelT], Any]] = {
    "dead_loop_variables": dead_loop_variables,
    "carried_state": carried_state,
    "reshape_options": reshape_options,
    "relabel_inputs": _relabelled,
    "strip": strip,
    "strip, names kept": functools.partial(strip, keep_names=True),
}


@functools.cache
def samples() -> np.ndarray:
    return np.random.default_rng(5).integers(-128, 128, (6, STEPS, FEATURES)).astype(np.int8)


def run(name: str, data: bytes, runtime: str) -> dict[str, np.ndarray]:
    mode = name if name in host.MODES else "step"
    x: dict[str, np.ndarray] = {"x": samples()}
    if mode == "step":  # from a state anywhere, not only from zero
        x["state_mgu"] = np.random.default_rng(6).integers(-128, 128, (6, UNITS)).astype(np.int8)
    return host.run(data, x, runtime=runtime, mode=mode)


@functools.cache
def before(name: str, runtime: str) -> dict[str, np.ndarray]:
    found = run(name, tiny_models.models()[name], runtime)
    assert all(len(np.unique(array)) > 10 for array in found.values())
    return found


def same_results(name: str, data: bytes) -> None:
    for runtime in ("litert-reference", "tflm"):
        if host.available(runtime):
            after = run(name, data, runtime)
            assert after.keys() == before(name, runtime).keys()
            for key, array in after.items():
                np.testing.assert_array_equal(array, before(name, runtime)[key], err_msg=runtime)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("change", PASSES)
def test_a_pass_keeps_the_results_and_a_second_time_changes_nothing(change: str, name: str) -> None:
    model = tflite.load(tiny_models.models()[name])
    untouched = tflite.dump(model)
    PASSES[change](model)
    once = tflite.dump(model)
    again = tflite.load(once)
    PASSES[change](again)
    assert tflite.dump(again) == once
    idle = name != "sequence" and change in ("dead_loop_variables", "carried_state")
    assert (once == untouched) == idle
    if not idle:
        same_results(name, once)


@pytest.mark.parametrize("name", NAMES)
def test_all_passes_together_keep_the_results(name: str) -> None:
    model = tflite.load(tiny_models.models()[name])
    for change in PASSES.values():
        change(model)
    same_results(name, tflite.dump(model))
    assert len(tflite.dump(model)) < 0.7 * len(tiny_models.models()[name])


# What comes after the others: with int8 loop variables.
LATER: dict[str, Callable[[tflite.ModelT], Any]] = {
    "rows_of_input": rows_of_input,
    "unroll_while, long rows": functools.partial(unroll_while, steps=5),
    "unroll_while, row by row": lambda model: (rows_of_input(model), unroll_while(model, 5)),
    "call_steps": functools.partial(call_steps, steps=5),
    "shared_memory": lambda model: (rows_of_input(model), shared_memory(model)),
    "break_ties": break_ties,
    "shared_memory of called steps": lambda model: (rows_of_input(model), call_steps(model, 2), shared_memory(model)),
    "shared_memory of long rows": lambda model: (unroll_while(model, 2), rows_of_input(model), shared_memory(model)),
}


@pytest.mark.parametrize("change", LATER)
def test_a_pass_of_loops_keeps_the_results(change: str) -> None:
    for name in ("sequence", "step"):
        model = tflite.load(tiny_models.models()[name])
        for first in ("dead_loop_variables", "carried_state", "reshape_options", "strip"):
            PASSES[first](model)
        untouched = tflite.dump(model)
        LATER[change](model)
        once = tflite.dump(model)
        assert (once == untouched) == (name == "step" and change != "break_ties")
        if once != untouched:
            same_results(name, once)
            again = tflite.load(once)
            LATER[change](again)
            assert tflite.dump(again) == once


def test_a_loop_that_no_number_of_steps_divides_stays() -> None:
    model = tflite.load(tiny_models.models()["sequence"])
    PASSES["dead_loop_variables"](model)
    carried_state(model)
    before_it = tflite.dump(model)
    assert unroll_while(model, 3) == 0
    assert tflite.dump(model) == before_it
    assert unroll_while(model, STEPS) == 1
    body = tflite.while_parts(
        model, next(o for o in model.subgraphs[0].operators if tflite.op_name(model, o) == "WHILE")
    )[1]
    kinds = [tflite.op_name(model, op) for op in body.operators]
    assert (kinds.count("FULLY_CONNECTED"), kinds.count("GATHER"), kinds.count("SPLIT")) == (2 * STEPS, 1, 1)


@pytest.mark.parametrize("change", ["shared_memory", "shared_memory of called steps"])
def test_the_plan_places_the_sequence_once_and_nothing_else_there(change: str) -> None:
    model = tflite.load(tiny_models.models()["sequence"])
    for first in ("dead_loop_variables", "carried_state", "strip"):
        PASSES[first](model)
    LATER[change](model)
    model = tflite.load(tflite.dump(model))
    (entry,) = [entry for entry in model.metadata if tflite.text(entry.name) == NAME]
    _, _, count, *offsets = np.asarray(model.buffers[entry.buffer].data, np.uint8).view(np.int32).tolist()
    sizes = [len(graph.tensors) for graph in model.subgraphs]
    assert count == len(offsets) == sum(sizes)
    placed = [
        (number, i, offset)
        for number, graph in enumerate(model.subgraphs)
        for i in range(len(graph.tensors))
        # As this release reads the entries, and as older ones do.
        for offset in {offsets[sum(sizes[:number]) + i], offsets[i]} - {-1}
        if not tflite.is_constant(model, graph.tensors[i])
    ]
    at_0 = [list(model.subgraphs[number].tensors[i].shape) for number, i, offset in placed if not offset]
    assert at_0 == [[1, STEPS, FEATURES]] * 4
    others = [entry for entry in placed if entry[2]]
    assert all(offset >= STEPS * FEATURES and offset % 16 == 0 for *_, offset in others)
    if change != "shared_memory":  # every tensor of the step, and no two of an operator at one place
        step = model.subgraphs[3]
        places = {i: offset for number, i, offset in others if number == 3}
        assert len(others) == len(places) == sum(not tflite.is_constant(model, t) for t in step.tensors)
        assert len(set(places.values())) < len(places)
        for op in step.operators:
            around = [places[i] for i in {*op.inputs, *op.outputs, *step.inputs[:1]} if i in places]
            assert len(set(around)) == len(around) or op is not step.operators[0]


# -- graphs by hand --------------------------------------------------------------------------------


def loop(*, second: tflite.Grid = GRID, counters: int = 1) -> Model:
    """h = 3 times h * h, with h float in the loop; x and y are the int8 ends, t and more counters count."""
    m = Model(3)
    counts = [f"t{i}" for i in range(counters)]
    main, condition, body = m.graphs
    main.tensor("x")
    main.tensor("real", type=TYPE.FLOAT32)
    for name in counts:
        m.constant(0, name, np.int32(0))
        main.tensor(f"{name}_end", (), TYPE.INT32)
        condition.tensor(name, (), TYPE.INT32)
        body.tensor(name, (), TYPE.INT32)
        body.tensor(f"{name}_next", (), TYPE.INT32)
    main.tensor("end", type=TYPE.FLOAT32)
    main.tensor("y", grid=second)
    m.add(0, "DEQUANTIZE", "x", "real")
    options = tflite.schema.WhileOptionsT(condSubgraphIndex=1, bodySubgraphIndex=2)
    ended = " ".join(f"{name}_end" for name in counts)
    m.add(0, "WHILE", " ".join([*counts, "real"]), f"{ended} end", options)
    m.add(0, "QUANTIZE", "end", "y")
    m.ends(0, "x", "y")
    condition.tensor("h", type=TYPE.FLOAT32)
    m.constant(1, "three", np.int32(3))
    condition.tensor("more", (), TYPE.BOOL)
    m.add(1, "LESS", "t0 three", "more", tflite.schema.LessOptionsT())
    m.ends(1, " ".join([*counts, "h"]), "more")
    body.tensor("h", type=TYPE.FLOAT32)
    body.tensor("hq")
    body.tensor("product", grid=second)
    body.tensor("h_next", type=TYPE.FLOAT32)
    m.constant(2, "one", np.int32(1))
    for name in counts:
        m.add(2, "ADD", f"{name} one", f"{name}_next", tflite.schema.AddOptionsT())
    m.add(2, "QUANTIZE", "h", "hq")
    m.add(2, "MUL", "hq hq", "product", tflite.schema.MulOptionsT())
    m.add(2, "DEQUANTIZE", "product", "h_next")
    m.ends(2, " ".join([*counts, "h"]), " ".join([*(f"{name}_next" for name in counts), "h_next"]))
    return m


def results(model: tflite.ModelT) -> np.ndarray:
    x = np.random.default_rng(8).integers(-128, 128, (64, 4)).astype(np.int8)
    return host.run(tflite.dump(model), {"x": x}, runtime="litert-reference", mode="sequence")["y"]


def types(graph: tflite.SubGraphT) -> list[str]:
    return [tflite.type_name(graph.tensors[index]) for index in (*graph.inputs, *graph.outputs)]


def kinds(model: tflite.ModelT) -> list[str]:
    return [tflite.op_name(model, op) for graph in model.subgraphs for op in graph.operators]


def test_a_carried_float_state_becomes_int8_in_body_condition_and_caller() -> None:
    model = loop().model
    expected = results(model)
    assert len(np.unique(expected)) > 10
    carried_state(model)
    assert kinds(model) == ["WHILE", "LESS", "ADD", "MUL"]
    assert types(model.subgraphs[1]) == ["int32", "int8", "bool"]
    assert types(model.subgraphs[2]) == ["int32", "int8", "int32", "int8"]
    np.testing.assert_array_equal(results(model), expected)


def test_a_constant_start_is_put_on_the_loops_grid() -> None:
    m = loop()
    values = np.float32([[0.25, -1.0, 0.99, 0.5]])
    m.constant(0, "start", values)
    (caller,) = [op for op in m.model.subgraphs[0].operators if tflite.op_name(m.model, op) == "WHILE"]
    caller.inputs = [caller.inputs[0], m.graphs[0].index["start"]]
    carried_state(m.model)
    start = m.model.subgraphs[0].tensors[caller.inputs[1]]
    assert tflite.grid(start) == GRID
    np.testing.assert_array_equal(tflite.constant(m.model, start), [[32, -128, 127, 64]])


def test_float_operators_that_tflm_lacks_become_ones_with_the_same_values() -> None:
    m = Model(1)
    for name in ("x", "y", "clipped", "z"):
        m.graphs[0].tensor(name, type=TYPE.FLOAT32)
    m.graphs[0].tensor("less", type=TYPE.BOOL)
    m.add(0, "RELU_N1_TO_1", "x", "clipped")
    m.add(0, "LESS", "x y", "less", tflite.schema.LessOptionsT())
    m.add(0, "SELECT", "less clipped y", "z", tflite.schema.SelectOptionsT())
    m.ends(0, "x y", "z")
    random = np.random.default_rng(8)
    fed = {name: random.normal(0, 2, (64, 4)).astype(np.float32) for name in ("x", "y")}
    expected = host.run(tflite.dump(m.model), fed, runtime="litert", mode="sequence")["z"]
    with pytest.raises(host.RuntimeFailure, match="RELU_N1_TO_1"):
        host.run(tflite.dump(m.model), fed, runtime="tflm", mode="sequence")
    for _ in range(2):
        common_operators(m.model)
        assert kinds(m.model) == ["MAXIMUM", "MINIMUM", "LESS", "SELECT_V2"]
        for runtime in ("litert", "litert-reference", "tflm"):
            found = host.run(tflite.dump(m.model), fed, runtime=runtime, mode="sequence")["z"]
            np.testing.assert_array_equal(found, expected)


def test_products_in_the_middle_between_two_integers_go_away_from_zero_everywhere() -> None:
    gate, unit = tflite.Grid((1 / 256,), (-128,)), GRID
    m, (graph,) = Model(1), Model(1).graphs
    m.graphs[:] = [graph]
    m.model.subgraphs = [graph.graph]
    for name, grid in (("gate", gate), ("h", unit), ("product", unit), ("x", unit), ("y", unit)):
        graph.tensor(name, grid=grid)
    graph.tensor("joined", (1, 8), grid=unit)
    m.constant(0, "kernel", 127 * np.eye(4, 8, 4, dtype=np.int8), tflite.Grid((1 / 127,), (0,)))
    m.add(0, "MUL", "gate h", "product", tflite.schema.MulOptionsT())
    m.add(0, "CONCATENATION", "x product", "joined", tflite.schema.ConcatenationOptionsT(axis=1))
    op = m.add(0, "FULLY_CONNECTED", "joined kernel", "y", tflite.schema.FullyConnectedOptionsT())
    op.inputs = [*op.inputs, -1]
    m.ends(0, "gate h x", "y")
    g, h = np.meshgrid(np.arange(-128, 128), np.arange(-128, 128))
    fed = {name: array.reshape(-1, 4).astype(np.int8) for name, array in (("gate", g), ("h", h), ("x", h))}
    product = ((g + 128) * h).ravel()
    halves = product % 256 == 128
    away = (np.sign(product) * (np.abs(product) + 128) // 256)[halves]
    even = 2 * np.round(product / 512).astype(np.int64)[halves]
    assert np.any(away != even)
    break_ties(m.model)
    for runtime in ("litert", "litert-reference", "tflm"):
        found = host.run(tflite.dump(m.model), fed, runtime=runtime, mode="sequence")["y"].ravel()[halves]
        np.testing.assert_array_equal(found, away, err_msg=runtime)


def _two_grids(m: Model) -> None:
    m.model.subgraphs[2].operators[1:2] = []
    m.graphs[2].tensor("other", grid=tflite.Grid((1 / 64,), (0,)))
    m.add(2, "QUANTIZE", "h", "other")


def _added(m: Model) -> None:
    m.graphs[2].tensor("sum", type=TYPE.FLOAT32)
    m.add(2, "ADD", "h h", "sum", tflite.schema.AddOptionsT())


def _float_body(m: Model) -> None:
    m.model.subgraphs[2].operators.pop()
    m.add(2, "MUL", "h h", "h_next", tflite.schema.MulOptionsT())


def _read_by_condition(m: Model) -> None:
    m.graphs[1].tensor("flag", (1, 4), TYPE.BOOL)
    m.add(1, "LESS", "h h", "flag", tflite.schema.LessOptionsT())


def _float_output(m: Model) -> None:
    m.ends(0, "x", "end")


def _float_consumer(m: Model) -> None:
    m.graphs[0].tensor("twice", type=TYPE.FLOAT32)
    m.add(0, "ADD", "end end", "twice", tflite.schema.AddOptionsT())


def _float_start(m: Model) -> None:
    m.graphs[0].graph.operators.pop(0)
    m.ends(0, "real", "y")


def _other_start(m: Model) -> None:
    tflite.set_grid(m.graphs[0].graph.tensors[m.graphs[0].index["x"]], 1 / 64)


REFUSED: dict[str, tuple[Callable[[Model], None], str]] = {
    "two grids": (_two_grids, "Expected one grid for loop variable 1 at both ends of the body, got two"),
    "state in ADD": (_added, r"loop variable 1 to be read by QUANTIZE .*, got \['QUANTIZE', 'ADD'\]"),
    "float body": (_float_body, r"written by DEQUANTIZE, got .* and \['MUL'\]"),
    "condition": (
        _read_by_condition,
        "Expected float loop variable 1 to be left alone by the condition, got it read",
    ),
    "output": (_float_output, "Expected the result of loop variable 1 to be quantized, got it as an output"),
    "consumer": (_float_consumer, "the result of loop variable 1 to be quantized to the loop's grid, got ADD"),
    "start": (_float_start, "Expected loop variable 1 to start from a constant or an int8 tensor"),
    "start's grid": (_other_start, "Expected the start of loop variable 1 to be on the loop's grid"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_carried_float_that_is_no_quantized_state_is_refused(case: str) -> None:
    m = loop()
    change, message = REFUSED[case]
    change(m)
    with pytest.raises(PassError, match=message):
        carried_state(m.model)


def test_a_result_on_another_grid_than_the_loops_is_refused() -> None:
    m = loop()
    tflite.set_grid(m.graphs[0].graph.tensors[m.graphs[0].index["y"]], 1 / 64)
    with pytest.raises(PassError, match="to be quantized to the loop's grid, got QUANTIZE"):
        carried_state(m.model)


def test_a_counter_nobody_reads_goes_and_the_others_stay() -> None:
    m = loop(counters=4)
    expected = results(m.model)
    # t0 is the condition's, t1 is read behind the loop, t2 feeds t1, t3 only itself.
    m.graphs[0].tensor("used", (), TYPE.INT32)
    m.add(0, "ADD", "t1_end t1_end", "used", tflite.schema.AddOptionsT())
    m.ends(0, "x", "y used")
    feeding = m.graphs[2].graph.operators[1]
    feeding.inputs = [m.graphs[2].index["t1"], m.graphs[2].index["t2"]]
    dead_loop_variables(m.model)
    (caller,) = [op for op in m.model.subgraphs[0].operators if tflite.op_name(m.model, op) == "WHILE"]
    names = [tflite.text(m.model.subgraphs[0].tensors[index].name) for index in caller.inputs]
    assert names == ["t0", "t1", "t2", "real"]
    assert kinds(m.model).count("ADD") == 4
    assert tflite.without_producer(m.model) == []
    np.testing.assert_array_equal(results(m.model), expected)


def reshape(shape: tuple[int, ...], constant: bool) -> Model:
    m = Model()
    m.graphs[0].tensor("x", (1, 4) if shape else (1, 1))
    m.graphs[0].tensor("y", shape)
    m.constant(0, "shape", np.int32(shape)) if constant else m.graphs[0].tensor("shape", (len(shape),), TYPE.INT32)
    m.add(0, "RESHAPE", "x shape", "y", tflite.schema.ReshapeOptionsT())
    m.ends(0, "x" if constant else "x shape", "y")
    return m


@pytest.mark.parametrize("shape", [(2, 2), (4,), (1, 1, 4), (1, 2, 1, 2), ()])
def test_the_shape_of_a_reshape_moves_into_its_options(shape: tuple[int, ...]) -> None:
    model = reshape(shape, constant=True).model
    reshape_options(model)
    strip(model, keep_names=True)
    assert len(model.subgraphs[0].tensors) == 2
    x = np.arange(-4, 4, dtype=np.int8).reshape(2, 4)[:, : 4 if shape else 1]
    for runtime in ("litert-reference", "litert", "tflm"):
        if host.available(runtime):
            got = host.run(tflite.dump(model), {"x": x}, runtime=runtime, mode="sequence")["y"]
            np.testing.assert_array_equal(got.reshape(2, -1), x)


def test_a_shape_that_is_computed_stays() -> None:
    model = reshape((2, 2), constant=False).model
    unchanged = tflite.dump(model)
    reshape_options(model)
    assert tflite.dump(model) == unchanged


def test_a_relabelled_input_changes_its_scale_and_nothing_behind_it() -> None:
    model = tflite.load(tiny_models.models()["hop"])
    grids = [tflite.grid(t) for t in model.subgraphs[0].tensors]
    x = tflite.signature(model).inputs["x"]
    relabel_inputs(model, {x: tflite.Grid((0.05,), (0,))})
    assert tflite.grid(model.subgraphs[0].tensors[x]).same(tflite.Grid((0.05,), (0,)))
    assert {tflite.op_name(model, op) for op in tflite.consumers(model.subgraphs[0], x)} == {"RESHAPE"}
    after = [tflite.grid(tensor) for tensor in model.subgraphs[0].tensors]
    assert [grid for i, grid in enumerate(after[: len(grids)]) if i != x] == [
        g for i, g in enumerate(grids) if i != x
    ]


@pytest.mark.parametrize("name", ["sequence", "hop"])
def test_an_input_may_have_a_scale_and_a_far_zero_point_for_each_feature(name: str) -> None:
    """Which no runtime minds, and none reads: the integers mean the same to what computes."""
    plain = tiny_models.models()[name]
    model = tflite.load(plain)
    rows_of_input(model)  # in a loop the GATHER reads the input itself
    x = tflite.signature(model).inputs["x"]
    axis = len(model.subgraphs[0].tensors[x].shape) - 1
    wanted = tflite.Grid(tuple(10.0**n for n in range(-4, 2)), (5, -700, 2**30, 0, -(2**30), 3), axis)
    relabel_inputs(model, {x: wanted})
    assert tflite.grid(model.subgraphs[0].tensors[x]).same(wanted)
    mode = name if name in host.MODES else "step"
    for runtime in filter(host.available, ("litert-reference", "litert", "tflm")):
        expected = host.run(plain, {"x": samples()}, runtime=runtime, mode=mode)
        for key, array in host.run(tflite.dump(model), {"x": samples()}, runtime=runtime, mode=mode).items():
            np.testing.assert_array_equal(array, expected[key])


@pytest.mark.parametrize("numbers", [(-300.0, 0.25), (np.arange(6) * -50.0, 2.0 ** -np.arange(1, 7))])
def test_inputs_are_scaled_in_front_of_the_graph(numbers: tuple[Any, Any]) -> None:
    model = tflite.load(tiny_models.models()["step"])
    with pytest.raises(PassError, match="Expected 'x' to be float32, got int8"):
        scale_inputs(model, {"x": numbers})
    float_io(model)
    plain = tflite.dump(model)
    scale_inputs(model, {"x": numbers})
    scaled = np.random.default_rng(3).normal(0, 0.5, (4, STEPS, FEATURES)).astype(np.float32)
    raw = (scaled / numbers[1] - numbers[0]).astype(np.float32)
    scaled = (raw + np.float32(numbers[0])) * np.float32(numbers[1])
    for runtime in filter(host.available, ("litert-reference", "litert", "tflm")):
        expected = host.run(plain, {"x": scaled}, runtime=runtime, mode="step")
        for key, array in host.run(tflite.dump(model), {"x": raw}, runtime=runtime, mode="step").items():
            assert len(np.unique(array)) > 5
            np.testing.assert_array_equal(array, expected[key])


def test_an_input_with_a_zero_point_cannot_be_relabelled() -> None:
    model = tflite.load(tiny_models.models()["step"])
    x = tflite.signature(model).inputs["x"]
    for grid in (tflite.Grid((1 / 128,), (3,)), None):
        model.subgraphs[0].tensors[x].quantization = None
        if grid is not None:
            tflite.set_grid(model.subgraphs[0].tensors[x], grid.scales, grid.zero_points)
        with pytest.raises(PassError, match="Expected an input with zero point 0, got"):
            relabel_inputs(model, {x: tflite.Grid((0.05,), (0,))})


@pytest.mark.parametrize("name", NAMES)
def test_float_ends_quantize_and_dequantize_exactly(name: str) -> None:
    model = tflite.load(tiny_models.models()[name])
    ends = {**tflite.signature(model).inputs, **tflite.signature(model).outputs}
    grids = {key: tflite.grid(model.subgraphs[0].tensors[index]) for key, index in ends.items()}
    float_io(model)
    mode = name if name in host.MODES else "step"
    real = {"x": host.dequantize(samples(), grids["x"])}
    integer = host.run(tiny_models.models()[name], {"x": samples()}, runtime="litert-reference", mode=mode)
    for runtime in ("litert-reference", "tflm"):
        if host.available(runtime):
            got = host.run(tflite.dump(model), real, runtime=runtime, mode=mode)
            plain = host.run(tiny_models.models()[name], {"x": samples()}, runtime=runtime, mode=mode)
            assert got.keys() == integer.keys()
            for key, array in got.items():
                np.testing.assert_array_equal(array, host.dequantize(plain[key], grids[key]))
    with pytest.raises(PassError, match=r"Expected '.+' to be int8 or int16, got float32"):
        float_io(model)


def test_float_ends_are_what_the_converter_makes_of_them() -> None:
    model = tflite.load(tiny_models.models()["step"])
    float_io(model)
    x = np.random.default_rng(9).normal(0, 0.6, (4, STEPS, FEATURES)).astype(np.float32)
    own, converters = (
        host.run(data, {"x": x}, runtime="litert-reference", mode="step")
        for data in (tflite.dump(model), tiny_models.models()["step_float"])
    )
    for key in ("y", "state_mgu"):
        np.testing.assert_array_equal(own[key], converters[key])


def test_strip_leaves_the_names_of_the_ends_only() -> None:
    model = tflite.load(tiny_models.models()["sequence"])
    graph = model.subgraphs[0]
    ends = {tflite.text(graph.tensors[index].name) for index in (*graph.inputs, *graph.outputs)}
    model.description = "written by someone"
    graph.name = b"main"
    graph.tensors[0].quantization = tflite.schema.QuantizationParametersT(min=[-1.0], max=[1.0])
    strip(model)
    model = tflite.load(tflite.dump(model))
    assert {tflite.text(t.name) for part in model.subgraphs for t in part.tensors} == ends | {""}
    assert model.description is model.metadata is model.subgraphs[0].name is None
    for part in model.subgraphs:
        for tensor in part.tensors:
            assert tensor.quantization is None or (tensor.quantization.min is None and tflite.grid(tensor))


def test_labels_survive_strip_and_change_nothing_else() -> None:
    model = tflite.load(tiny_models.models()["stateful"])
    model.metadata = [tflite.schema.MetadataT(name=b"other", buffer=0)]
    labels(model, ["a", "b"])
    labels(model, ["c", "d"])
    assert [tflite.text(entry.name) for entry in model.metadata] == ["other", "keras_gru_plus.labels"]
    strip(model)
    data = tflite.dump(model)
    assert [tflite.text(entry.name) for entry in tflite.load(data).metadata] == ["keras_gru_plus.labels"]
    assert b'["c","d"]' in data
    assert b'["a","b"]' not in data
    same_results("stateful", data)


def test_ends_are_renamed_and_reordered() -> None:
    model = tflite.load(tiny_models.models()["step"])
    name_inputs_and_outputs(model, {"state_mgu": "first", "x": "second"}, {"state_mgu": "first", "y": "third"})
    model = tflite.load(tflite.dump(model))
    definition, graph = model.signatureDefs[0], model.subgraphs[0]
    assert [tflite.text(entry.name) for entry in definition.inputs] == ["first", "second"]
    assert [tflite.text(entry.name) for entry in definition.outputs] == ["first", "third"]
    assert [graph.tensors[index].shape for index in graph.inputs] == [[1, UNITS], [1, 1, FEATURES]]
    assert [tflite.text(graph.tensors[index].name) for index in graph.outputs] == ["first_out", "third"]
    steps = samples()[:, :1]
    state = np.arange(6 * UNITS, dtype=np.int8).reshape(6, UNITS)
    got = host.run(tflite.dump(model), {"second": steps, "first": state}, runtime="litert-reference", mode="sequence")
    wanted = host.run(
        tiny_models.models()["step"], {"x": steps, "state_mgu": state}, runtime="litert-reference", mode="step"
    )
    np.testing.assert_array_equal(got["third"], wanted["y"][:, 0])
    np.testing.assert_array_equal(got["first"], wanted["state_mgu"][:, 0])


# -- writing ---------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """A tree of schema objects as comparable values."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    return {key: plain(item) for key, item in vars(value).items()} if hasattr(value, "__dict__") else value


@pytest.mark.parametrize("name", NAMES)
def test_shared_parts_read_back_as_what_was_written(name: str) -> None:
    model = tflite.load(tiny_models.models()[name])
    strip(model)
    unshared = copy.copy(model)
    unshared.buffers = [_AlignedBuffer(data=buffer.data) for buffer in model.buffers]
    builder = flatbuffers.Builder(1024)
    builder.Finish(unshared.Pack(builder), b"TFL3")
    separate, shared = bytes(builder.Output()), tflite.dump(model)
    assert plain(tflite.load(shared)) == plain(tflite.load(separate)) == plain(model)
    assert len(shared) < 0.9 * len(separate)
    same_results(name, shared)


def test_parts_that_only_look_alike_are_not_shared() -> None:
    """Equal numbers in options of different classes, in vectors of different widths, and in integers and floats."""
    m = Model()
    for number, options in enumerate(
        (
            tflite.schema.AddOptionsT(fusedActivationFunction=1),
            tflite.schema.MulOptionsT(fusedActivationFunction=1),
            tflite.schema.AddOptionsT(fusedActivationFunction=1, potScaleInt16=False),
            tflite.schema.AddOptionsT(fusedActivationFunction=1),
            tflite.schema.ReshapeOptionsT(newShape=[1, 0]),
            tflite.schema.SqueezeOptionsT(squeezeDims=[1]),
            tflite.schema.ReshapeOptionsT(newShape=[1]),
        )
    ):
        kind = {"Add": "ADD", "Mul": "MUL", "Reshape": "RESHAPE", "Squeeze": "SQUEEZE"}[
            type(options).__name__.removesuffix("OptionsT")
        ]
        m.graphs[0].tensor(f"a{number}", (1,), grid=tflite.Grid((1.0,), (number % 2,)))
        m.graphs[0].tensor(f"b{number}", (1,), grid=tflite.Grid((float(np.float32(1 + 2**-23)),), (1,)))
        m.add(0, kind, f"a{number}", f"b{number}", options)
    m.ends(0, "a0", "b0")
    read = tflite.load(tflite.dump(m.model))
    for written, found in zip(m.model.subgraphs[0].operators, read.subgraphs[0].operators, strict=True):
        assert plain(found.builtinOptions) == {**plain(written.builtinOptions)}
        assert found.builtinOptionsType == written.builtinOptionsType
    for written, found in zip(m.model.subgraphs[0].tensors, read.subgraphs[0].tensors, strict=True):
        assert tflite.grid(found) == tflite.grid(written)
        assert (found.shape, found.type) == (written.shape, written.type)


# -- target tflm -----------------------------------------------------------------------------------

EVERY = np.arange(-128, 128, dtype=np.int8)


def micro_equal(before: bytes, model: tflite.ModelT, inputs: dict[str, np.ndarray]) -> None:
    """The same integers on TFLite Micro and on the kernels that are its reference elsewhere."""
    for runtime in ("litert-reference", "tflm"):
        if host.available(runtime):
            wanted, got = (
                host.run(data, inputs, runtime=runtime, mode="sequence")["y"] for data in (before, tflite.dump(model))
            )
            assert len(np.unique(wanted)) > 10
            np.testing.assert_array_equal(got, wanted, err_msg=runtime)


@pytest.mark.parametrize("scale", [0.001, 0.02707, 0.0625, 0.3])
@pytest.mark.parametrize(("kind", "scale_out", "zero_point"), [("LOGISTIC", 1 / 256, -128), ("TANH", 1 / 128, 0)])
def test_a_table_has_the_integers_of_the_gate_it_replaces(
    kind: str, scale_out: float, zero_point: int, scale: float
) -> None:
    m = Model()
    m.graphs[0].tensor("x", (1, 256), grid=tflite.Grid((scale,), (3,)))
    m.graphs[0].tensor("y", (1, 256), grid=tflite.Grid((scale_out,), (zero_point,)))
    m.add(0, kind, "x", "y")
    m.ends(0, "x", "y")
    before = tflite.dump(m.model)
    table_gates(m.model)
    assert kinds(m.model) == ["CAST", "ADD", "GATHER"]
    micro_equal(before, m.model, {"x": EVERY[None]})
    full_offsets(m.model)
    full = tflite.dump(m.model)
    assert list(m.model.subgraphs[0].tensors[m.model.subgraphs[0].operators[1].inputs[1]].shape) == [1, 256]
    micro_equal(before, m.model, {"x": EVERY[None]})
    full_offsets(m.model)
    assert tflite.dump(m.model) == full


def test_a_float_gate_is_refused() -> None:
    m = Model()
    for name in "xy":
        m.graphs[0].tensor(name, type=TYPE.FLOAT32)
    m.add(0, "TANH", "x", "y")
    m.ends(0, "x", "y")
    with pytest.raises(PassError, match="Expected TANH to be int8, got float32"):
        table_gates(m.model)


@pytest.mark.parametrize("second", ["computed", "table"])
@pytest.mark.parametrize("grid", [tflite.Grid((1 / 128,), (0,)), tflite.Grid((0.0123,), (-7,))])
def test_a_difference_is_the_sum_with_the_negative(grid: tflite.Grid, second: str) -> None:
    m = Model()
    shape = (1, 65536)  # every pair
    m.graphs[0].tensor("a", shape, grid=grid)
    m.graphs[0].tensor("b", shape)
    m.graphs[0].tensor("y", shape, grid=tflite.Grid((0.0151,), (0,)))
    m.graphs[0].tensor("t", shape)
    if second == "table":
        m.add(0, "TANH", "b", "t")
    m.add(0, "SUB", "a t" if second == "table" else "a b", "y", tflite.schema.SubOptionsT())
    m.ends(0, "a b", "y")
    if second == "table":
        table_gates(m.model)
    before = tflite.dump(m.model)
    subtract_by_adding(m.model)
    assert kinds(m.model)[-2:] == ["MUL", "ADD"]
    left, right = np.meshgrid(EVERY, EVERY)
    micro_equal(before, m.model, {"a": left.reshape(shape), "b": right.reshape(shape)})


def test_a_difference_that_is_broadcast_stays() -> None:
    m = Model()
    m.graphs[0].tensor("a", (1, 4))
    m.graphs[0].tensor("b", (1, 1))
    m.graphs[0].tensor("y", (1, 4))
    m.add(0, "SUB", "a b", "y", tflite.schema.SubOptionsT())
    m.ends(0, "a b", "y")
    unchanged = tflite.dump(m.model)
    subtract_by_adding(m.model)
    assert tflite.dump(m.model) == unchanged
