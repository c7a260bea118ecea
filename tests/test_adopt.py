"""`from_keras`: stock models keep names, weights and outputs."""

import keras
import numpy as np
import pytest
from keras import layers
from layers import randomized

import keras_gru_plus as kgp
from keras_gru_plus.adopt import has_keras_gru

X = np.random.default_rng(0).normal(0, 1, (4, 6, 3)).astype(np.float32)


def functional(build):
    signal = keras.Input((6, 3), name="signal")
    return keras.Model(signal, build(signal))


def shared(x):
    layer = layers.GRU(4, name="shared")
    return layers.Add()([layer(x), layer(x[:, ::-1])])


def nested(x):
    inner = keras.Sequential([keras.Input((6, 3)), layers.GRU(5, return_sequences=True)], name="inner")
    return layers.GRU(4, reset_after=False)(inner(x))


def with_state(x):
    sequence, state = layers.GRU(4, return_sequences=True, return_state=True)(x)
    return layers.GRU(4)(sequence, initial_state=state)


MODELS = {
    "sequential": lambda: keras.Sequential([keras.Input((6, 3)), layers.GRU(4, dropout=0.2), layers.Dense(2)]),
    "bidirectional": lambda: functional(layers.Bidirectional(layers.GRU(4, return_sequences=True), merge_mode="ave")),
    "cell": lambda: functional(layers.RNN(layers.GRUCell(4, activation="relu"))),
    "stacked cells": lambda: functional(layers.RNN([layers.GRUCell(4), layers.GRUCell(3, use_bias=False)])),
    "time distributed": lambda: functional(
        lambda x: layers.TimeDistributed(layers.GRU(4))(layers.Reshape((2, 3, 3))(x))
    ),
    "shared": lambda: functional(shared),
    "nested": lambda: functional(nested),
    "state": lambda: functional(with_state),
    "others": lambda: functional(lambda x: layers.LSTM(2)(layers.GRU(3, return_sequences=True)(x))),
}


@pytest.mark.parametrize("name", MODELS)
def test_names_weights_and_outputs_stay(name):
    model = randomized(MODELS[name]())
    assert has_keras_gru(model)
    adopted = kgp.from_keras(model)
    assert not has_keras_gru(adopted)
    assert any(isinstance(layer, kgp.GRUPlus | kgp.GRUPlusCell) for layer in adopted._flatten_layers())
    assert [layer.name for layer in adopted.layers] == [layer.name for layer in model.layers]
    assert adopted.name == model.name
    for got, wanted in zip(adopted.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(got, wanted)
    # The same float32 sums in another order, some ten roundings to numbers below 4.
    np.testing.assert_allclose(adopted(X), model(X), rtol=0, atol=1e-6)
    model.set_weights([0 * weight for weight in model.get_weights()])
    assert any(np.any(weight) for weight in adopted.get_weights())  # weights of its own


def test_what_has_no_graph_is_refused():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.gru = layers.GRU(3)

        def call(self, x):
            return self.gru(x)

    with pytest.raises(
        ValueError, match=r"Expected a Functional or Sequential model, got Own .*use GRUPlus in that code"
    ):
        kgp.from_keras(Own())
    with pytest.raises(TypeError, match="Expected a Keras model, got GRU"):
        kgp.from_keras(layers.GRU(3))


def test_quantization_says_how_to_adopt():
    with pytest.raises(ValueError, match=r"got GRU 'gru\w*'; .*from_keras"):
        kgp.quantize_aware(keras.Sequential([keras.Input((6, 3)), layers.GRU(4, name="gru")]))
    with pytest.raises(ValueError, match=r"got LSTM 'lstm\w*'; .*GRUPlus\(variant='cifg'\)"):
        kgp.quantize_aware(keras.Sequential([keras.Input((6, 3)), layers.LSTM(4, name="lstm")]))
