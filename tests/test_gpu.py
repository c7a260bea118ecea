"""What only a GPU can show: KGP_TEST_GPU=1 python -m pytest -m gpu. Skipped where there is none."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gru_plus as kgp

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not tf.config.list_physical_devices("GPU"), reason="no GPU"),
]

X = np.random.default_rng(0).normal(0, 1, (8, 20, 6)).astype(np.float32)


def trained(layer, **compile_options):
    """Outputs and weights after three steps."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(X.shape[1:]), layer, keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.1), "mse", **compile_options)
    for _ in range(3):
        model.train_on_batch(X, np.zeros((8, 2)))
    return np.asarray(model(X)), model.get_weights()


def test_the_standard_gru_takes_cudnn_and_gives_what_the_loop_gives():
    fast, slow = kgp.GRUPlus(16, seed=0), kgp.GRUPlus(16, seed=0, use_cudnn=False)
    assert fast._may_use_cudnn()
    assert not fast.supports_jit
    assert kgp.GRUPlus.from_config(fast.get_config()).use_cudnn == "auto"
    # cuDNN sums in another order and on TF32 units: 10 bits of mantissa a product.
    for got, wanted in zip(trained(fast), trained(slow), strict=True):
        for a, b in zip(keras.tree.flatten(got), keras.tree.flatten(wanted), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=5e-3)


@pytest.mark.parametrize("variant", ["mgu", "mingru", "qrnn"])
def test_mixed_precision_and_xla_stay_near_float32(variant):
    exact, _ = trained(kgp.GRUPlus(16, variant=variant, seed=0), jit_compile=False)
    mixed, _ = trained(kgp.GRUPlus(16, variant=variant, seed=0, dtype="mixed_float16"), jit_compile=True)
    np.testing.assert_allclose(mixed, exact, rtol=0, atol=0.05)  # 11 bits through 20 steps, three updates


@pytest.mark.parametrize("variant", ["gru", "mgu"])
def test_fake_quantization_under_xla_is_that_of_the_graph(variant):
    results = []
    for jit_compile in (False, True):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input(X.shape[1:]), kgp.GRUPlus(16, variant=variant)])
        quantized = kgp.calibrate(kgp.quantize_aware(model), X)
        quantized.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=jit_compile)
        quantized.fit(X, np.zeros((8, 16)), epochs=2, verbose=0)
        results.append(np.asarray(quantized(X)))
    # A value next to a rounding tie may fall to the other side: a step or two of 1/128, seldom.
    steps = np.abs(results[0] - results[1]) * 128
    assert steps.max() <= 3
    assert np.mean(steps > 0.5) < 0.05
