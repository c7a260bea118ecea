"""Edges of the input space: every case is exported and agrees on every runtime, or is refused with a message."""

from __future__ import annotations

import os
import traceback
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from replay import beyond_rounding

import keras_gru_plus as kgp
from keras_gru_plus.quantization import QuantizedModel
from keras_gru_plus_export import ConversionError, convert, tflite
from keras_gru_plus_export.devices import host
from keras_gru_plus_export.streaming import recurrent_layers

from .check import Check, Counts
from .edges_cases import Case, built, data, drawn
from .edges_runtimes import Runtimes, runtimes

#: Steps of an output's grid that rounding, fed back by the state, explains where nothing is chaotic; more where the
#: state has no bound, and with 16 bits, whose kernels interpolate (tests/test_numbers.py says where these come from).
STEPS, UNBOUNDED, WIDE = 6, 12, 8
#: Copies of a window whose inputs are one or two steps off: how far the model itself takes them apart is how much
#: of a rounding difference it may make.
COPIES = 8
#: Random inputs and states for which operators are compared one by one.
SAMPLES = 50
AMPLIFIED = 4


class RefusedError(Exception):
    """A case that was refused with a message."""


class WrongError(Exception):
    """A case that is contrary to the claim."""


def run(cases: int, seed: int) -> Counts:
    """Tries the first `cases` of a seed."""
    return judged(list(drawn(cases, seed)))


def judged(cases: list[Case]) -> Counts:
    """Tries cases and counts."""
    counts = Counts()
    with runtimes() as found:
        for case in cases:
            counts.cases += 1
            try:
                judge(case, found)
            except RefusedError as refused:
                counts.refused += 1
                _log(f"refused {case}: {refused}")
            except WrongError as wrong:
                counts.fail(f"{case}: {wrong}")
                _log(f"FAILED {case}: {wrong}")
            except Exception:  # noqa: BLE001 (a traceback is what no case may end in)
                where = " ".join(traceback.format_exc(limit=-3).split())
                counts.fail(f"{case}: {where}")
                _log(f"FAILED {case}: {where}")
            if counts.cases % 20 == 0:
                _log(f"{counts.cases} cases, {counts.refused} refused, {counts.failed} failed")
        counts.figures["runtimes"] = len(found.names)
        counts.figures["processes that died"] = found.deaths
    return counts


def _log(text: str) -> None:
    if path := os.environ.get("KGP_TRUST_LOG"):
        with open(path, "a", encoding="utf-8") as file:
            file.write(text + "\n")


def judge(case: Case, found: Runtimes) -> None:
    """Raises RefusedError or WrongError."""
    keras.backend.clear_session()
    model, files = exported(case)
    x = np.concatenate([data(case, 2, 3), data(case, 1, 2)[:1] * np.float32(1.5)])
    if not np.isfinite(x).all():
        x = x[:2]
    flat = tflite.load(files["sequence"])
    signature, tensors = tflite.signature(flat), flat.subgraphs[0].tensors
    source, (name, index) = tensors[signature.inputs["signal"]], next(iter(signature.outputs.items()))
    into, out = tflite.grid(source), tflite.grid(tensors[index])
    assert into is not None
    assert out is not None
    integers = host.quantize(x, into, tflite.dtype(source))
    reference, allowed = _reference(case, model, x, into, out)
    for runtime in found.names:
        whole = None
        for mode, file in files.items():
            try:
                raw = found.run_one(file, {"signal": integers}, mode, runtime)[name]
            except host.RuntimeFailure as failure:
                raise WrongError(str(failure)) from None
            if mode != "sequence" and case.form != "sequences":
                raw = raw[:, -1]
            raw = raw.reshape(reference.shape)
            whole = raw if whole is None else whole
            if not np.array_equal(raw, whole):
                raise WrongError(f"{runtime}: mode {mode} differs from sequence in {(raw != whole).sum()} values")
        steps = np.abs(whole - np.rint(reference / out.scale) - out.zero_point)
        if (steps > allowed).any() and (wrong := _wrong_taps(case, model, runtime)):
            raise WrongError(
                f"{runtime}: up to {steps.max():g} steps from the fake-quant model, {steps.mean():g} in the mean, "
                f"where {np.min(allowed):g} to {np.max(allowed):g} are explained; {wrong}"
            )


def _wrong_taps(case: Case, model: QuantizedModel, runtime: str) -> str:
    """Empty where each operator of a step, fed the file's own integers, gives fake quantization's to a step.

    Then what the whole is off is rounding that the model amplifies, as steep gates do: no error of the file.
    """
    if not case.takes_steps:
        return "the model takes no steps that could be compared one by one"
    file = convert(model, mode="step", target=case.target, keep_names=True)
    wrong = beyond_rounding(model, file, runtime, SAMPLES, case.number)
    return ", ".join(f"{tap} {steps} steps off" for tap, steps in wrong.items())


def exported(case: Case) -> tuple[QuantizedModel, dict[str, bytes]]:
    """The calibrated model and its files."""
    try:
        model = kgp.quantize_aware(built(case), case.recipe)
        tf.config.run_functions_eagerly(case.timesteps < 3)  # of a step or two tracing costs more than it saves
        try:
            kgp.calibrate(model, data(case, 1 if case.inputs == "one_window" else 4, 2))
        finally:
            tf.config.run_functions_eagerly(False)
        return model, {mode: convert(model, mode=mode, target=case.target) for mode in case.modes}
    except (ValueError, ConversionError) as error:
        text = str(error)
        if not text.startswith("Expected "):
            raise WrongError(f"refused with {type(error).__name__}: {text[:400]}") from None
        raise RefusedError(text) from None


def _reference(
    case: Case, model: QuantizedModel, x: np.ndarray, into: Any, out: Any
) -> tuple[np.ndarray, np.ndarray]:
    """The fake-quant model's outputs, and by how many steps a file's may differ from them."""
    generator = case.generator(5)
    scale = np.asarray(into.scales, np.float32)
    moved = [x + scale * generator.integers(-2, 3, x.shape) for _ in range(COPIES)]
    together = tf.constant(np.concatenate([x, *moved]).astype(np.float32))
    call = model if case.timesteps < 3 else tf.function(model, autograph=False)
    outputs = np.asarray(call(together))
    if not np.isfinite(outputs).all():
        raise WrongError(f"the fake-quant model gives {outputs[~np.isfinite(outputs)][0]}")
    reference, others = outputs[: len(x)], outputs[len(x) :].reshape(COPIES, *outputs[: len(x)].shape)
    apart = np.abs(others - reference).max() / out.scale
    bounded = all(layer.variant.bound for _, layer in recurrent_layers(model))
    least = (STEPS if bounded else UNBOUNDED) + (WIDE if case.recipe == "int16x8" else 0)
    return reference, np.asarray(least + AMPLIFIED * np.ceil(apart))


CHECKS = {
    "edges": Check(
        "At the edges of the input space a model is exported and gives the fake-quant model's outputs on every "
        "runtime, or is refused with a message; nothing crashes.",
        run,
        quick=2,
        sample=100,
        whole=2000,
    ),
}
