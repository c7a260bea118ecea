"""Every variant against its NumPy reference, and two cells of other shapes that the same arithmetic must hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from references import REFERENCES, Reference, run, sigmoid

import keras_gru_plus as kgp
from keras_gru_plus.arithmetic import Grid, plan_of
from keras_gru_plus.cells import Cell

# float64 leaves only the order of summation; a wrong term shows from 1e-3 on.
EXACT = 1e-12
# One float32 step: pre-activations up to about 8 with 2^-24 relative error, halved at least by the gates.
ONE_STEP = 1e-6


def options(name: str) -> dict:
    return {"variant": name, **REFERENCES[name].options}


def layer(name: str, units: int, features: int, rng: np.random.Generator, **arguments):
    """A built layer with every weight, the biases included, drawn at random."""
    made = kgp.GRUPlus(units, **{**options(name), **arguments})
    made.build((None, None, features))
    made.set_weights([rng.normal(0, 0.7, w.shape) for w in made.get_weights()])
    return made


def test_every_variant_has_a_reference_and_a_source():
    missing = set(kgp.VARIANTS) - set(REFERENCES)
    assert not missing, f"variants without a reference in tests/references.py: {missing}"
    unsourced = [name for name, cell in kgp.VARIANTS.items() if not cell.source]
    assert not unsourced, f"variants that do not say where their equations come from: {unsourced}"
    undocumented = [name for name, cell in kgp.VARIANTS.items() if "Source:" not in (cell.__doc__ or "")]
    assert not undocumented, f"variants whose docstring has no source: {undocumented}"
    assert all(cell().name == name for name, cell in kgp.VARIANTS.items())


@pytest.mark.parametrize("name", REFERENCES)
@given(
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 4)),
    size_of_inputs=st.floats(0.1, 3.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_one_step_equals_the_paper(name, sizes, size_of_inputs, seed):
    features, units, batch = sizes
    rng = np.random.default_rng(seed)
    cell = layer(name, units, features, rng).cell
    x = rng.normal(0, size_of_inputs, (batch, features))
    states = [rng.uniform(-1, 1, (batch, size)) for size in cell.variant.state_sizes(features, units)]

    output, new = cell(x.astype(np.float32), [s.astype(np.float32) for s in states])

    expected, expected_states = REFERENCES[name].step([w.astype(np.float64) for w in cell.get_weights()], x, states)
    np.testing.assert_allclose(output, expected, rtol=0, atol=ONE_STEP)
    for got, wanted in zip(new, expected_states, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=ONE_STEP)


@pytest.mark.parametrize("name", REFERENCES)
@given(
    lengths=st.lists(st.integers(0, 4), min_size=2, max_size=3),
    side=st.sampled_from(["left", "right", "holes"]),
    go_backwards=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_masked_sequence_equals_the_plain_loop(name, lengths, side, go_backwards, seed):
    timesteps, features, units = 4, 3, 4
    rng = np.random.default_rng(seed)
    rnn = layer(name, units, features, rng, dtype="float64", return_sequences=True, go_backwards=go_backwards)
    x = rng.normal(0, 1, (len(lengths), timesteps, features))
    steps = np.arange(timesteps)
    masks = {
        "left": [steps >= timesteps - length for length in lengths],
        "right": [steps < length for length in lengths],
        "holes": [rng.permutation(steps) < length for length in lengths],
    }
    mask = np.stack(masks[side])
    states = [rng.uniform(-1, 1, (len(x), size)) for size in rnn.cell.variant.state_sizes(features, units)]

    got = rnn(x, mask=mask, initial_state=states if len(states) > 1 else states[0])

    step, weights = REFERENCES[name].step, rnn.get_weights()
    expected, _ = run(step, weights, x, states, mask=mask, go_backwards=go_backwards)
    np.testing.assert_allclose(got, expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize("name", REFERENCES)
def test_the_activations_are_where_the_paper_has_them(name, monkeypatch):
    """Other functions for σ and φ must reach the same places; a swapped pair would not."""
    import references

    monkeypatch.setattr(references, "sigmoid", lambda v: np.clip(0.25 * v + 0.5, 0, 1))
    monkeypatch.setattr(np, "tanh", lambda v: np.clip(v, -1, 1))
    rng = np.random.default_rng(0)
    gates = kgp.activations.HardSigmoid(0.25)
    rnn = layer(name, 4, 3, rng, dtype="float64", activation="hard_tanh", recurrent_activation=gates)
    x = rng.normal(0, 1, (3, 5, 3))
    states = [np.zeros((3, size)) for size in rnn.cell.variant.state_sizes(3, 4)]
    expected, _ = run(REFERENCES[name].step, rnn.get_weights(), x, states)
    np.testing.assert_allclose(rnn(x), expected[:, -1], rtol=0, atol=EXACT)


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize(("features", "units"), [(1, 1), (3, 5), (7, 2)])
def test_the_number_of_parameters(name, features, units):
    made = layer(name, units, features, np.random.default_rng(0))
    assert made.count_params() == REFERENCES[name].parameters(features, units)


@pytest.mark.parametrize("name", REFERENCES)
def test_without_bias_is_with_biases_of_zero(name):
    rng = np.random.default_rng(0)
    with_bias = layer(name, 4, 3, rng)
    cell = with_bias.cell.variant
    matrices = cell.weights(3, 4, use_bias=False)
    weights = with_bias.get_weights()
    with_bias.set_weights([w if i < len(matrices) else np.zeros_like(w) for i, w in enumerate(weights)])
    without = kgp.GRUPlus(4, use_bias=False, **options(name))
    without.build((None, None, 3))
    without.set_weights(weights[: len(matrices)])
    x = rng.normal(0, 1, (3, 5, 3)).astype(np.float32)
    # Adding an exact zero changes nothing but may change how XLA or Eigen fuse: one unit in the last place.
    np.testing.assert_allclose(without(x), with_bias(x), rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", [name for name in REFERENCES if kgp.variants.get(options(name)["variant"]).bounded])
def test_a_bounded_state_stays_in_its_bounds(name):
    rng = np.random.default_rng(0)
    rnn = layer(name, 8, 4, rng, return_sequences=True)
    rnn.set_weights([20 * w for w in rnn.get_weights()])  # saturates every gate
    x = rng.normal(0, 10, (16, 30, 4)).astype(np.float32)
    start = rng.choice([-1.0, 1.0], (16, 8)).astype(np.float32)
    h = np.asarray(rnn(x, initial_state=start))
    # h + g (c - h) rounds twice in float32.
    assert np.abs(h).max() <= 1 + 2**-22
    assert np.abs(h).max() > 0.99  # the bound was put to the test


# -- cells of another shape ---------------------------------------------------------------------------
#
# Neither output nor state is `h` alone here. If these two run in float, trace, quantize, calibrate and
# train without a line of their own anywhere else, so will the rest of the family.


class QRNN(Cell):
    """Bradbury et al. 2017: gates from a window of inputs, of which the cell carries the past ones."""

    kernel = bias = ("z", "f", "o")
    states = ("h", "x")
    output = "o_h"
    source = "Bradbury et al. 2017, eq. 5"

    def __init__(self, width: int = 2) -> None:
        self.width = width

    def weights(self, features, units, use_bias):
        return super().weights(self.width * features, units, use_bias)

    def step(self, a, x, states):
        h, before = states
        f, o = a.split(a.gate("f_o", a.linear("f_o_pre", ("f", "o"), (x, before))), 2)
        z = a.candidate("z", a.linear("z_pre", ("z",), (x, before)))
        h = a.interpolate("h", f, z, h)
        return a.gated("o_h", o, h), (h, x)


class RAN(Cell):
    """Lee et al. 2017: the state is the content c; the output h is computed anew from it."""

    kernel = ("c", "i", "f")
    recurrent_kernel = bias = ("i", "f")
    states = ("c",)
    bounded = False
    source = "Lee et al. 2017, eq. 1"

    def step(self, a, x, states):
        (c,) = states
        h = a.candidate("h_before", c)
        i, f = a.split(a.gate("i_f", a.linear("i_f_pre", ("i", "f"), x, h)), 2)
        kept = a.mul("f_c", f, c)
        c = a.settle(a.add("c", a.mul("i_content", i, a.linear("content", ("c",), x)), kept))
        return a.candidate("h", c), (c,)


def qrnn_step(weights, x, states):
    W, b = weights
    h, before = states
    z, f, o = np.split(np.concatenate([x, before], axis=-1) @ W + b, 3, axis=-1)
    h = sigmoid(f) * h + (1 - sigmoid(f)) * np.tanh(z)
    return sigmoid(o) * h, [h, x]


def ran_step(weights, x, states):
    W, U, b = weights
    (c,) = states
    n = c.shape[-1]
    content, i, f = np.split(x @ W, 3, axis=-1)
    recurrent = np.tanh(c) @ U + b
    i, f = sigmoid(i + recurrent[:, :n]), sigmoid(f + recurrent[:, n:])
    c = i * content + f * c
    return np.tanh(c), [c]


OTHERS = {
    "qrnn": (QRNN, Reference(qrnn_step, lambda d, n: 3 * 2 * d * n + 3 * n, {})),
    "ran": (RAN, Reference(ran_step, lambda d, n: 3 * d * n + 2 * n * n + 2 * n, {})),
}


@pytest.fixture(params=OTHERS)
def other(request, monkeypatch):
    """A cell class that is a variant during one test, and its reference."""
    cell, reference = OTHERS[request.param]
    monkeypatch.setitem(kgp.VARIANTS, request.param, cell)  # so that configs find it
    return cell, reference


def test_another_cell_equals_its_reference(other):
    cell, reference = other
    rng = np.random.default_rng(0)
    rnn = kgp.GRUPlus(4, variant=cell(), dtype="float64", return_sequences=True, return_state=True)
    rnn.build((None, None, 3))
    rnn.set_weights([rng.normal(0, 0.7, w.shape) for w in rnn.get_weights()])
    x, mask = rng.normal(0, 1, (5, 6, 3)), rng.random((5, 6)) < 0.7
    start = [rng.uniform(-1, 1, (5, size)) for size in cell().state_sizes(3, 4)]

    outputs, *states = rnn(x, mask=mask, initial_state=start)

    expected, expected_states = run(reference.step, rnn.get_weights(), x, start, mask=mask)
    assert rnn.count_params() == reference.parameters(3, 4)
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=EXACT)
    for got, wanted in zip(states, expected_states, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=EXACT)


def test_another_cell_can_be_traced(other):
    import keras

    cell, _ = other
    i = keras.Input((6, 3))
    rnn = kgp.GRUPlus(4, variant=cell(), return_state=True)
    symbolic = rnn(i)
    plan = plan_of(rnn.cell, quantized=True)
    operands = {linear.tap: (linear.gates, linear.x, linear.h) for linear in plan.linears}
    if cell is QRNN:
        assert operands == {"f_o_pre": (("f", "o"), True, False), "z_pre": (("z",), True, False)}
        assert plan.taps["o_h"] is Grid.UNIT
    else:
        assert operands == {"i_f_pre": (("i", "f"), True, True), "content": (("c",), True, False)}
        assert plan.taps["c"] is Grid.LEARNED  # the content has no bound
        assert plan.taps["h"] is Grid.UNIT
    assert [s.shape[-1] for s in symbolic] == [4, *cell().state_sizes(3, 4)]


def test_another_cell_survives_calibration_and_training(other):
    import keras

    cell, _ = other
    rng = np.random.default_rng(0)
    i = keras.Input((6, 3))
    states = kgp.GRUPlus(4, variant=cell(), return_state=True)(i)
    model = keras.Model(i, [*states, keras.layers.Dense(2)(states[0])])
    x = rng.normal(0, 1.5, (64, 6, 3)).astype(np.float32)
    quantized = kgp.calibrate(kgp.quantize_aware(model), x)
    for got, wanted in zip(quantized.predict(x, verbose=0), model.predict(x, verbose=0), strict=True):
        # Twelve half steps of 1/128 of the range through six time steps; a lost unit or grid is an error of 1.
        assert np.abs(got - wanted).max() < 0.06 * max(1, np.abs(wanted).max())
        assert np.abs(got - wanted).max() > 0

    before = [w.copy() for w in quantized.get_weights()]
    quantized.compile("sgd", "mse", jit_compile=False)
    quantized.fit(x, [np.zeros(out.shape) for out in model.predict(x, verbose=0)], epochs=1, verbose=0)
    trainable = quantized.float_model().get_weights()
    assert all(np.any(a != b) for a, b in zip(trainable, before))
    assert all(np.isfinite(w).all() for w in quantized.get_weights())


def test_a_saturating_activation_without_a_matmul_before_it_is_refused(monkeypatch):
    import keras

    monkeypatch.setitem(kgp.VARIANTS, "ran", RAN)
    model = keras.Sequential([keras.Input((6, 3)), kgp.GRUPlus(4, variant=RAN(), activation="hard_tanh")])
    with pytest.raises(ValueError, match=r"operator of its own for 'h_before' of variant 'ran', got 'hard_tanh'"):
        kgp.quantize_aware(model)
