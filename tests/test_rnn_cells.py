"""`keras.layers.RNN` around GRUPlusCells: it is quantized and exported as the GRUPlus layers that it equals."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from layers import FLOAT32, NAMES, draw, options, randomized, sizes

import keras_gru_plus as kgp
from keras_gru_plus.quantization.layers import LAYERS
from keras_gru_plus.quantization.layers.unfolding import scopes, unfolded
from keras_gru_plus.quantization.model import ObservingNetwork
from keras_gru_plus_export import convert, tflite
from keras_gru_plus_export.summary import describe

L = keras.layers
Cell = kgp.GRUPlusCell
X = np.random.default_rng(0).normal(0, 1, (4, 6, 3)).astype(np.float32)
QUICK = ((True, True, False, False), (False, False, True, False), (True, False, True, True))
#: A row that ends, one that begins late, one with a hole, and one without a step.
GAPS = X * np.array([[1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1], [1, 1, 0, 1, 1, 1], [0] * 6])[..., None].astype(
    np.float32
)


def cells(several: bool = True) -> Any:
    """A stack in which outputs are not always states, and a cell has several."""
    first = Cell(4, variant="cifg")
    return [first, Cell(5, variant="gru"), Cell(3, variant="mgu")] if several else first


def model_of(layer: Any, masked: bool = False, batch: int | None = None) -> keras.Model:
    signal = keras.Input((6, 3), batch_size=batch, name="signal")
    return randomized(keras.Model(signal, layer(L.Masking()(signal) if masked else signal)))


def unfolded_outputs(model: keras.Model, *inputs: np.ndarray) -> list[np.ndarray]:
    """What the GRUPlus layers in its place compute, in float."""
    quantized = kgp.quantize_aware(model)
    values = ObservingNetwork(quantized._graph, quantized.taps).run([tf.constant(x) for x in inputs])
    return [np.asarray(value.tensor) for value in values]


def equal(model: keras.Model, *inputs: np.ndarray) -> None:
    """The same sums in the same order, so at most compiled differently."""
    wanted = keras.tree.flatten(model(inputs[0] if len(inputs) == 1 else list(inputs)))
    for got, output in zip(unfolded_outputs(model, *inputs), wanted, strict=True):
        assert len(np.unique(output)) > 3
        np.testing.assert_allclose(got, output, rtol=0, atol=FLOAT32)


@pytest.mark.parametrize(
    ("sequences", "state", "backwards", "masked"),
    [
        pytest.param(*flags, marks=() if flags in QUICK else pytest.mark.slow)
        for flags in itertools.product((False, True), repeat=4)
    ],
)
def test_stacked_cells_are_unfolded_with_every_option(
    sequences: bool, state: bool, backwards: bool, masked: bool
) -> None:
    found = {"return_sequences": sequences, "return_state": state, "go_backwards": backwards}
    for zeros, unroll in ((False, True), (True, False)) if masked else ((False, False),):
        layer = L.RNN(cells(), zero_output_for_mask=zeros, unroll=unroll, **found)
        equal(model_of(layer, masked), GAPS if masked else X)


def test_a_stack_starts_from_the_states_it_is_given_and_keeps_those_of_its_own() -> None:
    signal, starts = keras.Input((6, 3)), [keras.Input((4,)), keras.Input((3,)), keras.Input((5,))]
    two = Cell(4, variant="qrnn")
    two.build((None, 3))
    # Keras takes the states of each cell together.
    outputs = L.RNN([two, Cell(5)], return_state=True)(signal, initial_state=[starts[:2], starts[2]])
    rng = np.random.default_rng(1)
    given = [rng.uniform(-1, 1, (4, start.shape[1])).astype(np.float32) for start in starts]
    equal(randomized(keras.Model([signal, *starts], outputs)), X, *given)

    model = model_of(L.RNN([Cell(4), Cell(3, variant="mgu")], stateful=True, name="rnn"), batch=4)
    quantized = kgp.quantize_aware(model)
    network = ObservingNetwork(quantized._graph, quantized.taps)
    wanted = [np.asarray(model(X)) for _ in range(2)]
    assert np.abs(wanted[0] - wanted[1]).max() > 0.01
    for _ in range(2):
        for output in wanted:
            np.testing.assert_allclose(network.run([tf.constant(X)])[0].tensor, output, rtol=0, atol=FLOAT32)
        quantized.reset_states()


@pytest.mark.parametrize("masked", [False, True])
def test_both_directions_of_a_stack_are_unfolded(masked: bool) -> None:
    layer = L.Bidirectional(L.RNN(cells(), return_sequences=True, return_state=True))
    equal(model_of(layer, masked), GAPS if masked else X)
    equal(model_of(L.Bidirectional(L.RNN(cells(several=False)), merge_mode="sum"), masked), GAPS if masked else X)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if not kgp.variants.get(options(name)["variant"]).refusal])
def test_cells_of_every_variant_are_unfolded(name: str) -> None:
    features, units = sizes(name)
    x = draw(name, np.random.default_rng(0), (4, 6, (features - 1) // 2 if name == "grud" else features))
    signal = keras.Input(x.shape[1:])
    cell = Cell(units, **options(name))
    cell.build((None, x.shape[-1]))  # so that it knows its states
    outputs = [L.RNN(cell, return_state=True)(signal), L.RNN([Cell(units, **options(name)), Cell(3)])(signal)]
    model = randomized(keras.Model(signal, outputs))
    quantized = kgp.quantize_aware(model)
    kgp.calibrate(quantized, x)
    for got, wanted in zip(keras.tree.flatten(quantized(x)), keras.tree.flatten(model(x)), strict=True):
        # 8 bits through a cell or two, six steps of feedback.
        assert np.abs(got - wanted).mean() < 0.1 * max(np.abs(wanted).mean(), 0.2)
    equal(model, x.astype(np.float32))


def test_the_file_of_stacked_cells_is_that_of_stacked_layers() -> None:
    """Byte for byte: same operators, weights, ranges; only the states have other names."""
    stack = model_of(L.RNN([Cell(4), Cell(5, variant="mgu")], name="rnn"))
    signal = keras.Input((6, 3), name="signal")
    x = kgp.GRUPlus(4, return_sequences=True, name="low")(signal)
    layers = keras.Model(signal, kgp.GRUPlus(5, variant="mgu", name="rnn")(x))
    layers.set_weights(stack.get_weights())
    one, other = (kgp.calibrate(kgp.quantize_aware(model), X) for model in (stack, layers))
    np.testing.assert_array_equal(one(X), other(X))
    assert convert(one) == convert(other)
    states = [list(tflite.signature(tflite.load(convert(m, mode="step"))).inputs) for m in (one, other)]
    assert states == [["signal", "state_rnn_cell_0", "state_rnn_cell_1"], ["signal", "state_low", "state_rnn"]]


def test_cells_are_trained_named_and_saved(tmp_path: Any) -> None:
    """Weights of the quantization-aware model are those of `float_model()`, whose layers are the source's."""
    model = model_of(lambda x: L.Dense(2, name="head")(L.RNN([L.GRUCell(4), L.GRUCell(5)], name="rnn")(x)))
    adopted = kgp.from_keras(model)
    recipe = kgp.Recipe("mine", overrides={"rnn": {"percentile": 99.0}, "rnn/cell_1/*_pre": {"range": (-3, 3)}})
    quantized = kgp.calibrate(kgp.quantize_aware(adopted, recipe), X)
    learned = quantized.taps.learned()
    assert {key.rpartition("/")[0] for key in learned} == {"signal", "rnn/cell_0", "rnn/cell_1", "head"}
    given = [key for key, tap in learned.items() if tap.given]
    assert given
    assert all(key.startswith("rnn/cell_1/") for key in given)
    quantized.compile(keras.optimizers.Adam(0.02), "mse")
    before = quantized.float_model().get_weights()
    assert [w.shape for w in before] == [w.shape for w in model.get_weights()]
    quantized.fit(X, model.predict(X, verbose=0) + 1.0, epochs=3, verbose=0)
    after = quantized.float_model()
    assert all(np.any(a != b) for a, b in zip(before, after.get_weights(), strict=True))
    assert [layer.name for layer in after.layers] == [layer.name for layer in model.layers]
    kgp.calibrate(quantized, X)  # three steps move the ranges less than the outputs
    assert np.abs(after(X) - quantized(X)).max() < 0.1

    quantized.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(X), quantized(X))
    rows = {layer["name"]: layer for layer in describe(quantized)["layers"]}
    assert (rows["rnn"]["variant"], rows["rnn"]["units"]) == (["gru", "gru"], [4, 5])


