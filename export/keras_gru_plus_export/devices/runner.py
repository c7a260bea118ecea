"""Run a .tflite file over samples: a script for any Python from 3.8 that has numpy and one interpreter.

It imports nothing of this project, so that an old runtime in another environment runs it by path; what drives the
interpreters is one file of `keras_gru_plus.runtime`, loaded by path too. `host.py`
writes its files and reads its answer, one line of JSON; a failure is an exit code and one line on stderr.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from typing import Any

import numpy as np


def loaded(path: str) -> Any:
    """The module that drives the interpreters, by its path: the package it belongs to may not be there."""
    spec = importlib.util.spec_from_file_location("interpreters", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make(interpreters: Any, runtime: str, model: bytes, io: dict[str, Any], arena: int | None = None) -> Any:
    """An interpreter that holds the model."""
    outputs = 1 + max(entry["position"] for entry in io["outputs"])
    return interpreters.make(runtime, model, outputs, arena or interpreters.HUGE_ARENA)


def run(interpreter: Any, io: dict[str, Any], arrays: dict[str, Any], mode: str) -> dict[str, Any]:
    """Every sample through the model: one invoke each (sequence), or one invoke per time step."""
    names = [entry["name"] for entry in io["inputs"] if not entry["state"]]
    results: list[list[Any]] = []
    for sample in range(len(arrays[names[0]])):
        given = {name: arrays[name][sample] for name in arrays}
        if mode == "sequence":
            results.append(interpreter.invoke(feed(io, given)))
            continue
        if mode == "stateful":
            interpreter.fresh()
        rows = []
        for step in range(len(given[names[0]])):
            rows.append(interpreter.invoke(feed(io, {**given, **{name: given[name][step] for name in names}})))
            for entry in io["outputs"]:
                if entry["state"]:
                    given[entry["name"]] = rows[-1][entry["position"]]
        results.append([np.stack(values) for values in zip(*rows)])
    axis = 1 if mode == "sequence" else 2
    return {
        # The batch of one that every file has is taken away again.
        entry["name"]: squeeze(np.stack([result[entry["position"]] for result in results]), axis)
        for entry in io["outputs"]
    }


def squeeze(array: Any, axis: int) -> Any:
    """Without the batch axis, if the model has one."""
    return array.squeeze(axis) if array.ndim > axis and array.shape[axis] == 1 else array


def feed(io: dict[str, Any], given: dict[str, Any]) -> list[Any]:
    """Values of one invoke in tensor order; a state that nobody gave is real zero, the zero point."""
    values = []
    for entry in io["inputs"]:
        value = given.get(entry["name"])
        if value is None:
            value = np.full(entry["shape"], entry["zero_point"], entry["dtype"])
        values.append(np.ascontiguousarray(np.reshape(value, entry["shape"])))
    return values


def bisect_arena(
    interpreters: Any, model: bytes, io: dict[str, Any], arrays: dict[str, Any], mode: str, failing: int
) -> int:
    """The smallest arena (multiple of 16) above a failing one that gives the outputs of a huge one.

    Every size is said before it is tried: below some size TFLite Micro ends in a segmentation fault instead
    of an error, and the parent then starts this again with that size as the failing one.
    """
    expected = run(make(interpreters, "tflm", model, io), io, arrays, mode)

    def works(size: int) -> bool:
        say(str(size))
        try:
            found = run(make(interpreters, "tflm", model, io, size), io, arrays, mode)
        except RuntimeError:
            return False
        return all(np.array_equal(found[name], expected[name]) for name in expected)

    low, high = failing, max(2 * failing, 4096)
    while not works(high):
        if high >= interpreters.HUGE_ARENA:
            raise RuntimeError(f"no arena up to {interpreters.HUGE_ARENA} bytes works")
        low, high = high, 2 * high
    while high - low > 16:
        middle = (low + high) // 32 * 16
        low, high = (low, middle) if works(middle) else (middle, high)
    return high


def say(line: str) -> None:
    """A line for the parent, sent at once: this process may die in the next moment."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Parse the command line, run, write the outputs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--interpreters", required=True, help="path of keras_gru_plus/runtime/interpreters.py")
    parser.add_argument("--runtime", required=True)
    parser.add_argument("--version", action="store_true", help="only print the runtime's version")
    parser.add_argument("--model")
    parser.add_argument("--io")
    parser.add_argument("--inputs")
    parser.add_argument("--outputs")
    parser.add_argument("--mode", choices=["sequence", "step", "stateful"], default="sequence")
    parser.add_argument("--arena", type=int)
    parser.add_argument("--bisect-arena", type=int, metavar="FAILING", help="find the smallest arena instead")
    options = parser.parse_args()
    interpreters = loaded(options.interpreters)
    answer: dict[str, Any] = {"runtime": options.runtime, "version": interpreters.version_of(options.runtime)}
    if not options.version:
        with open(options.model, "rb") as file:
            model = file.read()
        with open(options.io, encoding="utf-8") as file:
            io = json.load(file)
        with np.load(options.inputs) as archive:
            arrays = {name: archive[name] for name in archive.files}
        if options.bisect_arena is not None:
            answer["arena"] = bisect_arena(interpreters, model, io, arrays, options.mode, options.bisect_arena)
        else:
            interpreter = make(interpreters, options.runtime, model, io, options.arena)
            np.savez(options.outputs, **run(interpreter, io, arrays, options.mode))
    say(json.dumps(answer))


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # noqa: BLE001 (whatever it is, the parent reports it from this one line)
        sys.exit(" ".join(f"{type(error).__name__}: {error}".split()))
