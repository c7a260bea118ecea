"""`keras-gru-plus bench`: how long an invoke takes, quantization of real numbers included."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from .grid import dequantize
from .model import Model, load

#: Percentiles of the times.
PERCENTILES = (50, 90, 99)


@dataclasses.dataclass(frozen=True)
class Result:
    """Times of a model on this machine.

    Attributes:
        model, mode, runtime, version, threads: what ran.
        load_ms: to read, check and prepare the file.
        invokes: that were timed, after the warm-up.
        microseconds: of an invoke: mean, p50, p90, p99, max.
        invokes_per_second: one after the other.
        timesteps_per_invoke: 1, a hop or a window.
        rate: of the sensor in Hz, or None.
        real_time_factor: how many times faster than the sensor; below 1 the machine does not keep up.
        resident_bytes: of the whole process.
    """

    model: str
    mode: str
    runtime: str
    version: str
    threads: int
    load_ms: float
    invokes: int
    microseconds: dict[str, float]
    invokes_per_second: float
    timesteps_per_invoke: int
    rate: float | None
    real_time_factor: float | None
    resident_bytes: int | None

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return dataclasses.asdict(self)


def bench(
    path: str,
    *,
    runtime: str = "auto",
    threads: int = 1,
    seconds: float = 2.0,
    rate: float | None = None,
    trial: bool = False,
) -> Result:
    """Times invokes for `seconds`, after a warm-up of a tenth of that; `trial` as of `load`, outside of all times.

    Raises:
        ValueError: `seconds` or `rate` is not positive; else as `load`.
    """
    for name, value in (("seconds", seconds), ("rate", rate)):
        if value is not None and not value > 0:
            raise ValueError(f"Expected `{name}` to be above 0, got {value}.")
    if trial:
        load(path, runtime, threads, trial=True)
    start = time.perf_counter()
    model = load(path, runtime, threads)
    load_ms = 1e3 * (time.perf_counter() - start)
    x = samples(model)
    call = model.predict if model.mode == "sequence" else model.step
    _timed(call, x, seconds / 10)
    times = _timed(call, x, seconds)
    height = max((tensor.shape[1] for tensor in model.info.inputs if len(tensor.shape) > 2), default=1)
    mean = float(times.mean())
    return Result(
        model=str(path),
        mode=model.mode,
        runtime=model.runtime,
        version=model.info.version,
        threads=threads,
        load_ms=round(load_ms, 3),
        invokes=len(times),
        microseconds={
            "mean": round(1e6 * mean, 2),
            **{f"p{p}": round(1e6 * float(np.percentile(times, p)), 2) for p in PERCENTILES},
            "max": round(1e6 * float(times.max()), 2),
        },
        invokes_per_second=round(1 / mean, 1),
        timesteps_per_invoke=height,
        rate=rate,
        real_time_factor=None if rate is None else round(height / rate / mean, 2),
        resident_bytes=resident_bytes(),
    )


def samples(model: Model, count: int = 64) -> list[Any]:
    """Random inputs of one invoke each, over the range of the file's integers."""
    generator = np.random.default_rng(0)
    found = []
    for _ in range(count):
        one = {}
        for tensor in model.info.inputs:
            values = generator.normal(0, 1, tensor.shape[1:])
            if tensor.scale is not None:
                values = dequantize(42 * values, np.array(tensor.scale), np.array(tensor.zero_point))
            one[tensor.name] = values.astype(np.float32)
        found.append(one if len(one) > 1 else next(iter(one.values())))
    return found


def _timed(call: Any, x: list[Any], seconds: float) -> np.ndarray[Any, Any]:
    """Seconds of each of at least ten calls."""
    times: list[float] = []
    clock = time.perf_counter
    end = clock() + seconds
    while len(times) < 10 or clock() < end:
        for value in x:
            start = clock()
            call(value)
            times.append(clock() - start)
            if len(times) >= 10 and clock() >= end:
                break
    return np.array(times)


def resident_bytes() -> int | None:
    """Memory of this process, None where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
