"""A user's own layer, in a module of the user's: registered, quantized, exported by the command."""

from __future__ import annotations

import doctest
import importlib
import json
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from export_models import MODELS

import keras_gru_plus as kgp
from keras_gru_plus import cli
from keras_gru_plus.quantization.layers import LAYERS

MODULE = """
    import keras

    import keras_gru_plus as kgp
    from keras_gru_plus.quantization.layers import each_channel

    print("a module may print")


    @keras.saving.register_keras_serializable("mine")
    class Energy(keras.layers.Layer):
        \"\"\"x * x / 2: a product of two tensors, and a constant.\"\"\"

        def call(self, x):
            return x * x * 0.5


    @kgp.register_layer(Energy, pointwise=True)
    def energy(q, call, x):
        x = q.real(call.scope, x).tensor
        square = q.tap(f"{call.scope}/square", x * x)
        return q.output(call.scope, square * q.number(0.5))


    @keras.saving.register_keras_serializable("mine")
    class Gain(keras.layers.Layer):
        \"\"\"Scale and shift of each channel.\"\"\"

        def build(self, shape):
            self.gain = self.add_weight(shape=(shape[-1],), initializer="random_uniform", name="gain")
            self.shift = self.add_weight(shape=(shape[-1],), initializer="random_normal", name="shift")

        def call(self, x):
            return x * (1 + self.gain) + self.shift


    @kgp.register_layer(Gain, pointwise=True)
    def gain(q, call, x):
        return each_channel(q, call.scope, x, *q.weights(lambda: (1 + call.layer.gain, call.layer.shift)))
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The user's module, in the current directory; forgotten again afterwards."""
    (tmp_path / "mine_layers.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    before = dict(LAYERS)
    yield importlib.import_module("mine_layers")
    _forget(before)


def _forget(rows: dict[type, Any]) -> None:
    LAYERS.clear()
    LAYERS.update(rows)
    sys.modules.pop("mine_layers", None)
    for name in [name for name in keras.saving.get_custom_objects() if name.startswith("mine>")]:
        keras.saving.get_custom_objects().pop(name)


def _save(mine: Any, path: Path) -> np.ndarray:
    """A float model with the user's layers in front of and behind kernels; its samples."""
    keras.utils.set_random_seed(0)
    signal = keras.Input((12, 5), name="signal")
    x = mine.Energy(name="energy")(keras.layers.Dense(6, name="front")(signal))
    x = mine.Gain(name="folded")(keras.layers.Dense(4, name="behind")(x))
    own = mine.Gain(name="own")(mine.Energy(name="again")(x))
    state = kgp.GRUPlus(4, variant="mgu", name="gru")(own)
    keras.Model(signal, [own, state]).save(path)
    return MODELS["gru"].data(48, seed=0)["signal"]


@pytest.mark.parametrize("mode", [pytest.param("sequence", marks=pytest.mark.slow), "step"])
def test_a_users_layer_reaches_every_runtime(mine, mode, tmp_path, capfd, monkeypatch):
    monkeypatch.delenv("KGP_DEBUG", raising=False)
    np.savez(tmp_path / "data.npz", x=_save(mine, tmp_path / "model.keras"))
    _forget({layer: row for layer, row in LAYERS.items() if layer.__module__ != "mine_layers"})
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(tmp_path)])
    command = f"export model.keras --calibrate data.npz --mode {mode} --out out --json"
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.app(command.split())
    assert ended.value.code == 2
    assert "name the module that defines it (--import MODULE)" in capfd.readouterr().err
    with pytest.raises(SystemExit) as ended:
        cli.app([*command.split(), "--import", "json", "--import", "mine_layers"])
    out, err = capfd.readouterr()
    assert ended.value.code == 0, err
    assert "a module may print" in err
    results = {result["runtime"]: result for result in json.loads(out)["verification"]["results"]}
    assert {"litert", "litert-reference", "tflm"} <= set(results)
    for runtime in ("litert", "litert-reference", "tflm"):
        # Each operator may round one step differently, and the last of the chain is fed by others.
        assert results[runtime]["largest_lsb"] <= 1, results[runtime]


def test_the_documented_example_is_one(mine):
    names = {"kgp": kgp, "keras": keras}
    example = doctest.DocTestParser().get_doctest(kgp.register_layer.__doc__, names, "register_layer", None, None)
    assert example.examples
    result = doctest.DocTestRunner().run(example, clear_globs=False)
    assert result.failed == 0
    doubling = example.globs["Doubling"]()
    model = keras.Sequential([keras.Input((12, 5), name="signal"), doubling])
    x = MODELS["gru"].data(8, seed=0)["signal"]
    quantized = kgp.calibrate(kgp.quantize_aware(model), x)
    step = 2 * float(quantized.taps.all()[f"{doubling.name}/output"].bound()) / 256
    np.testing.assert_allclose(quantized(x), 2 * x, atol=1.01 * step)  # half a step, and that of the input doubled


def test_wrong_rows_are_refused():
    with pytest.raises(TypeError, match="Expected a class of Keras layers, got 3"):
        kgp.register_layer(3)
    with pytest.raises(TypeError, match=r"to be among refusal, pointwise, .*, got elementwise"):
        kgp.register_layer(keras.layers.Layer, elementwise=True)
    assert keras.layers.Layer not in LAYERS


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        (None, "absent_module", "got 'absent_module': ModuleNotFoundError: .*; give its name as in an import"),
        (None, "absent.py", "got 'absent.py': ModuleNotFoundError: "),
        ("raise KeyError('sensor')", "raising_module", "got 'raising_module': KeyError: 'sensor'"),
        ("import sys; sys.exit('no')", "exiting_module", "got 'exiting_module': SystemExit: no"),
        ("import absent_inside", "importing_module", "ModuleNotFoundError: No module named 'absent_inside'"),
        ("def (", "broken_module", "got 'broken_module': SyntaxError"),
    ],
)
def test_a_module_that_cannot_be_imported_is_one_message(source, name, message, tmp_path, capfd, monkeypatch):
    monkeypatch.delenv("KGP_DEBUG", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("COLUMNS", "300")
    if source:
        (tmp_path / f"{name}.py").write_text(source)
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.app(["export", "model.keras", "--out", "out", "--import", name])
    out, err = capfd.readouterr()
    assert ended.value.code == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1, err
    assert re.search(
        f"error: Expected a module that can be imported, {message}" if "got" in message else message, err
    )
    assert not (tmp_path / "out").exists()
