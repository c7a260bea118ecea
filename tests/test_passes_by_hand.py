"""Passes of conversions that few models need, on graphs that hold little else."""

from __future__ import annotations

import numpy as np
import pytest
from hand_graphs import GRID, TYPE, Model

from keras_gru_plus_export import tflite
from keras_gru_plus_export.devices import host
from keras_gru_plus_export.passes import PassError
from keras_gru_plus_export.passes.kernel_scales import KernelScales, kernel_scales
from keras_gru_plus_export.passes.merge_loops import merge_loops
from keras_gru_plus_export.passes.narrow_shapes import narrow_shapes
from keras_gru_plus_export.passes.table_activations import table_activations
from keras_gru_plus_export.passes.widen import widen
from keras_gru_plus_export.passes.zero_biases import zero_biases

schema = tflite.schema
RUNTIMES = [runtime for runtime in ("litert-reference", "tflm") if host.available(runtime)]
GATE = tflite.Grid((1 / 256,), (-128,))


def integers(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).integers(-128, 128, shape).astype(np.int8)


def ran(model: tflite.ModelT, runtime: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    return host.run(tflite.dump(model), inputs, runtime=runtime, mode="sequence")


def kinds(model: tflite.ModelT) -> list[str]:
    return [tflite.op_name(model, op) for graph in model.subgraphs for op in graph.operators]


# -- merge_loops -------------------------------------------------------------------------------------


def counting(m: Model, condition: int, limit: int, others: dict[str, tuple[int, ...]]) -> None:
    """The condition and the counter of a loop, whose body follows its condition."""
    for graph in (condition, condition + 1):
        m.graphs[graph].tensor("t", (), TYPE.INT32)
        for name, shape in others.items():
            m.graphs[graph].tensor(name, shape)
    m.constant(condition, "limit", np.int32(limit))
    m.graphs[condition].tensor("more", (), TYPE.BOOL)
    m.add(condition, "LESS", "t limit", "more", schema.LessOptionsT())
    m.ends(condition, " ".join(["t", *others]), "more")
    m.constant(condition + 1, "one", np.int32(1))
    m.graphs[condition + 1].tensor("t_next", (), TYPE.INT32)
    m.add(condition + 1, "ADD", "t one", "t_next", schema.AddOptionsT())


def two_loops(second: str = "the first's rows", limit: int = 3) -> Model:
    """One loop multiplies rows of x up and collects the products; another adds rows up."""
    m = Model(5)
    main, body, after = m.graphs[0], m.graphs[2], m.graphs[4]
    main.tensor("x", (3, 1, 4))
    m.constant(0, "h0", np.int8([[127, -100, 90, 127]]), GRID)
    m.constant(0, "g0", np.int8([[3, -4, 5, 6]]), GRID)
    m.constant(0, "o0", np.zeros((3, 4), np.int8), GRID)
    for name in ("t", "u"):
        m.constant(0, name, np.int32(0))
        main.tensor(f"{name}_end", (), TYPE.INT32)
    ends = {"x_end": (3, 1, 4), "h_end": (1, 4), "o_end": (3, 4), "o": (3, 1, 4), "s_end": (3, 1, 4), "g_end": (1, 4)}
    for name, shape in ends.items():
        main.tensor(name, shape)
    m.add(0, "WHILE", "t x h0 o0", "t_end x_end h_end o_end", schema.WhileOptionsT(1, 2))
    m.add(0, "RESHAPE", "o_end", "o", schema.ReshapeOptionsT(newShape=[3, 1, 4]))
    source = "x" if second == "x" else "o"
    start = {"the first's end": "h_end", "x": "g1"}.get(second, "g0")
    if second == "x":  # what the second loop starts from is computed behind the first, but not from it
        main.tensor("g1")
        m.add(0, "ADD", "g0 g0", "g1", schema.AddOptionsT())
    m.add(0, "WHILE", f"u {source} {start}", "u_end s_end g_end", schema.WhileOptionsT(3, 4))
    m.ends(0, "x", "g_end h_end")

    counting(m, 1, 3, {"x": (3, 1, 4), "h": (1, 4), "o": (3, 4)})
    for name, shape in {"row": (1, 4), "h_next": (1, 4), "cut": (2, 4), "o_next": (3, 4)}.items():
        body.tensor(name, shape)
    for name, value in {"begin": [1, 0], "end": [3, 4], "strides": [1, 1]}.items():
        m.constant(2, name, np.int32(value))
    m.add(2, "GATHER", "x t", "row", schema.GatherOptionsT())
    m.add(2, "MUL", "row h", "h_next", schema.MulOptionsT())
    m.add(2, "STRIDED_SLICE", "o begin end strides", "cut", schema.StridedSliceOptionsT())
    m.add(2, "CONCATENATION", "cut h_next", "o_next", schema.ConcatenationOptionsT(axis=0))
    m.ends(2, "t x h o", "t_next x h_next o_next")

    counting(m, 3, limit, {"s": (3, 1, 4), "g": (1, 4)})
    after.tensor("row", (1, 4))
    after.tensor("g_next", (1, 4))
    index = "t"
    if second == "backwards":
        m.constant(4, "last", np.int32(2))
        after.tensor("index", (), TYPE.INT32)
        m.add(4, "SUB", "last t", "index", schema.SubOptionsT())
        index = "index"
    m.add(4, "GATHER", f"s {index}", "row", schema.GatherOptionsT())
    m.add(4, "ADD", "row g", "g_next", schema.AddOptionsT())
    m.ends(4, "t s g", "t_next s g_next")
    return m


@pytest.mark.parametrize("second", ["the first's rows", "x"])
def test_one_loop_does_what_two_did(second: str) -> None:
    model = tflite.load(tflite.dump(two_loops(second).model))
    x = integers(40, 3, 1, 4)
    before = {runtime: ran(model, runtime, x=x) for runtime in RUNTIMES}
    assert merge_loops(model) == 1
    once = tflite.dump(model)
    model = tflite.load(once)
    linked = second != "x"
    assert kinds(model).count("WHILE") == kinds(model).count("LESS") == 1
    assert kinds(model).count("GATHER") == (1 if linked else 2)
    assert kinds(model).count("CONCATENATION") == kinds(model).count("STRIDED_SLICE") == (0 if linked else 1)
    assert kinds(model).count("ADD") == (2 if linked else 3)  # the counter of the second is gone
    assert len(model.subgraphs) == 3
    for runtime, wanted in before.items():
        got = ran(model, runtime, x=x)
        for key in ("g_end", "h_end"):
            assert len(np.unique(wanted[key])) > 10
            np.testing.assert_array_equal(got[key], wanted[key], err_msg=runtime)
    assert merge_loops(model) == 0
    assert tflite.dump(model) == once


@pytest.mark.parametrize(("second", "limit"), [("the first's end", 3), ("backwards", 3), ("x", 2)])
def test_one_loop_is_not_made_of_two_that_wait_or_count_otherwise(second: str, limit: int) -> None:
    model = tflite.load(tflite.dump(two_loops(second, limit).model))
    before = tflite.dump(model)
    assert merge_loops(model) == 0
    assert tflite.dump(model) == before


@pytest.mark.parametrize("body", [2, 4])
def test_one_loop_takes_rows_without_grids_but_not_with_another(body: int) -> None:
    model = two_loops().model
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.quantization = None
    changed = tflite.load(tflite.dump(model))
    assert merge_loops(model) == 1
    row = next(
        t for t in changed.subgraphs[body].tensors if tflite.text(t.name) == ("h_next" if body == 2 else "row")
    )
    tflite.set_grid(row, 1 / 64)
    assert merge_loops(changed) == 0


# -- narrow_shapes -----------------------------------------------------------------------------------


def broadcast(shape: str, kind: int = TYPE.INT64) -> Model:
    m = Model()
    m.graphs[0].tensor("x", (1, 4))
    m.graphs[0].tensor("y", (3, 4))
    if shape == "constant":
        m.constant(0, "shape", np.array([3, 4], np.int64 if kind == TYPE.INT64 else np.int32))
    else:
        m.graphs[0].tensor("shape", (2,), kind)
    m.add(0, "BROADCAST_TO", "x shape", "y", schema.BroadcastToOptionsT())
    m.model.operatorCodes[0].version = 3  # the first in runtimes
    m.ends(0, "x" if shape == "constant" else "x shape", "y")
    return m


def test_a_shape_becomes_narrow() -> None:
    model = broadcast("constant").model
    narrow_shapes(model)
    shape = model.subgraphs[0].tensors[model.subgraphs[0].operators[0].inputs[1]]
    assert (shape.type, tflite.constant(model, shape).tolist()) == (TYPE.INT32, [3, 4])
    x = integers(8, 4)
    for runtime in RUNTIMES:
        np.testing.assert_array_equal(ran(model, runtime, x=x)["y"], np.repeat(x[:, None], 3, axis=1))
    once = tflite.dump(model)
    narrow_shapes(model)
    assert tflite.dump(model) == once
    with pytest.raises(PassError, match="Expected BROADCAST_TO with a constant shape, got one that is computed"):
        narrow_shapes(broadcast("computed").model)
    model = broadcast("computed", TYPE.INT32).model  # narrow, whatever it is
    unchanged = tflite.dump(model)
    narrow_shapes(model)
    assert tflite.dump(model) == unchanged


# -- kernel_scales ---------------------------------------------------------------------------------------

ROWS = np.random.default_rng(4).normal(0, [[0.02], [0.5], [0.1]], (3, 4))
BIAS = np.array([0.25, -0.5, 0.125])
ONE = float(np.abs(ROWS).max() / 127)


def matmul(bias: bool) -> Model:
    m = Model()
    m.graphs[0].tensor("x")
    m.graphs[0].tensor("y", (1, 3), grid=tflite.Grid((1 / 32,), (0,)))
    scales = np.abs(ROWS).max(axis=1) / 127
    m.constant(0, "kernel", np.rint(ROWS / scales[:, None]).astype(np.int8), tflite.Grid(tuple(scales), (0, 0, 0)))
    inputs = "x kernel"
    if bias:
        steps = scales / 128
        m.constant(0, "bias", np.rint(BIAS / steps).astype(np.int32), tflite.Grid(tuple(steps), (0, 0, 0)))
        inputs += " bias"
    op = m.add(0, "FULLY_CONNECTED", inputs, "y", schema.FullyConnectedOptionsT())
    op.inputs = [*op.inputs, -1][:3]
    m.ends(0, "x", "y")
    return m


@pytest.mark.parametrize("bias", [None, BIAS])
@pytest.mark.parametrize("input_of_bias", [True, False])
def test_kernel_scales_takes_the_real_weights(bias: np.ndarray | None, input_of_bias: bool) -> None:
    model = tflite.load(tflite.dump(matmul(input_of_bias).model))
    unchanged = tflite.dump(model)
    kernel_scales(model, lambda _: None)
    assert tflite.dump(model) == unchanged

    def find(output: tflite.TensorT) -> KernelScales | None:
        return KernelScales(np.array([ONE]), ROWS, bias) if tflite.text(output.name) == "y" else None

    kernel_scales(model, find)
    graph = model.subgraphs[0]
    (op,) = graph.operators
    kernel = graph.tensors[op.inputs[1]]
    assert tflite.grid(kernel).same(tflite.Grid((ONE,), (0,)))
    np.testing.assert_array_equal(tflite.constant(model, kernel), np.rint(ROWS / ONE))
    if input_of_bias:
        tensor = graph.tensors[op.inputs[2]]
        assert tflite.grid(tensor).same(tflite.Grid((ONE / 128,), (0,)))
        assert tensor.type == TYPE.INT32
        np.testing.assert_array_equal(
            tflite.constant(model, tensor), np.rint((0 if bias is None else BIAS) / (ONE / 128)) * np.ones(3)
        )
    once = tflite.dump(model)
    kernel_scales(model, find)
    assert tflite.dump(model) == once
    x = integers(64, 4)
    real = x / 128 @ ROWS.T + (0 if bias is None or not input_of_bias else BIAS)
    for runtime in RUNTIMES:
        # Weights off by half a step, four of them, and the output's rounding.
        np.testing.assert_allclose(ran(model, runtime, x=x)["y"] / 32, real, rtol=0, atol=2 * ONE + 0.5 / 32 + 1e-6)


def test_kernel_scales_refuses_another_kernel() -> None:
    for change in ("shape", "type"):
        model = matmul(True).model
        rows = ROWS if change == "type" else ROWS[:2]
        if change == "type":
            model.subgraphs[0].tensors[2].type = TYPE.UINT8
        with pytest.raises(PassError, match=r"Expected an int8 kernel of .* in FULLY_CONNECTED, got"):
            kernel_scales(model, lambda _, rows=rows: KernelScales(np.array([ONE]), rows, None))


# -- zero_biases -------------------------------------------------------------------------------------


def test_zero_biases_where_a_kernel_per_channel_has_none() -> None:
    model = tflite.load(tflite.dump(matmul(False).model))
    before = {runtime: ran(model, runtime, x=integers(8, 4))["y"] for runtime in RUNTIMES}
    zero_biases(model)
    graph = model.subgraphs[0]
    (op,) = graph.operators
    bias = graph.tensors[op.inputs[2]]
    scales = np.array(tflite.grid(graph.tensors[op.inputs[1]]).scales)
    assert bias.type == TYPE.INT32
    np.testing.assert_array_equal(tflite.constant(model, bias), np.zeros(3))
    np.testing.assert_allclose(tflite.grid(bias).scales, scales / 128)
    once = tflite.dump(model)
    zero_biases(model)
    assert tflite.dump(model) == once
    for runtime, wanted in before.items():
        np.testing.assert_array_equal(ran(model, runtime, x=integers(8, 4))["y"], wanted)


def test_zero_biases_leave_other_matmuls() -> None:
    one = tflite.load(tflite.dump(matmul(False).model))
    kernel_scales(one, lambda _: KernelScales(np.array([ONE]), ROWS, None))
    for model in (one, tflite.load(tflite.dump(matmul(True).model))):
        unchanged = tflite.dump(model)
        zero_biases(model)
        assert tflite.dump(model) == unchanged


# -- table_activations -------------------------------------------------------------------------------


def sines(inputs: np.ndarray, grid: tflite.Grid) -> np.ndarray:
    return np.clip(np.floor(np.sin(inputs) / grid.scale + 0.5) + grid.zero_point, -128, 127).astype(np.int8)


def marked(reshapes: int) -> Model:
    """Two marked activations, one of which the converter moved RESHAPEs behind."""
    m = Model()
    shapes = [(1, 4), (1, 2, 2), (2, 2)]
    for name in ("x", "w"):
        m.graphs[0].tensor(name, grid=tflite.Grid((0.03,), (5,)))
        for part in ("real", "act/marked"):
            m.graphs[0].tensor(f"{name}_{part}", type=TYPE.FLOAT32)
        m.add(0, "DEQUANTIZE", name, f"{name}_real", schema.DequantizeOptionsT())
        m.add(0, "SIN", f"{name}_real", f"{name}_act/marked")
        last = f"{name}_act/marked"
        for number in range(reshapes if name == "x" else 0):
            shape = shapes[number + 1]
            m.graphs[0].tensor(f"reshaped{number}", shape, TYPE.FLOAT32)
            m.add(0, "RESHAPE", last, f"reshaped{number}", schema.ReshapeOptionsT(newShape=list(shape)))
            last = f"reshaped{number}"
        m.graphs[0].tensor(f"{name}_y", shapes[reshapes if name == "x" else 0], grid=tflite.Grid((0.011,), (-9,)))
        m.add(0, "QUANTIZE", last, f"{name}_y", schema.QuantizeOptionsT())
    m.ends(0, "x w", "x_y w_y")
    return m


@pytest.mark.parametrize("reshapes", [0, 1, 2])
def test_a_marked_activation_becomes_its_table(reshapes: int) -> None:
    model = tflite.load(tflite.dump(marked(reshapes).model))
    x, w = np.arange(-128, 128, dtype=np.int8).reshape(64, 4), integers(64, 4)
    before = {runtime: ran(model, runtime, x=x, w=w) for runtime in RUNTIMES}
    # The key is the end of the operation's name; another one's function is no help.
    table_activations(model, {"other": lambda *_: np.zeros(256, np.int8), "act/marked": sines})
    assert sorted(kinds(model)) == sorted([*(["CAST", "ADD", "GATHER"] * 2), *(["RESHAPE"] * reshapes)])
    assert tflite.without_producer(model) == []
    casts = [op.builtinOptions for op in model.subgraphs[0].operators if tflite.op_name(model, op) == "CAST"]
    assert {(cast.inDataType, cast.outDataType) for cast in casts} == {(TYPE.INT8, TYPE.INT32)}
    names = {tflite.text(model.subgraphs[0].tensors[op.outputs[0]].name) for op in model.subgraphs[0].operators}
    assert {"x_act/marked", "w_act/marked"} <= names
    for op in model.subgraphs[0].operators:
        tensor = model.subgraphs[0].tensors[op.outputs[0]]
        if tflite.op_name(model, op) in ("GATHER", "RESHAPE"):
            assert tensor.type == TYPE.INT8
            assert tflite.grid(tensor).same(tflite.Grid((0.011,), (-9,)))
    for runtime, wanted in before.items():
        got = ran(model, runtime, x=x, w=w)
        assert [a.tolist() for a in got.values()] == [a.tolist() for a in wanted.values()]
    once = tflite.dump(model)
    table_activations(model, {})
    assert tflite.dump(model) == once


def test_a_marked_activation_without_a_function_or_ends_is_refused() -> None:
    with pytest.raises(PassError, match="Expected a marked activation between DEQUANTIZE and QUANTIZE, got"):
        table_activations(marked(0).model, {"other": sines})
    m = marked(0)
    m.model.subgraphs[0].operators[2].opcodeIndex = m.model.subgraphs[0].operators[1].opcodeIndex
    with pytest.raises(PassError, match=r"between \['DEQUANTIZE', 'SIN'\]"):
        table_activations(m.model, {"act/marked": sines})
    m = marked(0)
    m.model.subgraphs[0].tensors[m.graphs[0].index["x"]].quantization = None
    with pytest.raises(PassError, match="Expected int8 at both ends of the activation 'x_act/marked'"):
        table_activations(m.model, {"act/marked": sines})


# -- widen -------------------------------------------------------------------------------------------

KERNEL = np.random.default_rng(5).integers(-127, 128, (4, 4)).astype(np.int8)
FACTORS = np.array([[0.3, -0.45, 0.7, 0.9]])
OFFSET = np.array([0.11, -0.2, 0.3, 0.05])


def smooth() -> Model:
    """sigmoid(x W + b) * FACTORS, clipped at zero, minus x."""
    m = Model()
    for name, grid in {
        "x": GRID,
        "pre": tflite.Grid((1 / 16,), (0,)),
        "gate": GATE,
        "p": GATE,
        "y": tflite.Grid((1 / 64,), (0,)),
    }.items():
        m.graphs[0].tensor(name, grid=grid)
    m.constant(0, "kernel", KERNEL, tflite.Grid((1 / 64,), (0,)))
    m.constant(0, "bias", np.rint(OFFSET * 128 * 64).astype(np.int32), tflite.Grid((1 / 8192,), (0,)))
    m.constant(0, "factors", np.rint(FACTORS * 127).astype(np.int8), tflite.Grid((1 / 127,), (0,)))
    m.add(0, "FULLY_CONNECTED", "x kernel bias", "pre", schema.FullyConnectedOptionsT())
    m.add(0, "LOGISTIC", "pre", "gate")
    m.add(0, "MUL", "gate factors", "p", schema.MulOptionsT())
    m.add(0, "SUB", "p x", "y", schema.SubOptionsT())
    m.ends(0, "x", "y")
    return m


def test_a_wide_file_computes_with_the_real_constants() -> None:
    model = tflite.load(tflite.dump(smooth().model))
    widen(model, lambda output: OFFSET if tflite.text(output.name) == "pre" else None, [np.zeros((1, 4)), FACTORS])
    graph = model.subgraphs[0]
    types = {tflite.text(t.name): t.type for t in graph.tensors}
    assert (types["x"], types["kernel"], types["bias"]) == (TYPE.INT16, TYPE.INT8, TYPE.INT64)
    assert not graph.operators[3].builtinOptions.potScaleInt16
    x = np.random.default_rng(6).integers(-32768, 32768, (200, 4)).astype(np.int16)
    gate = 1 / (1 + np.exp(-(x / 32768 @ (KERNEL / 64).T + OFFSET)))
    wanted = np.clip(np.maximum(gate * FACTORS, 0) - x / 32768, -2, 2)
    for runtime in ("litert", *RUNTIMES):
        # Rounding of pre (1/4096, at slope 1/4), interpolation in LOGISTIC, and of y (1/16384).
        np.testing.assert_allclose(ran(model, runtime, x=x)["y"] / 16384, wanted, rtol=0, atol=2e-4, err_msg=runtime)
    once = tflite.dump(model)
    widen(model, lambda _: None, [])
    assert tflite.dump(model) == once


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("per channel", "Expected weights per tensor"),
        ("unknown", "Expected operators with an int16 kernel, got SIN"),
        ("constants", "Expected the model's constants, got"),
        ("activation", "Expected MUL with no activation or RELU, got another"),
        ("grid", "Expected constants on a grid in MUL, got one without"),
        ("start", "Expected CONCATENATION to start from zeros, got"),
    ],
)
def test_what_has_no_wide_form_is_refused(change: str, message: str) -> None:
    m = smooth()
    graph, constants = m.model.subgraphs[0], [FACTORS]
    if change == "per channel":
        tflite.set_grid(graph.tensors[m.graphs[0].index["kernel"]], (1 / 64,) * 4, 0)
    elif change == "unknown":
        m.graphs[0].tensor("z")
        m.add(0, "SIN", "y", "z")
    elif change == "constants":
        constants = [FACTORS + 0.6 / 127]
    elif change == "activation":
        graph.operators[2].builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU6
    elif change == "grid":
        graph.tensors[m.graphs[0].index["factors"]].quantization = None
    else:
        m.graphs[0].tensor("z", (1, 8))
        m.add(0, "CONCATENATION", "x factors", "z", schema.ConcatenationOptionsT(axis=1))
    with pytest.raises(PassError, match=message):
        widen(m.model, lambda _: OFFSET, constants)
