"""What Arm's compiler for the Ethos-U does with each mode: python benchmarks/ethos_u.py VELA.

VELA is the command of `ethos-u-vela` in an environment of its own: python -m venv vela && vela/bin/pip install
ethos-u-vela==5.2.0, then vela/bin/vela. Nothing is run: there is no Ethos-U here.
"""

from __future__ import annotations

import copy
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import sizes
import tables

from keras_gru_plus_export import convert, tflite
from keras_gru_plus_export.devices import host

CONFIGURATION = "ethos-u55-128"
NOTE = (
    "Vela {version}, {configuration}; 32 units over 28 features and 28 steps, target litert, int8. As written: by "
    "`convert`; named: with `keep_names`; one scale: named, and the input given the scale of the RESHAPE behind it "
    "by this script, with which LiteRT's reference kernels give the same integers. On the NPU: share of Vela's "
    "operators; parts: pieces they are in. On the CPU: operators in the compiled file's order."
)


def one_scale(data: bytes) -> bytes:
    """The file whose inputs have the scale of the RESHAPE that alone reads them."""
    model = tflite.load(data)
    graph = model.subgraphs[0]
    for index in graph.inputs:
        readers = tflite.consumers(graph, index)
        if len(readers) == 1 and tflite.op_name(model, readers[0]) == "RESHAPE":
            graph.tensors[index].quantization = copy.deepcopy(graph.tensors[readers[0].outputs[0]].quantization)
    return tflite.dump(model)


def same_integers(mode: str, first: bytes, second: bytes) -> bool:
    """Whether two files give the same on LiteRT's reference kernels for random integers."""
    x = np.random.default_rng(1).integers(-128, 128, (16, 28, 28), np.int8)
    found, wanted = (host.run(data, {"x": x}, runtime="litert-reference", mode=mode) for data in (first, second))
    return all(np.array_equal(found[name], wanted[name]) for name in wanted)


def compiled(vela: str, data: bytes) -> dict[str, str]:
    """Operators on each side, or what Vela says against it."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "model.tflite"
        path.write_bytes(data)
        command = [vela, str(path), "--accelerator-config", CONFIGURATION, "--output-dir", name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        text = done.stdout + done.stderr
        result = Path(name) / "model_vela.tflite"
        if done.returncode or not result.exists():
            reason = re.search(r"Compilation failed: Error: (.*(?:\n - .*)*)", text)
            return {"refused": " ".join((reason.group(1) if reason else text[-200:]).split())}
        model = tflite.load(result.read_bytes())
        left = [tflite.op_name(model, op) for graph in model.subgraphs for op in graph.operators]
    counts = re.findall(r"(?:CPU|NPU) operators = \d+ \(([\d.]+%)\)", text)
    others = [operator for operator in left if operator != "CUSTOM:ethos-u"]
    return {
        "on the NPU": counts[-1] if counts else "",
        "parts": str(len(left) - len(others)),
        "on the CPU": ", ".join(others) or "none",
    }


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    vela = sys.argv[1]
    version = subprocess.run([vela, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    rows = []
    for variant in ("gru", "mgu"):
        for gates in sizes.GATES:
            model = sizes.model_of(variant, gates)
            for mode in ("sequence", "step", "stateful"):
                named = convert(model, mode=mode, keep_names=True)
                forms = {"as written": convert(model, mode=mode), "named": named, "one scale": one_scale(named)}
                assert same_integers(mode, named, forms["one scale"])
                for form, data in forms.items():
                    what = {"variant": variant, "gates": gates, "mode": mode, "file": form}
                    empty = {"on the NPU": "", "parts": "", "on the CPU": "", "refused": ""}
                    rows.append({**what, **empty, **compiled(vela, data)})
    tables.write("ethos_u", rows, NOTE.format(version=version, configuration=CONFIGURATION))
    return 0


if __name__ == "__main__":
    sys.exit(main())
