"""One step of every variant in NumPy float64, typed from the papers; imports nothing of the package.

`REFERENCES[name]` has the step and the number of parameters. A step takes the layer's weights in
Keras' order, one input `(batch, features)` and the states, and returns the output and the new states.
`run` is the plain loop over time, with masks as Keras treats them.
"""

from references_base import Array, Reference, columns, run, sigmoid
from references_elementwise import ELEMENTWISE
from references_gru import GRU
from references_one_gate import ONE_GATE
from references_time import TIME

__all__ = ["REFERENCES", "Array", "Reference", "columns", "run", "sigmoid"]

REFERENCES = {**GRU, **ONE_GATE, **ELEMENTWISE, **TIME}
