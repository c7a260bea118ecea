"""Training on several devices and with several workers gives the weights and ranges of a single device."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gru_plus as kgp

RUNS = pathlib.Path(__file__).with_name("distributed_runs.py")
#: Sums of float32 gradients in another order, over a few steps; ranges that are averaged over replicas, instead of
#: taking the least and the greatest value, are wrong by some 1e-3.
TOLERANCE = 1e-5
#: Warnings are errors there, too, but for those that pyproject.toml lets pass.
PYTHON = [
    *(sys.executable, "-W", "error"),
    *("-W", "ignore:distutils Version classes are deprecated"),
    *("-W", "ignore:__array__ implementation doesn't accept a copy keyword"),
]
SECONDS = 240


@contextlib.contextmanager
def started(name, arguments, environment=None):
    """A run in a process that never outlives the block."""
    process = subprocess.Popen(
        [*PYTHON, str(RUNS), name, json.dumps(arguments)],
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def result(process):
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, output[-4000:]
    return json.loads(output.splitlines()[-1])


def run(name, **arguments):
    with started(name, arguments) as process:
        return result(process)


def same_as_one_device(found, quantized):
    assert found["weights"] < TOLERANCE
    assert found["logs"] < TOLERANCE  # loss and metric of each epoch
    assert found["trained"] > 1e-3
    assert found["replicas"] == 0
    if quantized:
        assert found["ranges"] < TOLERANCE
        assert found["ranges_set"] == 1


@pytest.mark.parametrize("layers", ["gru", "mgu"])
def test_two_devices_train_as_one(layers):
    found = run("train", layers=layers, recipes=[None, "int8"])
    same_as_one_device(found["float"], quantized=False)
    same_as_one_device(found["int8"], quantized=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layers", "optimizer", "loop"),
    [("gru", "adam", "fit"), ("mgu", "sgd", "own"), ("hard", "sgd", "fit"), ("stack", "adam", "fit")],
)
def test_more_layers_recipes_optimizers_and_a_loop_of_ones_own(layers, optimizer, loop):
    recipes = [None, "int8", "int8_per_channel"]
    found = run("train", layers=layers, recipes=recipes, optimizer=optimizer, loop=loop)
    for recipe in recipes:
        same_as_one_device(found[recipe or "float"], quantized=recipe is not None)


@pytest.mark.slow
def test_calibration_freezing_and_files_on_two_devices():
    found = run("whole_workflow")
    assert found["calibrated"] == found["calibrated_in_scope"] == found["calibrated_replicas"] == 0
    assert found["moved_before"] > 1e-4
    assert found["frozen"] == 0
    assert found["weights"] < TOLERANCE
    assert found["ranges"] < TOLERANCE
    assert found["trained"] > 1e-3
    assert found["replicas"] == 0
    assert found["loaded"] == found["outputs"] == 0
    assert found["files_equal"]
    assert found["trained_on"] < TOLERANCE
    assert found["trained_on_replicas"] == 0
    assert found["moved_on"] > 1e-4


@pytest.mark.slow
def test_a_replica_without_samples_moves_no_range():
    found = run("part_batch")
    assert found["finite"]
    assert found["input"] < 1e-6  # a moving average in float32, of the same numbers
    assert found["replicas"] == 0


@pytest.mark.slow
def test_compiled_by_xla_on_one_device():
    found = run("xla", devices=1)
    assert found["weights"] < TOLERANCE
    assert found["ranges"] < TOLERANCE
    assert found["trained"] > 1e-3


@pytest.mark.slow
def test_xla_takes_no_two_devices_whatever_the_layer():
    errors = run("xla", devices=2)
    assert len(errors) == 2
    assert all("from device" in error for error in errors)


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.mark.slow
def test_two_workers_train_as_one():
    recipes = [None, "int8"]
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    with contextlib.ExitStack() as stack:
        processes = []
        for index in range(2):
            config = json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})
            processes.append(stack.enter_context(started("worker", {"recipes": recipes}, {"TF_CONFIG": config})))
        workers = [result(process) for process in processes]
    single = run("worker", recipes=recipes)
    assert "error" not in single
    assert np.isfinite(single["enabled"]["loss"]).all()
    for found in workers:
        # Keras' own fit; once it works, `enable_fit` has had its day.
        assert "Attempt to convert a value (PerReplica" in found["error"]
        assert np.isfinite(found["enabled"]["loss"]).all()
        for recipe in ("float", "int8"):
            got, wanted = found[recipe], single[recipe]
            assert got["weights"].keys() == wanted["weights"].keys()
            assert recipe == "float" or sum(key.startswith("taps/") for key in got["weights"]) > 10
            for key in wanted["weights"]:
                np.testing.assert_allclose(
                    got["weights"][key], wanted["weights"][key], rtol=0, atol=TOLERANCE, err_msg=key
                )
                assert got["weights"][key] == workers[0][recipe]["weights"][key], key
            assert got["trained"] > 1e-3
            assert got["loaded"] == 0
            assert got["history"].keys() == {"loss", "mae", "val_loss", "val_mae"}
            for key in wanted["history"]:
                np.testing.assert_allclose(got["history"][key], wanted["history"][key], rtol=0, atol=TOLERANCE)
            # Weights that differ in their last bits may put single values on the other side of a rounding.
            np.testing.assert_allclose(got["predicted"], wanted["predicted"], rtol=0, atol=1e-2)


def test_fit_is_enabled_for_workers_only():
    model = keras.Sequential([keras.Input((4, 3)), kgp.GRUPlus(2)])
    with pytest.raises(
        ValueError, match=r"scope of a tf\.distribute\.MultiWorkerMirroredStrategy, got one of _Default"
    ):
        kgp.distribution.enable_fit(model)
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        model = keras.Sequential([keras.Input((4, 3)), kgp.GRUPlus(2)])
    with pytest.raises(ValueError, match="got one of OneDeviceStrategy"):
        kgp.distribution.enable_fit(model)
