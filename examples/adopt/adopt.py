"""Five models of Keras' own layers and one that is refused: trained, saved, and exported by the command alone.

    python adopt.py [--epochs N] [--write] FOLDER

needs `pip install 'keras-gru-plus[export,tflm,datasets]'`; `--write` puts the figures into README.md.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import keras
import numpy as np
from keras import layers as L  # noqa: N812
from mnemonic import Mnemonic

from keras_gru_plus import datasets

README = Path(__file__).with_name("README.md")
COMMAND = Path(sys.executable).with_name("keras-gru-plus")
LANGUAGES = ("czech", "english", "french", "italian", "portuguese", "spanish", "turkish")
LETTERS = 12


def words() -> tuple[np.ndarray, np.ndarray]:
    """Words (a to z as 1 to 26, zeros behind) and the language of each; those of several languages are left out."""
    found: dict[tuple[int, ...], set[int]] = {}
    for y, language in enumerate(LANGUAGES):
        for word in Mnemonic(language).wordlist:
            plain = unicodedata.normalize("NFKD", word.replace("ı", "i"))
            letters = [ord(c) - 96 for c in plain if "a" <= c <= "z"][:LETTERS]
            found.setdefault((*letters, *[0] * (LETTERS - len(letters))), set()).add(y)
    rows = [(word, *languages) for word, languages in sorted(found.items()) if len(languages) == 1]
    order = np.random.default_rng(0).permutation(len(rows))
    return np.array([rows[i][0] for i in order], np.int32), np.array([rows[i][1] for i in order])


def chain(source: keras.KerasTensor, *layers: L.Layer, classes: int) -> keras.Model:
    x = source
    for layer in layers:
        x = layer(x)
    return keras.Model(source, L.Dense(classes, activation="softmax", name="y")(x))


def two_inputs() -> keras.Model:
    inputs = [keras.Input((100, 3), name=name) for name in ("accelerometer", "gyroscope")]
    both = L.Concatenate()([L.GRU(20)(source) for source in inputs])
    return keras.Model(inputs, L.Dense(7, activation="softmax", name="y")(both))


def models() -> dict[str, tuple[keras.Model, dict, dict, list[str]]]:
    """Name → model, training and test data by name, further arguments of the command."""
    watch, spoken = datasets.watch_activity().standardized(), datasets.spoken_digits().standardized()
    letters, language = words()
    watch_parts, spoken_parts = (
        tuple({"x": part.x, "y": part.y} for part in (data.train, data.test)) for data in (watch, spoken)
    )
    word_parts = tuple({"x": letters[part], "y": language[part]} for part in (slice(3000, None), slice(3000)))
    sensors = tuple(
        {"accelerometer": part["x"][..., :3], "gyroscope": part["x"][..., 3:], "y": part["y"]} for part in watch_parts
    )
    window = lambda: keras.Input((100, 6), name="x")  # noqa: E731
    # A knock on the watch is six times as large as all else.
    knocks = ["--percentile", "90"]
    return {
        "watch": (chain(window(), L.GRU(32), classes=7), *watch_parts, knocks),
        "spoken": (
            chain(keras.Input(spoken.train.x.shape[1:], name="x"), L.Bidirectional(L.GRU(24)), classes=10),
            *spoken_parts,
            [],
        ),
        "convolution": (
            chain(
                window(),
                L.Conv1D(16, 5, strides=2, padding="causal", use_bias=False),
                L.BatchNormalization(),
                L.ReLU(),
                L.GRU(24),
                classes=7,
            ),
            *watch_parts,
            knocks,
        ),
        "language": (
            chain(
                keras.Input((LETTERS,), name="x", dtype="int32"),
                L.Embedding(27, 16, mask_zero=True),
                L.GRU(32),
                classes=len(LANGUAGES),
            ),
            *word_parts,
            [],
        ),
        "two_inputs": (two_inputs(), *sensors, knocks),
        "lstm": (chain(window(), L.LSTM(8), classes=7), *watch_parts, knocks),
    }


def run(folder: Path, epochs: int) -> list[str]:
    """Trains, saves and exports; lines of a Markdown table and what is said of the model that is refused."""
    lines = [
        "| model | float | LiteRT | TFLite Micro | file, kB | arena, kB |",
        "|---|---|---|---|---|---|",
    ]
    for name, (model, train, test, options) in models().items():
        model.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy")
        inputs = [train[key] for key in train if key != "y"]
        # What cannot be exported need not be trained.
        rounds = 0 if name == "lstm" else epochs
        model.fit(inputs if len(inputs) > 1 else inputs[0], train["y"], batch_size=64, epochs=rounds, verbose=0)
        model.save(folder / f"{name}.keras")
        np.savez(folder / f"{name}_train.npz", **train)
        np.savez(folder / f"{name}_test.npz", **test)
        data = ["--calibrate", f"{name}_train.npz", "--evaluate", f"{name}_test.npz", *options]
        arguments = ["export", f"{name}.keras", *data, "--target", "tflm", "--out", name]
        print("$ keras-gru-plus", *arguments, flush=True)
        done = subprocess.run([COMMAND, *arguments, "--json"], cwd=folder, capture_output=True, text=True)
        if done.returncode:
            message = done.stderr.strip().splitlines()[-1]
            print(message, flush=True)
            if name != "lstm":
                raise SystemExit(f"Expected {name}.keras to be exported, got: {message}")
            short = re.sub(r"\(.*\), got", "(…), got", message)  # without the list of the layers that can be
            lines += ["", f"The model with an LSTM is refused (exit code {done.returncode}):", "", f"> {short}"]
            continue
        report = json.loads(done.stdout)
        score = {row["runtime"]: row["score"] for row in report["verification"]["results"]}
        cells = [f"{100 * score[runtime]:.1f} %" for runtime in ("float", "litert", "tflm")]
        size = (folder / name / "model.tflite").stat().st_size
        cells += [f"{size / 1000:.1f}", f"{report['files'][0]['arena'] / 1000:.1f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    lines = run(arguments.folder, arguments.epochs)
    if arguments.write:
        text = "\n".join(["<!-- figures -->", "", *lines, "", "<!-- end of figures -->"])
        pattern = re.compile("<!-- figures -->.*<!-- end of figures -->", re.DOTALL)
        README.write_text(pattern.sub(lambda _: text, README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
