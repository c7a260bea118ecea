"""Graphs made by hand, tensor by tensor."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_gru_plus_export import tflite

OP, TYPE = tflite.OP, tflite.TYPE
GRID = tflite.Grid((1 / 128,), (0,))


class Graph:
    """A subgraph in the making: tensors by name."""

    def __init__(self) -> None:
        self.graph = tflite.schema.SubGraphT(tensors=[], inputs=[], outputs=[], operators=[])
        self.index: dict[str, int] = {}

    def tensor(self, name: str, shape: tuple[int, ...] = (1, 4), type: int = TYPE.INT8, grid: Any = GRID) -> int:
        self.index[name] = tflite.add_tensor(self.graph, name, shape, type, grid if type == TYPE.INT8 else None)
        return self.index[name]


class Model:
    """A model in the making."""

    def __init__(self, graphs: int = 1) -> None:
        self.graphs = [Graph() for _ in range(graphs)]
        self.model = tflite.schema.ModelT(
            version=3,
            buffers=[tflite.schema.BufferT()],
            operatorCodes=[],
            subgraphs=[graph.graph for graph in self.graphs],
        )

    def constant(self, graph: int, name: str, value: Any, grid: Any = None) -> None:
        self.graphs[graph].tensor(name, (), TYPE.INT32)
        tensor = self.graphs[graph].graph.tensors[-1]
        tflite.set_constant(self.model, tensor, np.asarray(value))
        if grid is not None:
            tflite.set_grid(tensor, grid.scales, grid.zero_points)

    def add(self, graph: int, kind: str, inputs: str, outputs: str, options: Any = None) -> tflite.OperatorT:
        index = self.graphs[graph].index
        op = tflite.new_operator(
            self.model,
            getattr(OP, kind),
            [index[n] for n in inputs.split()],
            [index[n] for n in outputs.split()],
            options,
        )
        self.graphs[graph].graph.operators.append(op)
        return op

    def ends(self, graph: int, inputs: str, outputs: str) -> None:
        part = self.graphs[graph]
        part.graph.inputs = [part.index[n] for n in inputs.split()]
        part.graph.outputs = [part.index[n] for n in outputs.split()]
        if graph == 0:
            entries = [
                [tflite.schema.TensorMapT(name=n, tensorIndex=part.index[n]) for n in names.split()]
                for names in (inputs, outputs)
            ]
            self.model.signatureDefs = [
                tflite.schema.SignatureDefT(inputs=entries[0], outputs=entries[1], signatureKey="s", subgraphIndex=0)
            ]
