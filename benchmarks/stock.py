"""What TensorFlow's own ways to int8 do with the zoo: each in a child process, because some end in SIGSEGV.

python benchmarks/stock.py [architecture …]. Three ways: `TFLiteConverter.from_keras_model` with a representative data
set, the same from a SavedModel, and `model.export(format="litert")`, which takes no quantization arguments. Rows of
architectures that are not named stay as they were.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from keras_gru_plus_export.compare import stock

EVALUATION = 500


def inspect(file: bytes, task: Any) -> dict[str, Any]:
    """Share of operators with float tensors, Flex operators, size, arena, and the score where it runs."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    from keras_gru_plus_export.data import score

    row = stock.described(file)
    try:
        interpreter = Interpreter(model_content=file)
        interpreter.allocate_tensors()
        ends, (first, *_) = interpreter.get_input_details(), interpreter.get_output_details()
        arrays = list(task.test[0].values())
        # The converter may order inputs anew: shapes and names decide, ambiguous ones are left unscored.
        if len(arrays) > 1 or len(interpreter.get_output_details()) > 1:
            raise ValueError("several inputs or outputs: order unknown, not scored")
        target = next(iter(task.test[1].values()))
        chosen = np.linspace(0, len(target) - 1, min(EVALUATION, len(target))).astype(np.int64)
        predicted = []
        for sample in arrays[0][chosen]:
            scale, zero = ends[0]["quantization"]
            if ends[0]["dtype"] == np.int8:
                sample = np.clip(np.rint(sample / scale) + zero, -128, 127).astype(np.int8)
            interpreter.set_tensor(ends[0]["index"], sample[None].astype(ends[0]["dtype"]))
            interpreter.invoke()
            raw = interpreter.get_tensor(first["index"])
            scale, zero = first["quantization"]
            predicted.append((raw.astype(np.float32) - zero) * scale if first["dtype"] == np.int8 else raw)
        row["score"] = score(task.metric, np.concatenate(predicted), target[chosen])
    except Exception as error:  # noqa: BLE001 (as above)
        row["litert"] = str(error).splitlines()[0][:160]
    return row


def measure(name: str) -> dict[str, Any]:
    """Trains the architecture in float, or takes what the zoo trained, and tries every way."""
    import zoo
    import zoo_models

    architecture = zoo_models.ZOO[name]
    task = architecture.data()
    model = zoo.float_model(architecture, task, 0)
    found: dict[str, Any] = {"metric": task.metric}
    with stock.kept(model, list(task.train[0].values())) as files:
        for way in stock.WAYS:
            file = stock.attempt(way, files)
            found[way] = {"failed": file} if isinstance(file, str) else inspect(file, task)
    return found


def text(result: dict[str, Any], metric: str) -> str:
    """What came of a way: the failure, or the file's operators and where it runs."""
    if "failed" in result:
        return str(result["failed"])
    parts = [f"{result['bytes'] / 1000:.1f} kB"]
    if result["float operators"]:
        parts.append(f"{result['float operators']} of {result['operators']} operators float")
    if result["custom operators"]:
        parts.append(f"{len(result['custom operators'])} kinds of Flex operator")
    parts.append(f"arena {result['arena'] / 1000:.1f} kB" if "arena" in result else "not on TFLM")
    if "score" in result:
        parts.append(f"{100 * result['score']:.1f} %" if metric == "accuracy" else f"{result['score']:.3f}")
    else:
        parts.append("not on LiteRT without Flex" if "Select TensorFlow op" in result["litert"] else result["litert"])
    return "; ".join(parts).replace("|", "\\|")


def own(runs: list[dict[str, Any]]) -> str:
    """The same of keras-gru-plus, from the runs of the zoo."""
    done = sorted((run for run in runs if "refused" not in run), key=lambda run: run["seed"])
    if not done:
        return runs[0]["refused"] if runs else "not measured"
    mean = sum(run["fine-tuned"]["litert"] for run in done) / len(done)
    score = f"{100 * mean:.1f} %" if done[0]["metric"] == "accuracy" else f"{mean:.3f}"
    return f"{done[0]['bytes'] / 1000:.1f} kB; arena {done[0]['arena'] / 1000:.1f} kB; {score}"


def write(every: dict[str, Any]) -> None:
    """The table of all that was measured so far, in the zoo's order."""
    import tables
    import zoo_models

    ours = tables.RESULTS / "zoo.json"
    runs = list(json.loads(ours.read_text())["values"].values()) if ours.is_file() else []
    rows = []
    for name in filter(every.__contains__, zoo_models.ZOO):
        row = {"architecture": name, **{way: text(every[name][way], every[name]["metric"]) for way in stock.WAYS}}
        row["keras-gru-plus"] = own([run for run in runs if (run["architecture"], run["recipe"]) == (name, "int8")])
        rows.append(row)
    tables.write("stock", rows, NOTE, every)


NOTE = (
    "TensorFlow's and Keras' own ways on the zoo's float models (batch 1): `TFLiteConverter.from_keras_model` and "
    '`from_saved_model` with a representative data set, int8 operators only; `model.export(format="litert")`, which '
    "does not quantize. Each in a process of its own, which is what crashes. Flex operators are TensorFlow's own and "
    "need the Flex delegate, which neither the LiteRT wheel nor TFLite Micro has. A score is on LiteRT, of a stock "
    "file on at most 500 test samples. keras-gru-plus: int8, fine-tuned, as in zoo.md. kB = 1000 bytes. Arena: "
    "smallest on the tflite-micro wheel."
)


def main() -> int:
    import tables
    import zoo_models

    names = sys.argv[1:] or list(zoo_models.ZOO)
    unknown = sorted(set(names) - set(zoo_models.ZOO))
    if unknown:
        print(f"Expected architectures among {', '.join(zoo_models.ZOO)}, got {', '.join(unknown)}.", file=sys.stderr)
        return 2
    before = tables.RESULTS / "stock.json"
    every: dict[str, Any] = json.loads(before.read_text()).get("values", {}) if before.is_file() else {}
    for name in names:  # the others keep what they had
        every[name] = measure(name)
        write(every)
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
