"""Whole files that are then damaged, made by processes of their own: warnings are errors in the tests."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

TESTS = Path(__file__).parents[1]
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "OMP_NUM_THREADS": "1"}


@functools.cache
def tflite() -> dict[str, bytes]:
    """Small files of each mode."""
    import tiny_models

    return tiny_models.models()


@functools.cache
def keras() -> dict[str, bytes]:
    """`.keras` and `.h5` of this version of Keras: a Functional model, a Sequential one, a quantized one."""
    if "keras" not in sys.modules:
        return _made(str(Path(__file__)))
    with tempfile.TemporaryDirectory(prefix="kgp-trust-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _write(Path(folder))
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


@functools.cache
def keras2() -> dict[str, bytes]:
    """Files of Keras 2, where it is installed."""
    if importlib.util.find_spec("tf_keras") is None:
        return {}
    files = _made(str(TESTS / "keras2_models.py"))
    return {name: content for name, content in files.items() if not name.endswith(".npz")}


@functools.cache
def compared() -> dict[str, bytes]:
    """A finished comparison: its data, its storage as a database and as a journal, and what it was asked."""
    return _made(str(Path(__file__)), "compared")


def _made(script: str, what: str = "") -> dict[str, bytes]:
    with tempfile.TemporaryDirectory(prefix="kgp-trust-") as folder:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", script, folder, *([what] if what else [])],
            env={**os.environ, **QUIET},
            capture_output=True,
            text=True,
            check=False,
        )
        assert not done.returncode, done.stderr[-3000:]
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def _write(folder: Path) -> None:
    import keras
    import numpy as np

    import keras_gru_plus as kgp

    keras.utils.set_random_seed(0)
    signal = keras.Input((10, 6), name="x")
    x = kgp.GRUPlus(4, variant="mgu", name="gru")(signal)
    functional = keras.Model(signal, keras.layers.Dense(3, activation="softmax", name="classes")(x))
    sequential = keras.Sequential(
        [
            keras.Input((10, 6), name="x"),
            keras.layers.Conv1D(4, 3, activation="relu"),
            keras.layers.Bidirectional(keras.layers.GRU(3, return_sequences=True)),
            kgp.GRUPlus(3),
            keras.layers.Dense(2),
        ]
    )
    data = np.random.default_rng(0).normal(size=(16, 10, 6))
    quantized = kgp.calibrate(kgp.quantize_aware(functional), data)
    functional.compile("adam", "mse")
    for name, model in (("functional", functional), ("sequential", sequential)):
        model.save(folder / f"{name}.keras")
        model.save(folder / f"{name}.h5")
    quantized.save(folder / "quantized.keras")


#: Of the comparison: as little as there can be.
OPTIONS = {
    "variants": "mgu",
    "units": "4",
    "activations": "smooth",
    "ranks": "0",
    "seeds": 1,
    "baselines": False,
    "budget": None,
    "trials": None,
    "sampler": "tpe",
    "epochs": 1,
    "fine_tuning": 0,
    "rate": None,
    "percentile": None,
    "split": "60,20,20",
    "standardize": True,
    "mode": "step",
    "target": "litert",
    "recipe": "int8",
    "device": "host",
    "workers": 1,
    "study": "compare",
    "quick": False,
}


def _compare(folder: Path) -> None:
    import numpy as np
    import optuna

    from keras_gru_plus.cli import app

    generator = np.random.default_rng(0)
    np.savez(folder / "data.npz", x=generator.normal(size=(40, 6, 3)).astype("f"), y=np.arange(40) % 2)
    asked = [f"--{key.replace('_', '-')}={value}" for key, value in OPTIONS.items() if type(value) in (str, int)]
    out = folder / "out"
    app(["compare", str(folder / "data.npz"), "--out", str(out), "--no-baselines", *asked], standalone_mode=False)
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(folder / "study.journal"))
    )
    optuna.copy_study(from_study_name="compare", from_storage=f"sqlite:///{out / 'study.db'}", to_storage=storage)
    (out / "study.db").rename(folder / "study.db")
    shutil.rmtree(out)


if __name__ == "__main__":
    (_compare if len(sys.argv) > 2 else _write)(Path(sys.argv[1]))
