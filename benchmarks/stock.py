"""What TensorFlow's own ways to int8 do with the zoo: each in a child process, because some end in SIGSEGV.

python benchmarks/stock.py [architecture …]. Three ways: `TFLiteConverter.from_keras_model` with a representative data
set, the same from a SavedModel, and `model.export(format="litert")`, which takes no quantization arguments.
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
    """Trains the architecture in float and tries every way."""
    import zoo_models

    architecture = zoo_models.ZOO[name]
    task = architecture.data()
    model = zoo_models.train(architecture, task, seed=0)
    found: dict[str, Any] = {"metric": task.metric}
    with stock.kept(model, list(task.train[0].values())) as files:
        for way in stock.WAYS:
            file = stock.attempt(way, files)
            found[way] = {"failed": file} if isinstance(file, str) else inspect(file, task)
    return found


def text(result: dict[str, Any], metric: str) -> str:
    if "failed" in result:
        return str(result["failed"])
    parts = [f"{result['bytes'] / 1000:.1f} kB"]
    if result["float operators"]:
        parts.append(f"{result['float operators']} of {result['operators']} operators float")
    if result["custom operators"]:
        parts.append("needs " + ", ".join(result["custom operators"]))
    parts.append(f"arena {result['arena'] / 1000:.1f} kB" if "arena" in result else "does not run on TFLM")
    if "score" in result:
        parts.append(f"{100 * result['score']:.1f} %" if metric == "accuracy" else f"{result['score']:.3f}")
    else:
        parts.append(result["litert"])
    return "; ".join(parts)


def main() -> int:
    import tables
    import zoo_models

    names = sys.argv[1:] or list(zoo_models.ZOO)
    unknown = sorted(set(names) - set(zoo_models.ZOO))
    if unknown:
        print(f"Expected architectures among {', '.join(zoo_models.ZOO)}, got {', '.join(unknown)}.", file=sys.stderr)
        return 2
    ours = tables.RESULTS / "zoo.json"
    measured = {row["architecture"]: row for row in json.loads(ours.read_text())["rows"]} if ours.is_file() else {}
    rows, every = [], {}
    for name in names:
        every[name] = measure(name)
        row: dict[str, Any] = {"architecture": name}
        row |= {way: text(every[name][way], every[name]["metric"]).replace("|", "\\|") for way in stock.WAYS}
        own = measured.get(name, {})
        row["keras-gru-plus"] = (
            "not measured"
            if not own
            else own["refused"] or (f"{own['file, kB']} kB; arena {own['arena, kB']} kB; {own['fine-tuned, litert']}")
        )
        rows.append(row)
        note = (
            "Stock TensorFlow and Keras on the zoo (batch 1), against keras-gru-plus (zoo.md, fine-tuned). "
            "Scores are on LiteRT, at most 500 test samples: accuracy in %, else mean absolute error. "
            "kB = 1000 bytes. Arena: smallest on the tflite-micro wheel."
        )
        tables.write("stock", rows, note, every)
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
