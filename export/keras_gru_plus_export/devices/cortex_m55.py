"""Runs models through TFLite Micro with CMSIS-NN on an emulated Cortex-M55 and counts its instructions.

Outputs are the device's, bit for bit; counts are exact and repeat, but they are instructions, not cycles.
"""

from __future__ import annotations

import bisect
import collections
import dataclasses
import functools
import re
import subprocess
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_gru_plus.atomic import scratch
from keras_gru_plus_export import tflite

from .cortex_m55_image import DeviceUnavailable, image, plugin
from .host import RuntimeFailure, describe

Array = np.ndarray[Any, Any]

#: Where the board's memory begins, and where the runner has model, inputs and outputs.
_MEMORY, _MODEL, _INPUTS, _OUTPUTS = 0x60000000, 0x90000000, 0x92000000, 0x93000000
_SIZE = 2 << 30
_INVOKE = "_ZN6tflite16MicroInterpreter6InvokeEv"


@dataclasses.dataclass(frozen=True)
class Run:
    """What one or more invokes gave.

    Attributes:
        outputs: by signature name, `(samples, *shape)`.
        arena: bytes of the tensor arena in use.
        instructions: of one invoke (the last), 0 where they were not counted.
        functions: the same by function, most first.
    """

    outputs: dict[str, Array]
    arena: int
    instructions: int
    functions: dict[str, int]


@functools.cache
def unavailable() -> str | None:
    """Why the device cannot be used, None where it can."""
    try:
        image()
        plugin()
    except DeviceUnavailable as error:
        return str(error)
    return None


def available() -> bool:
    """Whether the device can be used here."""
    return unavailable() is None


def run(model: bytes, inputs: Mapping[str, Array], *, count: bool = False, timeout: float = 120) -> Run:
    """Invokes a model once for each sample, each time in a device that was just switched on.

    Args:
        model: The .tflite file.
        inputs: By signature name, `(samples, *shape)` in the file's types; what is missing is real zero, or
            the value nearest to it.
        count: Count instructions, of the last sample.
        timeout: Seconds for each sample.

    Raises:
        DeviceUnavailable: a program or the device's image is missing.
        RuntimeFailure: the device refused the model or did not finish.
        ValueError: inputs that the file does not have.
    """
    entries = describe(tflite.load(model))
    known = [entry["name"] for entry in entries["inputs"]]
    samples = {len(array) for array in inputs.values()}
    if set(inputs) - set(known) or len(samples) > 1 or samples == {0}:
        raise ValueError(f"Expected the same number of samples for inputs among {known}, got {list(inputs)}")
    raw: list[bytes] = []
    arena, counts = 0, dict[int, int]()
    last = max(samples, default=1) - 1
    for sample in range(last + 1):
        fed = b"".join(_values(entry, inputs, sample).tobytes() for entry in entries["inputs"])
        output, arena, counts = _invoke(model, fed, count and sample == last, timeout)
        raw.append(output)
    functions = _by_function(counts) if counts else {}
    return Run(_split(entries["outputs"], raw), arena, sum(functions.values()), functions)


def _values(entry: dict[str, Any], inputs: Mapping[str, Array], sample: int) -> Array:
    """One input of one invoke."""
    if entry["name"] not in inputs:
        zero = entry["zero_point"]
        if np.issubdtype(
            np.dtype(entry["dtype"]), np.integer
        ):  # features may have a grid that ends above or below zero
            limits = np.iinfo(entry["dtype"])
            zero = min(max(zero, limits.min), limits.max)
        return np.full(entry["shape"], zero, entry["dtype"])
    array = inputs[entry["name"]]
    size = int(np.prod(entry["shape"]))
    if array.dtype != entry["dtype"] or array[sample].size != size:
        raise ValueError(
            f"Expected {entry['name']} to be {entry['dtype']} (samples, {entry['shape']}), "
            f"got {array.dtype} {list(array.shape)}"
        )
    return np.ascontiguousarray(array[sample])


