"""Run a .tflite file over samples: a script for any Python from 3.8 that has numpy and one interpreter.

It imports nothing of this project, so that an old runtime in another environment runs it by path. `host.py`
writes its files and reads its answer, one line of JSON; a failure is an exit code and one line on stderr.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from importlib import metadata
from typing import Any

import numpy as np

PACKAGES = {"litert": "ai-edge-litert", "tflm": "tflite-micro", "tflite-runtime": "tflite-runtime"}
MODULES = {
    "litert": "ai_edge_litert.interpreter",
    "tflm": "tflite_micro",
    "tflite-runtime": "tflite_runtime.interpreter",
}
HUGE_ARENA = 16 * 1024 * 1024


class Lite:
    """LiteRT or tflite-runtime, with XNNPACK or with the reference kernels."""

    def __init__(self, family: str, model: bytes, reference: bool) -> None:
        self.module = importlib.import_module(MODULES[family])
        self.model = model
        self.reference = reference
        self.fresh()

    def fresh(self) -> None:
        """Start from the initial state: only a new interpreter forgets its resource variables."""
        resolvers = self.module.OpResolverType
        self.interpreter = self.module.Interpreter(
            model_content=self.model,
            num_threads=1,
            experimental_op_resolver_type=resolvers.BUILTIN_REF if self.reference else resolvers.AUTO,
        )
        self.interpreter.allocate_tensors()
        self.inputs = [detail["index"] for detail in self.interpreter.get_input_details()]
        self.outputs = [detail["index"] for detail in self.interpreter.get_output_details()]

    def invoke(self, inputs: list[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """One inference."""
        for index, value in zip(self.inputs, inputs):
            self.interpreter.set_tensor(index, value)
        self.interpreter.invoke()
        return [self.interpreter.get_tensor(index) for index in self.outputs]


class Micro:
    """TFLite Micro with an arena of a given size."""

    def __init__(self, model: bytes, outputs: int, arena: int) -> None:
        runtime = importlib.import_module(MODULES["tflm"]).runtime
        self.interpreter = runtime.Interpreter.from_bytes(model, arena_size=arena)
        self.outputs = outputs

    def fresh(self) -> None:
        """Start from the initial state."""
        self.interpreter.reset()

    def invoke(self, inputs: list[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """One inference."""
        for index, value in enumerate(inputs):
            self.interpreter.set_input(value, index)
        self.interpreter.invoke()
        return [np.array(self.interpreter.get_output(index)) for index in range(self.outputs)]


def family_of(runtime: str) -> str:
    """The runtime without its choice of kernels."""
    return runtime[: -len("-reference")] if runtime.endswith("-reference") else runtime


def version_of(runtime: str) -> str:
    """Version of the installed runtime, after importing it."""
    family = family_of(runtime)
    importlib.import_module(MODULES[family])
    return metadata.version(PACKAGES[family])


def make(runtime: str, model: bytes, io: dict[str, Any], arena: int) -> Any:
    """An interpreter that holds the model."""
    if runtime == "tflm":
        return Micro(model, 1 + max(entry["position"] for entry in io["outputs"]), arena)
    return Lite(family_of(runtime), model, runtime != family_of(runtime))


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


def bisect_arena(model: bytes, io: dict[str, Any], arrays: dict[str, Any], mode: str, failing: int) -> int:
    """The smallest arena (multiple of 16) above a failing one that gives the outputs of a huge one.

    Every size is said before it is tried: below some size TFLite Micro ends in a segmentation fault instead
    of an error, and the parent then starts this again with that size as the failing one.
    """
    expected = run(make("tflm", model, io, HUGE_ARENA), io, arrays, mode)

    def works(size: int) -> bool:
        say(str(size))
        try:
            found = run(make("tflm", model, io, size), io, arrays, mode)
        except RuntimeError:
            return False
        return all(np.array_equal(found[name], expected[name]) for name in expected)

    low, high = failing, max(2 * failing, 4096)
    while not works(high):
        if high >= HUGE_ARENA:
            raise RuntimeError(f"no arena up to {HUGE_ARENA} bytes works")
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
    families = ["litert", "litert-reference", "tflm", "tflite-runtime", "tflite-runtime-reference"]
    parser.add_argument("--runtime", required=True, choices=families)
    parser.add_argument("--version", action="store_true", help="only print the runtime's version")
    parser.add_argument("--model")
    parser.add_argument("--io")
    parser.add_argument("--inputs")
    parser.add_argument("--outputs")
    parser.add_argument("--mode", choices=["sequence", "step", "stateful"], default="sequence")
    parser.add_argument("--arena", type=int, default=HUGE_ARENA)
    parser.add_argument("--bisect-arena", type=int, metavar="FAILING", help="find the smallest arena instead")
    options = parser.parse_args()
    answer: dict[str, Any] = {"runtime": options.runtime, "version": version_of(options.runtime)}
    if not options.version:
        with open(options.model, "rb") as file:
            model = file.read()
        with open(options.io, encoding="utf-8") as file:
            io = json.load(file)
        with np.load(options.inputs) as archive:
            arrays = {name: archive[name] for name in archive.files}
        if options.bisect_arena is not None:
            answer["arena"] = bisect_arena(model, io, arrays, options.mode, options.bisect_arena)
        else:
            interpreter = make(options.runtime, model, io, options.arena)
            start = time.perf_counter()
            results = run(interpreter, io, arrays, options.mode)
            answer["seconds"] = time.perf_counter() - start
            np.savez(options.outputs, **results)
    say(json.dumps(answer))


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # noqa: BLE001 (whatever it is, the parent reports it from this one line)
        sys.exit(" ".join(f"{type(error).__name__}: {error}".split()))
