"""What target `tflm` has beside the file: sources that run it on TFLite Micro and check it against golden vectors."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from .. import tflite
from ..analyze import Analysis, analyze
from ..devices import cortex_m55, cortex_m55_image, host
from ..standalone.emit import c_name, c_numbers
from ..templating import TEMPLATES, environment
from .context import Context

Array = np.ndarray[Any, Any]
#: Steps of the golden vectors before and after the reset; windows for mode `sequence`.
STEPS, WINDOWS = 25, 4
_IRREGULAR = {"UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTM", "BATCH_MATMUL": "BatchMatMul"}
_C_TYPES = {"int8": "int8_t", "int16": "int16_t", "int32": "int32_t", "float32": "float"}


def files(context: Context) -> dict[str, str | bytes]:
    """The sources, by path in the bundle."""
    analysis = analyze(context.data)
    golden = golden_vectors(context)
    measured = _on_device(context, golden)
    host_arena = context.arena
    margin = None if host_arena is None else max(256, host_arena // 10) // 16 * 16
    values = {
        "title": context.title,
        "mode": context.mode,
        "labels": context.labels or [],
        "bytes": len(context.data),
        "model": _numbers(np.frombuffer(context.data, np.uint8)),
        "host_arena": host_arena,
        "device_arena": measured,
        "margin": margin,
        "arena": 65536 if host_arena is None or margin is None else host_arena + margin,
        "operators": operator_methods(analysis),
        "variables": analysis.resource_variables,
        "ends": _ends(context.data),
        "golden": [_array(name, array) for name, array in golden.items()],
        "runs": next(iter(golden.values())).shape[0],
        "steps": 1 if context.mode == "sequence" else STEPS,
    }
    templates = environment(TEMPLATES / "micro", escape=False)
    names = ["model.h", "model.cc", "op_resolver.h", "quantization.h", "golden.h", "main.cc", "CMakeLists.txt"]
    found: dict[str, str | bytes] = {
        name: templates.get_template(f"{name}.j2").render(values) for name in [*names, "README.md"]
    }
    archive = io.BytesIO()
    arrays: dict[str, Any] = golden
    np.savez(archive, **arrays)
    return {**found, "golden.npz": archive.getvalue()}


def golden_vectors(context: Context) -> dict[str, Array]:
    """Inputs and outputs in the file's types: `(windows, …)`, or `(2, steps, …)` where each of the two starts anew.

    The outputs are TFLite Micro's where its wheel is installed, else those of LiteRT's reference kernels, which
    are equal for int8.
    """
    entries = host.describe(tflite.load(context.data))
    graph, signature = tflite.load(context.data).subgraphs[0], tflite.signature(tflite.load(context.data))
    fed = {}
    for entry in entries["inputs"]:
        if entry["state"]:
            continue
        samples = np.asarray(context.samples[entry["name"]])
        if context.mode == "sequence":
            chosen = samples[:WINDOWS]
        else:
            rows = samples.reshape(-1, *entry["shape"][1:])
            rows = rows[np.arange(2 * STEPS) % len(rows)]
            chosen = rows.reshape(2, STEPS, *entry["shape"][1:])
        grid = tflite.grid(graph.tensors[signature.inputs[entry["name"]]])
        if grid is not None:
            chosen = host.quantize(chosen, grid, np.dtype(entry["dtype"]))
        fed[entry["name"]] = np.ascontiguousarray(chosen.astype(entry["dtype"]))
    runtime = "tflm" if host.available("tflm") else "litert-reference"
    outputs = host.run(context.data, fed, runtime=runtime, mode=context.mode)
    return {f"input_{k}": v for k, v in fed.items()} | {f"output_{k}": v for k, v in outputs.items()}


def operator_methods(analysis: Analysis) -> list[str]:
    """MicroMutableOpResolver's method for each kind of operator in any graph, `AddFullyConnected`."""
    names = sorted({row.name for row in analysis.operators})
    return ["Add" + (_IRREGULAR.get(name) or "".join(map(str.capitalize, _words(name)))) for name in names]


def _words(name: str) -> list[str]:
    return ["2D" if word == "2D" else word for word in name.split("_")]


def _on_device(context: Context, golden: dict[str, Array]) -> int | None:
    """The arena in use on the emulated Cortex-M55, None where it is not set up or cannot run the file."""
    ready = (cortex_m55_image.cache() / f"{cortex_m55_image.WHEEL.replace('==', '-')}.axf").exists()
    if not ready or context.mode == "stateful" or not cortex_m55.available():
        return None
    inputs = {}
    for name, array in golden.items():
        if name.startswith("input_"):
            first = array[:1] if context.mode == "sequence" else array[:1, 0]
            inputs[name.removeprefix("input_")] = first
    try:
        return cortex_m55.run(context.data, inputs).arena
    except host.RuntimeFailure:
        return None


def _ends(data: bytes) -> list[dict[str, Any]]:
    model = tflite.load(data)
    signature, described = tflite.signature(model), host.describe(model)
    found = []
    for kind, indices in (("input", signature.inputs), ("output", signature.outputs)):
        for entry in described[f"{kind}s"]:
            grid = tflite.grid(model.subgraphs[0].tensors[indices[entry["name"]]])
            found.append(
                {
                    "kind": kind,
                    "name": entry["name"],
                    "constant": "k" + kind.capitalize() + _camel(entry["name"]),
                    "golden": c_name(f"golden_{kind}_{entry['name']}"),
                    "size": int(np.prod(entry["shape"])),
                    "position": entry["position"],
                    "type": _C_TYPES[entry["dtype"]],
                    "state": entry["state"],
                    "features": len(grid.scales) if grid is not None and grid.per_channel else 0,
                    "scale": None if grid is None else c_numbers(grid.scales),
                    "zero_point": ", ".join(map(str, grid.zero_points)) if grid is not None else 0,
                }
            )
    for end in found:
        twins = [o for o in found if o["kind"] == "output" and o["name"] == end["name"]]
        end["next"] = twins[0]["position"] if end["state"] and end["kind"] == "input" and twins else None
    return found


def _camel(name: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in c_name(name).split("_") if word)


def _array(name: str, array: Array) -> dict[str, Any]:
    return {
        "name": c_name(f"golden_{name}"),
        "type": _C_TYPES[str(array.dtype)],
        "size": array.size,
        "text": _numbers(array.ravel()),
    }


def _numbers(values: Array) -> str:
    words = [f"{value!r}," if values.dtype.kind == "f" else f"{int(value)}," for value in values.tolist()]
    return "\n    ".join(" ".join(words[i : i + 20]) for i in range(0, len(words), 20))
