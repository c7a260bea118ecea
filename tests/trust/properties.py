"""Numbers hold: ranges of states, independent rows, equal modes, fake quantization against int8, passes."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Iterable
from typing import Any

import numpy as np

from .check import Check, Counts

#: Greatest magnitude of the state h as the documentation has it; fastrnn's follows from its weights.
_ONE = ("gru", "gru1", "gru2", "gru3", "mgu", "mgu1", "mgu2", "mgu3", "coupled", "ugrnn", "fastgrnn0", "brc", "nbrc")
_ONE += ("lightru", "minimalrnn", "egru", "indygru", "qrnn", "cfc", "grud", "cifg", "star", "fastrnn")
STATE = dict.fromkeys(_ONE, 1.0) | {"cfn": 1.9612, "janet": math.e}
#: Of what a step makes of it, where that is less.
AFTER = {"cifg": math.tanh(1), "star": math.tanh(1)}
#: Rows of one layer.
ROWS = 128


def _layers() -> Any:
    import layers  # Keras with it

    return layers


def float_ranges(cases: int, seed: int) -> Counts:
    """Rows of steps from allowed states, among them the ends of the range, with small and large weights."""
    import keras

    layers, counts, worst = _layers(), Counts(), 0.0
    names = list(STATE)
    for number in range(-(-cases // ROWS)):
        name, generator = names[number % len(names)], np.random.default_rng([seed, number])
        one = layers.layer(name)
        size = generator.choice([0.1, 1.0, 5.0, 30.0])
        one.set_weights([(size * generator.normal(0, 1, w.shape)).astype(w.dtype) for w in one.get_weights()])
        start = limit = STATE[name]
        if name == "fastrnn":
            alpha, beta = (float(np.asarray(getattr(one.cell, key))[0]) for key in ("alpha", "beta"))
            limit = start = max(1.0, (1 + math.exp(min(beta, 50.0))) / (1 + math.exp(min(-alpha, 50.0))))
        states = [generator.uniform(-start, start, (ROWS, size)) for size in one.state_size]
        states[0] = np.where(generator.random(states[0].shape) < 0.3, start * np.sign(states[0]), states[0])
        x = layers.inputs(name, ROWS, 1, int(generator.integers(2**31)))[:, 0]
        if name != "grud":
            x = x * generator.choice([0.1, 1.0, 100.0])
        elif name == "grud":
            states[1:] = [np.abs(state) for state in states[1:]]
        output, new = one.cell(x.astype(np.float32), [state.astype(np.float32) for state in states])
        limit = AFTER.get(name, limit)
        found = {"output": output, "h": new[0]} | ({"s": new[1] / 1.0} if name == "cifg" else {})
        for key, values in found.items():
            most = float(np.abs(keras.ops.convert_to_numpy(values)).max())
            allowed = 1.0 if key == "s" else limit
            worst = max(worst, most / allowed)
            # h + g (c - h) rounds twice in float32.
            if not most <= allowed * (1 + 2.0**-21):
                counts.fail(f"{name}: {key} {most} beyond {allowed}, layer {number} of seed {seed}")
        counts.cases += ROWS
    counts.figures["greatest share of its range"] = f"{worst:.7f}"
    return counts


def independent_rows(cases: int, seed: int) -> Counts:
    """A row's outputs and states, bit for bit, whatever stands in the other rows of the batch."""
    layers, counts = _layers(), Counts()
    for number in range(cases):
        name, generator = layers.NAMES[number % len(layers.NAMES)], np.random.default_rng([seed, number])
        one = layers.layer(name, return_sequences=True, return_state=True)
        x = layers.inputs(name, seed=int(generator.integers(2**31)))
        row = int(generator.integers(len(x)))
        other = np.where(np.arange(len(x))[:, None, None] == row, x, generator.choice([0.0, 1e30, np.nan, -3.0]))
        for first, second in zip(one(x), one(other.astype(np.float32)), strict=True):
            if not np.array_equal(np.asarray(first)[row], np.asarray(second)[row]):
                counts.fail(f"{name}: row {row} depends on others, case {number} of seed {seed}")
                break
        counts.cases += 1
    return counts


# -- files -------------------------------------------------------------------------------------------


def _pairs(names: Iterable[str], cases: int, seed: int) -> list[tuple[str, str]]:
    """Models with runtimes, drawn; those of one model follow each other, so that it is converted once."""
    from keras_gru_plus_export.devices import host

    python = os.environ.get("KGP_TFLITE_RUNTIME_PYTHON")
    old = {name: python for name in host.RUNTIMES if name.startswith("tflite-runtime")}
    runtimes = [name for name in host.RUNTIMES if (name not in old or python) and host.available(name, old.get(name))]
    names, generator = list(names), random.Random(seed)
    generator.shuffle(names)
    # A few models on all runtimes.
    return [(name, runtime) for name in names for runtime in runtimes][:cases]


def _variants() -> list[str]:
    from export_models import MODELS, WIDE

    import keras_gru_plus as kgp

    narrow = [name for name in MODELS if name.removesuffix("_hard") in kgp.VARIANTS]
    return narrow + [f"{name}_int16" for name in narrow if f"{name}_int16" in WIDE]


