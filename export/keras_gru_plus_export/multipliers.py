"""Which ratios of scales the kernels of all runtimes can multiply by.

Beyond these a kernel ends its process, or silently gives other numbers. A model gets there by weights or values that
are millions of times as large as what comes out, or by calibration data that leaves a part of it still.
"""

from __future__ import annotations

from . import tflite
from .tflite import OP, TYPE, ModelT, OperatorT, SubGraphT
from .worker import ConversionError

#: XNNPACK refuses matmuls whose accumulator's step is 256 steps of the output or more.
_PRODUCT = 256.0
#: Steps of the output that a step of the product may have, by bits: more overflow where the product is shifted.
_MUL = {8: 2.0**15, 16: 2.0}
#: The same of the wider input of a sum, whose kernels stop at a multiplier of 1 after 20 (15) bits of headroom.
_ADD = {8: 2.0**19, 16: 2.0**14}
#: int16 LOGISTIC and TANH multiply their input by 3 · 4096 · scale in 32 bits.
_GATE_16 = 65535 / (3 * 4096)


def check_multipliers(model: ModelT, graph: SubGraphT, op: OperatorT, what: str) -> None:
    """Raises ConversionError if the operator's scales are too far apart; `what` names what it computes."""
    code, name = tflite.op_code(model, op), tflite.op_name(model, op)
    out = graph.tensors[op.outputs[0]]
    if out.type not in (TYPE.INT8, TYPE.INT16):
        return
    bits = 8 if out.type == TYPE.INT8 else 16
    found = ""
    grids = [tflite.grid(graph.tensors[index]) for index in op.inputs if index >= 0]
    result = tflite.grid(out)
    scales = [max(grid.scales) for grid in grids if grid is not None]
    if result is None or not scales:
        return
    if code in tflite.LINEAR:
        ratio, most = scales[0] * scales[1] / result.scale, _PRODUCT
    elif code == OP.MUL:
        ratio, most = scales[0] * scales[-1] / result.scale, _MUL[bits]
    elif code in (OP.ADD, OP.SUB):
        ratio, most = max(scales) / result.scale, _ADD[bits]
    elif code in (OP.LOGISTIC, OP.TANH) and bits == 16:
        ratio, most = scales[0], _GATE_16
        found = f"values of up to {scales[0] * 32768:.3g} before {name}, where kernels take {most * 32768:.3g}"
    else:
        return
    if ratio >= most:
        found = found or (
            f"a step of {name}'s input{'s' * (len(scales) > 1)} that is {ratio:.3g} steps of its output, where "
            f"kernels take less than {most:.3g}"
        )
        raise ConversionError(
            f"Expected values of like size around {what}, got {found}; try inputs and weights nearer to 1, or "
            "calibration data that moves every part of the model."
        )
