"""Removes WHILE variables that only count for themselves: TensorFlow's second loop counter."""

from __future__ import annotations

from .. import tflite
from ..tflite import OP, ModelT, SubGraphT


def dead_loop_variables(model: ModelT) -> None:
    """A variable goes where nothing but its own next value depends on it and its result is not used."""
    for graph in model.subgraphs:
        for loop in [op for op in graph.operators if tflite.op_code(model, op) == OP.WHILE]:
            condition, body = tflite.while_parts(model, loop)
            k = 0
            while k < len(body.inputs):
                read = tflite.consumers(graph, loop.outputs[k]) or loop.outputs[k] in graph.outputs
                tested = tflite.consumers(condition, condition.inputs[k]) or condition.inputs[k] in condition.outputs
                if read or tested or not _only_for_itself(body, k):
                    k += 1
                    continue
                for part, name in ((loop, "inputs"), (loop, "outputs"), (condition, "inputs")):
                    setattr(part, name, [t for i, t in enumerate(getattr(part, name)) if i != k])
                body.inputs = [t for i, t in enumerate(body.inputs) if i != k]
                body.outputs = [t for i, t in enumerate(body.outputs) if i != k]
    tflite.remove_dead(model)


def _only_for_itself(body: SubGraphT, k: int) -> bool:
    """Whether body input k reaches no body output but number k."""
    reached = {body.inputs[k]}
    for op in body.operators:
        if reached & set(op.inputs):
            if len(op.outputs) != 1:
                return False
            reached |= set(op.outputs)
    return all(output not in reached for i, output in enumerate(body.outputs) if i != k)
