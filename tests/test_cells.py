"""Every variant against its NumPy reference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layers import cell_of, columns, draw, options
from references import REFERENCES, run

import keras_gru_plus as kgp

# float64 leaves only the order of summation; a wrong term shows from 1e-3 on.
EXACT = 1e-12
# One float32 step: pre-activations up to about 8 with 2^-24 relative error, halved at least by the gates; relative
# where a variant's numbers are not bounded.
ONE_STEP = 1e-6


def layer(name: str, units: int, features: int, rng: np.random.Generator, **arguments):
    """A built layer for inputs of `features` values with every weight, the biases included, drawn at random."""
    made = kgp.GRUPlus(units, **{**options(name), **arguments})
    made.build((None, None, columns(name, features)))
    for weight in made.weights:
        drawn = rng.normal(0, 0.7, weight.shape)
        weight.assign(np.abs(drawn) + 0.1 if weight.name == "moving_variance" else drawn)
    return made


def draw_states(made, rng: np.random.Generator, batch: int) -> list[np.ndarray]:
    sizes = made.cell.state_size
    return [rng.uniform(-1, 1, (batch, size)) for size in (sizes if isinstance(sizes, list) else [sizes])]


def test_every_variant_has_a_reference_and_a_source():
    missing = set(kgp.VARIANTS) - set(REFERENCES)
    assert not missing, f"variants without a reference in tests/references.py: {missing}"
    unsourced = [name for name, cell in kgp.VARIANTS.items() if not cell.source]
    assert not unsourced, f"variants that do not say where their equations come from: {unsourced}"
    undocumented = [name for name, cell in kgp.VARIANTS.items() if "Source:" not in (cell.__doc__ or "")]
    assert not undocumented, f"variants whose docstring has no source: {undocumented}"
    assert all(cell().name == name for name, cell in kgp.VARIANTS.items())


#: Bounds of states that are not 1; None: there is none that holds for all weights.
BOUNDS = {"cfn": 1.9612, **dict.fromkeys(("janet", "ligru", "fastrnn", "fastgrnn", "sru1", "sru", "atr", "ran"))}


@pytest.mark.parametrize("name", kgp.VARIANTS)
def test_what_a_variant_declares_of_its_states(name):
    cell = kgp.variants.get(name)
    assert cell.bound == BOUNDS.get(name, 1.0)
    assert cell.scan == (name in ("mingru", "sru1", "qrnn"))


@pytest.mark.parametrize("name", REFERENCES)
@given(
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 4)),
    size_of_inputs=st.floats(0.1, 3.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_one_step_equals_the_paper(name, sizes, size_of_inputs, seed):
    features, units, batch = sizes
    rng = np.random.default_rng(seed)
    made = layer(name, units, features, rng)
    x = draw(name, rng, (batch, features), size_of_inputs).astype(np.float32)
    states = [state.astype(np.float32) for state in draw_states(made, rng, batch)]

    output, new = made.cell(x, states)

    weights = [w.astype(np.float64) for w in made.cell.get_weights()]
    expected, expected_states = REFERENCES[name].step(weights, x.astype(np.float64), [np.float64(s) for s in states])
    np.testing.assert_allclose(output, expected, rtol=ONE_STEP, atol=ONE_STEP)
    for got, wanted in zip(new, expected_states, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=ONE_STEP, atol=ONE_STEP)


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
    x = draw(name, rng, (len(lengths), timesteps, features))
    steps = np.arange(timesteps)
    masks = {
        "left": [steps >= timesteps - length for length in lengths],
        "right": [steps < length for length in lengths],
        "holes": [rng.permutation(steps) < length for length in lengths],
    }
    mask = np.stack(masks[side])
    states = draw_states(rnn, rng, len(x))

    got = rnn(x, mask=mask, initial_state=states if len(states) > 1 else states[0])

    step, weights = REFERENCES[name].step, rnn.get_weights()
    expected, _ = run(step, weights, x, states, mask=mask, go_backwards=go_backwards)
    np.testing.assert_allclose(got, expected, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("name", [name for name in REFERENCES if cell_of(name).scan])
@given(timesteps=st.integers(1, 40), go_backwards=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_scan_and_loop_agree(name, timesteps, go_backwards, seed):
    rng = np.random.default_rng(seed)
    arguments = {"return_sequences": True, "return_state": True, "go_backwards": go_backwards}
    scanned = layer(name, 4, 3, rng, **arguments)
    looped = kgp.GRUPlus(4, **options(name), **arguments, unroll=True)
    looped.build((None, timesteps, 3))
    looped.set_weights(scanned.get_weights())
    x = rng.normal(0, 1, (3, timesteps, 3)).astype(np.float32)
    states = [state.astype(np.float32) for state in draw_states(scanned, rng, 3)]
    start = states if len(states) > 1 else states[0]
    for got, wanted in zip(scanned(x, initial_state=start), looped(x, initial_state=start), strict=True):
        # float32 sums of up to 40 terms in another order.
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


#: Variants whose own activations are others than σ and φ, or that fix them.
OWN_ACTIVATIONS = [name for name in REFERENCES if "activation" in options(name)] + ["mingru", "ligru", "egru"]


@pytest.mark.parametrize("name", [name for name in REFERENCES if name not in OWN_ACTIVATIONS])
def test_the_activations_are_where_the_paper_has_them(name, monkeypatch):
    """Other functions for σ and φ must reach the same places; a swapped pair would not."""
    import references_base

    monkeypatch.setattr(references_base, "sigmoid", lambda v: np.clip(0.25 * v + 0.5, 0, 1))
    monkeypatch.setattr(np, "tanh", lambda v: np.clip(v, -1, 1))
    rng = np.random.default_rng(0)
    gates = kgp.activations.HardSigmoid(0.25)
    rnn = layer(name, 4, 3, rng, dtype="float64", activation="hard_tanh", recurrent_activation=gates)
    x = draw(name, rng, (3, 5, 3))
    states = [np.zeros_like(state) for state in draw_states(rnn, rng, 3)]
    expected, _ = run(REFERENCES[name].step, rnn.get_weights(), x, states)
    np.testing.assert_allclose(rnn(x), expected[:, -1], rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize(("features", "units"), [(1, 1), (3, 5), (7, 2)])
def test_the_number_of_parameters(name, features, units):
    made = layer(name, units, features, np.random.default_rng(0))
    assert made.count_params() == REFERENCES[name].parameters(columns(name, features), units)


@pytest.mark.parametrize("name", REFERENCES)
def test_without_bias_is_with_biases_of_zero(name):
    rng = np.random.default_rng(0)
    with_bias = layer(name, 4, 3, rng)
    without = layer(name, 4, 3, rng, use_bias=False)
    kept = {weight.name: weight for weight in without.weights}
    for weight in with_bias.weights:
        if weight.name in kept:
            kept[weight.name].assign(weight)
        else:
            assert weight.name in ("bias", "recurrent_bias", "beta")
            weight.assign(np.zeros(weight.shape))
    if "hidden_decay_bias" in kept:
        with_bias.cell.hidden_decay_bias.assign(np.zeros(4))
    x = draw(name, rng, (3, 5, 3)).astype(np.float32)
    # Adding an exact zero changes nothing but may change how XLA or Eigen fuse: one unit in the last place.
    np.testing.assert_allclose(without(x), with_bias(x), rtol=1e-6, atol=1e-6)


BOUNDED = [name for name in REFERENCES if cell_of(name).bound and name not in ("mingru", "mingru, g")]


@pytest.mark.parametrize("name", BOUNDED)
def test_a_bounded_state_stays_in_its_bounds(name):
    rng = np.random.default_rng(0)
    rnn = layer(name, 8, 4, rng, return_sequences=True, return_state=True)
    rnn.set_weights([20 * w for w in rnn.get_weights()])  # saturates every gate
    x = draw(name, rng, (16, 30, 4), 10).astype(np.float32)
    start = [rng.choice([-1.0, 1.0], state.shape).astype(np.float32) for state in draw_states(rnn, rng, 16)]
    outputs, *states = rnn(x, initial_state=start if len(start) > 1 else start[0])
    bound = rnn.variant.bound
    bounded = [s for state, s in zip(rnn.variant.states, states) if state not in ("x", "last", "unseen")]
    for values in (np.asarray(outputs), *map(np.asarray, bounded)):
        # h + g (c - h) rounds twice in float32.
        assert np.abs(values).max() <= bound * (1 + 2**-22)
    assert np.abs(outputs).max() > 0.75  # the bound was put to the test; tanh(1) = .7616 is the greatest of some


@pytest.mark.parametrize("name", ["gru", "mgu", "cifg", "qrnn", "grud"])
def test_zoneout_keeps_old_states_in_training_and_their_mean_in_inference(name):
    rng = np.random.default_rng(0)
    plain = layer(name, 5, 3, rng)
    zoned = layer(name, 5, 3, rng, variant={"name": name, "zoneout": 0.3})
    zoned.set_weights(plain.get_weights())
    x = draw(name, rng, (400, 3)).astype(np.float32)
    states = [state.astype(np.float32) for state in draw_states(plain, rng, 400)]
    _, new = plain.cell(x, states)
    _, mean = zoned.cell(x, states)
    _, drawn = zoned.cell(x, states, training=True)
    for state, old, after, average, some in zip(plain.variant.states, states, new, mean, drawn, strict=True):
        if state not in ("h", "s"):
            np.testing.assert_array_equal(average, after)
            continue
        np.testing.assert_allclose(average, 0.3 * old + 0.7 * np.asarray(after), rtol=0, atol=1e-6)
        kept = np.asarray(some) == old
        np.testing.assert_array_equal(np.where(kept, old, after), some)
        # 2000 draws: three standard deviations are 0.03.
        assert abs(kept.mean() - 0.3) < 0.04


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ({"name": "qrnn", "width": 0}, "Expected `width` to be 1 or more, got 0"),
        ({"name": "gru", "rank": 0}, "Expected `rank` to be 1 or more, got 0"),
        ({"name": "mgu", "zoneout": 1.0}, r"Expected `zoneout` to be in \[0, 1\), got 1.0"),
        ({"name": "grud", "missing": "zero"}, "Expected `missing` to be 'mask' or 'nan', got 'zero'"),
    ],
)
def test_impossible_options_are_refused(variant, message):
    with pytest.raises(ValueError, match=message):
        kgp.GRUPlus(4, variant=variant)


def test_the_smallest_options_are_taken():
    assert kgp.variants.get({"name": "gru", "rank": 1, "recurrent_rank": 1}).ranks == {
        "kernel": 1,
        "recurrent_kernel": 1,
    }
    assert kgp.variants.get({"name": "qrnn", "width": 1}).states == ("h",)
    kgp.variants.get({"name": "grud", "missing": "nan"}).check(2, 4)  # one value and the time gap


def test_columns_that_do_not_fit_are_refused():
    with pytest.raises(
        ValueError, match=r"Expected values, as many mask columns and one of time gaps .*got 4 columns"
    ):
        kgp.GRUPlus(4, variant="grud").build((None, None, 4))
    with pytest.raises(ValueError, match="Expected inputs of 2 columns or more"):
        kgp.GRUPlus(4, variant={"name": "cfc", "elapsed": True}).build((None, None, 1))


def test_missing_values_as_nan_are_those_of_the_mask():
    rng = np.random.default_rng(0)
    masked = layer("grud", 4, 3, rng)
    nan = kgp.GRUPlus(4, variant=kgp.variants.GRUD(missing="nan"))
    nan.build((None, None, 4))
    nan.set_weights(masked.get_weights())
    x = draw("grud", rng, (5, 6, 3)).astype(np.float32)
    values, mask, gaps = x[..., :3], x[..., 3:6], x[..., 6:]
    with_nan = np.concatenate([np.where(mask == 1, values, np.nan), gaps], axis=-1)
    np.testing.assert_allclose(nan(with_nan), masked(x), rtol=0, atol=1e-6)


def test_batch_normalization_of_the_light_gru_sees_all_rows_and_steps():
    rng = np.random.default_rng(0)
    rnn = layer("ligru", 4, 3, rng, return_sequences=True)
    x = rng.normal(1, 2, (6, 5, 3)).astype(np.float32)
    mask = rng.random((6, 5)) < 0.7
    before = [np.asarray(w) for w in (rnn.cell.moving_mean, rnn.cell.moving_variance)]
    projected = (x @ np.asarray(rnn.cell.kernel))[mask]
    trained = rnn(x, mask=mask, training=True)
    mean, variance = projected.mean(axis=0), projected.var(axis=0)
    np.testing.assert_allclose(rnn.cell.moving_mean, 0.95 * before[0] + 0.05 * mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(rnn.cell.moving_variance, 0.95 * before[1] + 0.05 * variance, rtol=1e-5)
    weights = rnn.get_weights()
    rnn.set_weights([*weights[:-2], mean, variance])
    np.testing.assert_allclose(trained, rnn(x, mask=mask), rtol=1e-4, atol=1e-5)  # float32 statistics, five steps


@pytest.mark.parametrize("name", kgp.VARIANTS)
def test_chrono_starts_every_gated_variant_with_long_memory(name):
    cell = kgp.variants.get(name)
    gates = [gate for gate in (*cell.keep_gates, *cell.write_gates) if gate in cell.bias]
    made = kgp.GRUPlus(40, variant=name, bias_initializer=kgp.initializers.Chrono(100, seed=0))
    made.build((None, None, columns(name, 4)))
    if not gates:  # nothing to keep a state with, or a bias of another kind
        assert name in ("atr", "cfc", "fastrnn", "gru2", "ligru", "mgu2", "ran")
        return
    bias = np.asarray(made.cell.bias).reshape(-1, 40)[: len(cell.bias)]
    for gate, row in zip(cell.bias, bias):
        sign = 1 if gate in cell.keep_gates else -1 if gate in cell.write_gates else 0
        assert np.all((sign * row >= 0) & (np.abs(row) <= np.log(99)))
        assert (np.abs(row).mean() > 3) == bool(sign)  # the mean of log U(1, 99) is 3.6
