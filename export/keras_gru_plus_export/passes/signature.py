"""Gives inputs and outputs Keras' names and order, in the SignatureDef and on the tensors."""

from __future__ import annotations

from .. import tflite
from ..tflite import ModelT


def name_inputs_and_outputs(model: ModelT, inputs: dict[str, str], outputs: dict[str, str]) -> None:
    """Renames and reorders by the converter's signature.

    Args:
        model: with one signature.
        inputs, outputs: the converter's name → Keras' name, in the order wanted.
    """
    graph = model.subgraphs[0]
    found = tflite.signature(model)
    tensors = {name: found.inputs[old] for old, name in inputs.items()}
    results = {name: found.outputs[old] for old, name in outputs.items()}
    graph.inputs, graph.outputs = list(tensors.values()), list(results.values())
    for name, index in tensors.items():
        graph.tensors[index].name = name
    for name, index in results.items():
        graph.tensors[index].name = f"{name}_out" if name in tensors else name

    def entries(named: dict[str, int]) -> list[tflite.schema.TensorMapT]:
        return [tflite.schema.TensorMapT(name=name, tensorIndex=index) for name, index in named.items()]

    key = model.signatureDefs[0].signatureKey
    model.signatureDefs = [
        tflite.schema.SignatureDefT(
            inputs=entries(tensors), outputs=entries(results), signatureKey=key, subgraphIndex=0
        )
    ]