def _split(entries: list[dict[str, Any]], raw: list[bytes]) -> dict[str, Array]:
    """The device's outputs, one after the other in the file's order, by name."""
    sizes = {entry["position"]: int(np.prod(entry["shape"])) * np.dtype(entry["dtype"]).itemsize for entry in entries}
    start = {position: sum(size for other, size in sizes.items() if other < position) for position in sizes}
    found = {}
    for entry in entries:
        first = start[entry["position"]]
        rows = [row[first : first + sizes[entry["position"]]] for row in raw]
        found[entry["name"]] = np.frombuffer(b"".join(rows), entry["dtype"]).reshape(len(raw), *entry["shape"])
    return found


def _invoke(model: bytes, inputs: bytes, count: bool, timeout: float) -> tuple[bytes, int, dict[int, int]]:
    """Outputs, arena in use, and how often the instruction at each address ran."""
    with scratch() as folder:
        memory, counts = folder / "memory", folder / "counts"
        with memory.open("wb") as file:
            file.truncate(_SIZE)  # sparse: takes no space
            for address, content in ((_MODEL, model), (_INPUTS, inputs)):
                file.seek(address - _MEMORY)
                file.write(content)
        command = [
            *("qemu-system-arm", "-M", "mps3-an547,memory-backend=ddr", "-kernel", str(image())),
            *("-object", f"memory-backend-file,id=ddr,size={_SIZE},share=on,mem-path={memory}"),
            *("-nographic", "-monitor", "none", "-serial", "stdio", "-semihosting"),
        ]
        if count:
            # Time that follows the instructions makes every run the same.
            command += ["-icount", "shift=0", "-plugin", f"{plugin()},call={_symbols()[0]},out={counts}"]
        try:
            done = subprocess.run(command, capture_output=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            raise RuntimeFailure(f"Expected the Cortex-M55 to finish in {timeout} s, got no answer") from None
        said = done.stdout.decode("latin1")
        size = re.search(r"output tensor/s worth (\d+) bytes", said)
        arena = re.search(r"arena\) size used: (\d+)", said)
        if "Inference completed" not in said or size is None or arena is None:
            lines = [line for line in said.splitlines() if "ERROR" in line or "Failed" in line]
            last = " | ".join(lines or said.splitlines()[-3:]) or done.stderr.decode("latin1")
            raise RuntimeFailure(f"Expected the Cortex-M55 to run the model, got: {last[-500:]}", done.returncode)
        with memory.open("rb") as file:
            file.seek(_OUTPUTS - _MEMORY)
            outputs = file.read(int(size[1]))
        rows = [line.split() for line in counts.read_text().splitlines()] if count else []
    return outputs, int(arena[1]), {int(address, 16): int(number) for address, number in rows}


def _by_function(counts: dict[int, int]) -> dict[str, int]:
    _, addresses, names = _symbols()
    found: collections.Counter[str] = collections.Counter()
    for address, number in counts.items():
        found[names[bisect.bisect(addresses, address) - 1]] += number
    return dict(found.most_common())


@functools.cache
def _symbols() -> tuple[int, list[int], list[str]]:
    """Address of the call of Invoke, and the functions' addresses, ascending, with their names."""

    def said(*command: str) -> str:
        return subprocess.run([*command, str(image())], capture_output=True, text=True, check=True).stdout

    call = re.search(rf"^\s*([0-9a-f]+):.*\tbl\t.*<{_INVOKE}>", said("arm-none-eabi-objdump", "-d"), re.MULTILINE)
    if call is None:
        raise DeviceUnavailable("Expected the device's image to call MicroInterpreter::Invoke, got no such call")
    lines = [line.split(None, 3) for line in said("arm-none-eabi-nm", "-CS").splitlines()]
    functions = sorted((int(line[0], 16) & ~1, line[3]) for line in lines if len(line) > 3 and line[2] in "tTwW")
    return int(call[1], 16), [address for address, _ in functions], [name for _, name in functions]


__all__ = ["DeviceUnavailable", "Run", "available", "run", "unavailable"]
