"""Long runs: a stream of many steps is the same as its pieces, and neither it nor many exports hold on to memory."""

from __future__ import annotations

import gc
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_gru_plus import runtime
from keras_gru_plus.runtime.bench import resident_bytes
from keras_gru_plus.runtime.grid import Quantizer
from keras_gru_plus_export.devices import host, pi

from .check import Check, Counts

Array = np.ndarray[Any, Any]
#: Bytes by which a process may grow over nine tenths of its steps: pages, not steps.
STEPS_GROWTH = 200_000
#: Of a process under QEMU, which also keeps what it translated.
PI_GROWTH = 2_000_000
#: Bytes a process may grow by over any number of exports once all shapes have been seen, and with each: its heap
#: settles in jumps of some megabytes.
EXPORTS_GROWTH, EXPORT_GROWTH = 16_000_000, 20_000
BOARD = ("aarch64", "litert")


def _model(seed: int, target: str) -> bytes:
    """A layer that remembers, in a file that takes steps."""
    import keras

    import keras_gru_plus as kgp
    from keras_gru_plus_export import convert

    keras.utils.set_random_seed(seed)
    window = keras.Input((None, 3), name="x")
    hidden = kgp.GRUPlus(8, bias_initializer=kgp.initializers.Chrono(100), variant="mgu", name="gru")(window)
    model = keras.Model(window, keras.layers.Dense(4, activation="softmax", name="y")(hidden))
    quantized = kgp.calibrate(kgp.quantize_aware(model), _signal(4000, seed).reshape(20, 200, 3))
    return convert(quantized, mode="step", target=target)