def test_one_cell_keeps_the_layers_name() -> None:
    layer = L.RNN([Cell(4, variant="mgu")], name="rnn")
    model = kgp.quantize_aware(model_of(layer))
    (row,) = describe(model)["layers"]
    assert (row["class"], row["variant"], row["units"]) == ("RNN", "mgu", 4)
    assert {key.split("/")[0] for key in model.taps.all()} == {"signal", "rnn"}
    assert scopes(layer, "rnn") == ["rnn"]
    assert unfolded(layer)[0].cell is layer.cell.cells[0]


@keras.saving.register_keras_serializable("rnn_cells")
class Own(L.Layer):
    """A cell of somebody's own."""

    state_size = output_size = 3

    def call(self, x: Any, states: Any) -> Any:
        return x + states[0], [x + states[0]]


FORM = r"Expected layer 'rnn' \(RNN\) in a form that can be quantized, got "


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L.RNN(L.GRUCell(3, name="cell"), name="rnn"), FORM + "cell 'cell' of class GRUCell; .*from_keras"),
        (
            lambda: L.RNN([Cell(3), L.LSTMCell(3, name="b")], name="rnn"),
            FORM + "cell 'b' of class LSTMCell; .*'cifg'",
        ),
        (lambda: L.RNN(L.SimpleRNNCell(3), name="rnn"), FORM + ".*SimpleRNNCell; .*'ugrnn'"),
        (lambda: L.RNN(Own(name="own"), name="rnn"), FORM + "cell 'own' of class Own; only GRUPlusCells are taken"),
        (lambda: L.RNN(Cell(3, activation="gelu"), name="rnn"), "Expected an activation .*got 'gelu'"),
        (lambda: L.RNN(Cell(3, dtype="mixed_float16"), name="rnn"), FORM + "cell .* computing in float16"),
        (lambda: L.Bidirectional(L.RNN(L.LSTMCell(3, name="b"))), r"\(Bidirectional\) .*cell 'b' of class LSTMCell"),
    ],
)
def test_other_cells_are_refused_by_name(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kgp.quantize_aware(model_of(make()))


def test_a_registered_layer_is_not_taken_for_one_of_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LAYERS, L.SimpleRNN, LAYERS[L.Dense])  # so that it is gone afterwards

    @kgp.register_layer(L.SimpleRNN)
    def last_step(q: Any, call: Any, x: Any) -> Any:
        """Some function of the window; a real one would be a loop."""
        return q.output(call.scope, q.real(call.scope, x).tensor[:, -1] + call.layer.cell.bias)

    quantized = kgp.calibrate(kgp.quantize_aware(model_of(L.SimpleRNN(3, stateful=True, name="own"), batch=4)), X)
    assert quantized(X).shape == (4, 3)
    assert describe(quantized)["layers"] == [{"name": "own", "class": "SimpleRNN", "parameters": 21}]
    with pytest.raises(ValueError, match="a model with a GRUPlus layer for modes 'step' and 'stateful', got none"):
        convert(quantized, mode="step")


def test_sixteen_bits_look_into_cells_of_both_directions() -> None:
    for layer in (L.RNN(Cell(3, variant="egru")), L.Bidirectional(L.RNN(Cell(3, variant="egru")))):
        with pytest.raises(ValueError, match="activation 'softsign_gate', a look-up table"):
            kgp.quantize_aware(model_of(layer), "int16x8")


def test_states_of_one_name_are_refused() -> None:
    signal = keras.Input((6, 3), name="signal")
    stack = L.RNN([Cell(3), Cell(3)], return_sequences=True, name="rnn")(signal)
    model = keras.Model(signal, kgp.GRUPlus(3, name="rnn_cell_1")(stack))
    quantized = kgp.calibrate(kgp.quantize_aware(model), X)
    with pytest.raises(ValueError, match=r"Expected states of different names, got two called 'state_rnn_cell_1'"):
        convert(quantized, mode="step")
