"""Makes constant shapes of int64 int32, as which every runtime takes them."""

from __future__ import annotations

import numpy as np

from .. import tflite
from ..tflite import OP, TYPE, ModelT
from . import PassError


def narrow_shapes(model: ModelT) -> None:
    """Applies the pass to the shape of every BROADCAST_TO."""
    for graph in model.subgraphs:
        for op in graph.operators:
            if tflite.op_code(model, op) != OP.BROADCAST_TO or graph.tensors[op.inputs[1]].type != TYPE.INT64:
                continue
            shape = graph.tensors[op.inputs[1]]
            if not tflite.is_constant(model, shape):
                raise PassError("Expected BROADCAST_TO with a constant shape, got one that is computed")
            narrow = tflite.add_tensor(graph, tflite.text(shape.name), shape.shape, TYPE.INT32)
            tflite.set_constant(model, graph.tensors[narrow], tflite.constant(model, shape).astype(np.int32))
            op.inputs = [op.inputs[0], narrow]