def _signal(steps: int, seed: int) -> Array:
    """Waves with noise, and now and then a knock that saturates."""
    generator = np.random.default_rng(seed)
    times = np.arange(steps)[:, None] * np.array([0.011, 0.13, 0.57])
    x = np.sin(times) + generator.normal(0, 0.4, (steps, 3))
    x[generator.integers(0, steps, steps // 500)] *= 20
    return x.astype(np.float32)


def _quantized(file: bytes, x: Array) -> Array:
    (tensor,) = runtime.load(file).info.inputs
    assert tensor.scale is not None
    assert tensor.zero_point is not None
    return Quantizer(tensor.scale, tensor.zero_point, tensor.dtype, x.shape)(x)


def pieces(steps: int, seed: int) -> list[int]:
    """Where a stream is cut: a single step, few, many."""
    cuts = np.random.default_rng(seed).integers(1, steps, 40)
    return sorted({1, *map(int, cuts), steps})


def in_pieces(file: bytes, name: str, x: Array, ends: list[int]) -> Iterator[Array]:
    """Outputs of a stream whose every piece begins in a new interpreter with the state of the last."""
    start, states = 0, None
    for end in ends:
        model = runtime.load(file, name)
        if states is not None:
            model.states = states
        yield from model.stream(x[start:end], raw=True)
        start, states = end, {key: np.array(value) for key, value in model.states.items()}


def _stream(name: str, steps: int, seed: int) -> Counts:
    counts = Counts()
    file = _model(seed, name)
    x = _quantized(file, _signal(steps, seed))
    ends = pieces(steps, seed)
    whole = runtime.load(file, name)
    early, seen = 0, set()
    for step, (one, other) in enumerate(zip(whole.stream(x, raw=True), in_pieces(file, name, x, ends)), 1):
        if not np.array_equal(one, other):
            counts.fail(f"seed {seed}, step {step}: {one.tolist()} in one go, {other.tolist()} in pieces")
        counts.cases += 1
        if step <= 10_000:
            seen.add(one.tobytes())
        if step == steps // 10:
            early = resident_bytes() or 0
    grown = (resident_bytes() or 0) - early
    if steps >= 10_000 and grown > STEPS_GROWTH:
        counts.fail(f"memory grew by {grown} bytes from step {steps // 10} on")
    if len(seen) < 20:
        counts.fail(f"the stream had {len(seen)} different outputs: it shows nothing")
    counts.figures = {"pieces": len(ends), "growth in bytes": grown}
    return counts


def litert(steps: int, seed: int) -> Counts:
    return _stream("litert", steps, seed)


def tflm(steps: int, seed: int) -> Counts:
    return _stream("tflm", steps, seed)


#: What the emulated board runs: the stream in one go and in pieces, and its memory on the way.
_JOB = """
import json, os, sys
import numpy as np
from keras_gru_plus import runtime
folder = sys.argv[1]
x, ends = np.load(folder + "/x.npy"), json.load(open(folder + "/ends.json"))
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
path = folder + "/model.tflite"
whole, early, found = runtime.load(path, "litert"), 0, None
for step, y in enumerate(whole.stream(x, raw=True), 1):
    if found is None:
        found = np.ones((len(x), *y.shape), y.dtype)  # its pages are there from the start
    found[step - 1] = y
    if step == len(x) // 10:
        early = resident()
grown = resident() - early
start, other = 0, []
states = None
for end in ends:
    model = runtime.load(path, "litert")
    if states is not None:
        model.states = states
    other += list(model.stream(x[start:end], raw=True))
    start, states = end, {key: np.array(value) for key, value in model.states.items()}
np.savez(folder + "/y.npz", whole=found, pieces=np.array(other), grown=grown)
"""


def no_board() -> str | None:
    return pi.unavailable(BOARD[0])


def on_a_pi(steps: int, seed: int) -> Counts:
    counts = Counts()
    file = _model(seed, BOARD[1])
    x = _quantized(file, _signal(steps, seed))
    with tempfile.TemporaryDirectory(prefix="kgp-soak-") as name:
        folder = Path(name)
        (folder / "model.tflite").write_bytes(file)
        np.save(folder / "x.npy", x)
        (folder / "ends.json").write_text(json.dumps(pieces(steps, seed)))
        machine = pi.Machine(*BOARD, pi.built_wheel(folder), folder)
        machine.python("-c", _JOB, str(folder), timeout=3600)
        with np.load(folder / "y.npz") as archive:
            whole, parts, grown = archive["whole"], archive["pieces"], int(archive["grown"])
    here = np.array(list(runtime.load(file, "litert").stream(x, raw=True)))
    counts.cases = len(whole)
    for step in np.flatnonzero((whole != parts).any(axis=tuple(range(1, whole.ndim)))):
        counts.fail(f"seed {seed}, step {step}: differs in pieces")
    apart = np.abs(whole.astype(int) - here)
    for step in np.flatnonzero((apart > 1).any(axis=tuple(range(1, apart.ndim)))):
        counts.fail(f"seed {seed}, step {step}: {apart[step].max()} steps of the grid from this machine's")
    if steps >= 10_000 and grown > PI_GROWTH:
        counts.fail(f"memory grew by {grown} bytes")
    share = round(float((apart > 0).mean()), 6)
    counts.figures = {"share different from x86-64": share, "growth in bytes": grown}
    return counts


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _children() -> set[int]:
    return {
        int(child) for task in Path("/proc/self/task").iterdir() for child in (task / "children").read_text().split()
    }


def exports(count: int, seed: int) -> Counts:
    """Exports of all variants and modes in turn, in this process."""
    import keras

    import keras_gru_plus as kgp
    from keras_gru_plus_export import export
    from keras_gru_plus_export.worker import ConversionError, shared

    counts = Counts()
    generator = np.random.default_rng(seed)
    x = generator.normal(0, 1, (16, 12, 4)).astype(np.float32)
    y = generator.integers(0, 3, 16)
    models = []
    for number, variant in enumerate(("mgu", "gru", "coupled", "fastgrnn", "mingru")):
        keras.utils.set_random_seed(number)
        window = keras.Input((12, 4), name="x")
        hidden = kgp.GRUPlus(4 + number, variant=variant, name="gru")(window)
        model = keras.Model(window, keras.layers.Dense(3, activation="softmax", name="y")(hidden))
        models.append(kgp.calibrate(kgp.quantize_aware(model), x))
    modes = ("sequence", "step", "stateful")
    settled = min(count // 3, 2 * len(models) * len(modes))
    resident, descriptors, children = [], 0, set()
    files: dict[tuple[int, str], bytes] = {}
    with tempfile.TemporaryDirectory(prefix="kgp-soak-") as folder:
        for number in range(count):
            if number == settled:
                descriptors, children = _descriptors(), _children()
            mode = modes[number % 3]
            chosen = number // 3 % len(models)
            try:
                export(models[chosen], Path(folder, "out"), mode=mode, evaluation=(x, y), force=True)
            except ConversionError as error:
                counts.fail(f"export {number}, {mode}: {error}")
            counts.cases += 1
            file = Path(folder, "out", "model.tflite").read_bytes()
            if files.setdefault((chosen, mode), file) != file:
                counts.fail(f"export {number}, {mode}: other bytes than the first time")
            gc.collect()
            resident.append(resident_bytes() or 0)
        left = sorted(path.name for path in Path(folder).iterdir() if path.name != "out")
    for what, more in (
        ("descriptors", _descriptors() - descriptors),
        ("children", len(_children() - children - {shared.pid})),
        ("files", len(left)),
    ):
        if more > 0:
            counts.fail(f"{more} {what} more than after {settled} exports: {left or ''}")
    grown = np.mean(resident[-5:]) - resident[settled]
    if grown > EXPORTS_GROWTH + EXPORT_GROWTH * (count - settled):
        counts.fail(f"memory grew by {grown / 1e6:.1f} MB from export {settled} on")
    counts.figures = {"growth in MB": round(grown / 1e6, 1), "descriptors": _descriptors()}
    return counts


def no_tflm() -> str | None:
    return None if host.available("tflm") else "tflite-micro is not installed"


CHECKS = {
    "soak_litert": Check(
        "A stream on LiteRT gives the same outputs in one go and in pieces, and memory stays flat.",
        litert,
        quick=500,
        sample=100_000,
        whole=1_000_000,
    ),
    "soak_tflm": Check(
        "The same on TFLite Micro.", tflm, quick=500, sample=100_000, whole=1_000_000, missing=no_tflm
    ),
    "soak_pi": Check(
        "The same on an emulated 64-bit Raspberry Pi, whose outputs are those of x86-64 or one step off.",
        on_a_pi,
        quick=0,
        sample=10_000,
        whole=100_000,
        missing=no_board,
    ),
    "soak_exports": Check(
        "Exports in one process give the same bytes again and leave no memory, descriptor, child or file behind.",
        exports,
        quick=0,
        sample=60,
        whole=500,
    ),
}