def int8_ranges(cases: int, seed: int) -> Counts:
    """A step of the file from states all over the range, on every runtime."""
    from export_models import converted
    from pass_graphs import fed
    from replay import python_for

    from keras_gru_plus_export import tflite
    from keras_gru_plus_export.devices import host

    counts, samples = Counts(), 200
    for name, runtime in _pairs((n for n in STATE if n not in ("fastrnn", "janet")), cases, seed):
        data = converted(name, "step")
        flat, inputs = tflite.load(data), fed(data, samples, np.random.default_rng(seed))
        state = next(key for key in inputs if key in ("state_gru", "state_gru_0"))
        scale = tflite.grid(flat.subgraphs[0].tensors[tflite.signature(flat).inputs[state]])
        assert scale is not None
        most = int(STATE[name] / scale.scale)
        inputs[state] = np.clip(inputs[state], -most, min(most, 127))
        stepped = {
            key: a if key.startswith("state_") else a.reshape(samples, 1, *a.shape[1:]) for key, a in inputs.items()
        }
        found = host.run(data, stepped, runtime=runtime, mode="step", python=python_for(runtime))[state]
        reached = np.abs(found.astype(int)).max() * scale.scale
        # Each operator rounds to a step; the last one is the nearest on the grid.
        if reached > AFTER.get(name, STATE[name]) + 1.5 * scale.scale:
            counts.fail(f"{name} on {runtime}: state {reached}, seed {seed}")
        counts.cases += 1
    counts.figures["rows"] = counts.cases * samples
    return counts


def equal_modes(cases: int, seed: int) -> Counts:
    """`step` and `stateful` repeat `sequence`, and no sample depends on those before it."""
    from export_models import ALL
    from replay import modes

    counts, samples = Counts(), 40
    for name, runtime in _pairs((n for n in _variants() if ALL[n].steps), cases, seed):
        results = modes(name, runtime, samples, seed + 3)
        again = modes(name, runtime, samples, seed + 3, backwards=True)
        for mode, outputs in results.items():
            for output, whole in results["sequence"].items():
                if not np.array_equal(outputs[output], whole):
                    counts.fail(f"{name} on {runtime}: {mode} differs from sequence, seed {seed}")
                if not np.array_equal(again[mode][output][::-1], whole):
                    counts.fail(f"{name} on {runtime}: {mode} depends on the samples before, seed {seed}")
        counts.cases += 1
    return counts


def taps(cases: int, seed: int) -> Counts:
    """Every tap of a file within one step of fake quantization, from the same integers."""
    from replay import taps_beyond_rounding

    counts = Counts()
    for name, runtime in _pairs(_variants(), cases, seed):
        beyond = taps_beyond_rounding(name, runtime, samples=100, seed=seed + 7)
        if beyond:
            counts.fail(f"{name} on {runtime}: {beyond}, seed {seed}")
        counts.cases += 1
    counts.figures["samples of each"] = 100
    return counts


#: Conversions that together apply every pass: model, options.
CONVERSIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("stacked", {"target": "tflm", "steps_per_iteration": 4}),
    ("mgu", {"mode": "step", "io": "float"}),
    ("stacked", {"steps_per_iteration": 4}),
    ("mgu", {"mode": "stateful", "target": "tflm"}),
    ("egru", {"target": "tflm"}),
    ("grud", {"mode": "step"}),
    ("mixed", {"io": "float", "target": "tflm"}),
    ("gru_int16", {"steps_per_iteration": 2}),
    ("both_ways", {}),
    ("encoder_decoder", {}),
    ("mgu_hard", {"target": "tflm", "steps_per_iteration": 3}),
    ("gru_before", {"mode": "stateful"}),
)


def passes(cases: int, seed: int) -> Counts:
    """The outputs before and after each pass of conversions, and each pass a second time."""
    from pass_graphs import OTHER_NUMBERS, applications, compared, twice

    from keras_gru_plus_export.devices import host

    counts, applied, unable = Counts(), set(), set()
    few = 1 if cases < 20 else 4 if cases < 500 else len(CONVERSIONS)
    for model, options in CONVERSIONS[:few]:
        mode = "stateful" if options.get("mode") == "stateful" else "sequence"
        for application in applications(model, **options):
            where = f"{application.name} of {model} {options}"
            if wrong := twice(application):
                counts.fail(f"{where}: {wrong}")
            if application.name in OTHER_NUMBERS or application.before == application.after:
                continue
            applied.add(application.name)
            for runtime in filter(host.available, ("litert-reference", "tflm")):
                differing = compared(application, runtime, mode, cases, seed)
                if differing is None:
                    unable.add(f"{application.name} on {runtime}")
                    continue
                counts.cases += cases
                if differing:
                    counts.fail(f"{where} on {runtime}: {differing} numbers differ, seed {seed}")
    counts.figures = {"passes": len(applied), "graphs before that do not run": "; ".join(sorted(unable)) or "none"}
    return counts


CHECKS = {
    "ranges": Check("A bounded state stays in its range.", float_ranges, quick=3200, sample=20_000, whole=500_000),
    "int8_ranges": Check("A bounded state stays in its range in int8.", int8_ranges, quick=0, sample=6, whole=1000),
    "rows": Check("A row's result depends on no other row.", independent_rows, quick=32, sample=200, whole=5000),
    "modes": Check(
        "Modes give the same integers on a runtime, whatever ran before.", equal_modes, quick=0, sample=10, whole=1000
    ),
    "taps": Check("Int8 is one step off fake quantization at most.", taps, quick=0, sample=10, whole=1000),
    "passes": Check("A pass keeps the outputs, and a second time all.", passes, quick=0, sample=50, whole=1000),
}
