"""Compiles standalone C for this machine or for an emulated Cortex-M and runs it, bare metal under QEMU.

Instruction counts are exact and repeat, but they are instructions, not cycles: QEMU has no model of those.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import re
import shutil
import subprocess
from typing import Any

import numpy as np

from keras_gru_plus.atomic import scratch

from ..standalone import Sources
from ..standalone.graph import Graph
from .cortex_m55_image import DeviceUnavailable, plugin
from .host import RuntimeFailure

Array = np.ndarray[Any, Any]
_HERE = pathlib.Path(__file__).parent
_WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-pedantic")
#: Program → Debian packages that have it.
_TOOLS = {
    "qemu-system-arm": "qemu-system-arm",
    "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
}


@dataclasses.dataclass(frozen=True)
class Core:
    """A core on a board that QEMU emulates: compiler flags, and where its code and data go."""

    machine: str
    flags: tuple[str, ...]
    code: int
    data: int
    stack_top: int


CORES = {
    "cortex-m0": Core("microbit", ("-mcpu=cortex-m0",), 0x0, 0x20000000, 0x20004000),
    "cortex-m3": Core("mps2-an385", ("-mcpu=cortex-m3",), 0x0, 0x20000000, 0x20020000),
    "cortex-m4": Core("mps2-an386", ("-mcpu=cortex-m4", "-mfloat-abi=soft"), 0x0, 0x20000000, 0x20020000),
    "cortex-m7": Core("mps2-an500", ("-mcpu=cortex-m7", "-mfloat-abi=soft"), 0x0, 0x20000000, 0x20020000),
    "cortex-m55": Core("mps3-an547", ("-mcpu=cortex-m55", "-mfloat-abi=hard"), 0x0, 0x20000000, 0x20020000),
}


@dataclasses.dataclass(frozen=True)
class Run:
    """What a core gave.

    Attributes:
        outputs: `(steps, bytes)`: outputs, then new states, in the file's order.
        instructions: of one step, the average of all (their number hardly depends on data); 0 on the host.
        code: bytes of instructions in the object, without constants.
        constants: bytes of constants.
    """

    outputs: Array
    instructions: int
    code: int
    constants: int


@functools.cache
def unavailable() -> str | None:
    """Why the emulated cores cannot be used, None where they can."""
    missing = [program for program in _TOOLS if shutil.which(program) is None]
    if not missing:
        return None
    packages = " ".join(_TOOLS[program] for program in missing)
    return f"Expected {', '.join(missing)}, got none; try apt-get install --no-install-recommends {packages}"


def run(sources: Sources, graph: Graph, inputs: Array, *, core: str | None = None, reset: int = -1) -> Run:
    """Steps through inputs.

    Args:
        sources: from `compile_step`.
        graph: of the same file, for names and sizes.
        inputs: int8 `(steps, bytes)`, all inputs of a step one after the other.
        core: one of `CORES`; None compiles for this machine with sanitizers that stop at undefined behaviour.
        reset: step before which the state is reset.

    Raises:
        DeviceUnavailable: a program is missing.
        RuntimeFailure: it did not compile or run.
    """
    if core is not None and unavailable():
        raise DeviceUnavailable(str(unavailable()))
    with scratch() as folder:
        (folder / "kgp_model.c").write_text(sources.source, encoding="utf-8")
        (folder / "kgp_model.h").write_text(sources.header, encoding="utf-8")
        (folder / "main.c").write_text(_main(graph, inputs, reset, host=core is None), encoding="utf-8")
        width = sum(end.size for end, _ in (*graph.outputs, *graph.states))
        return _on_host(folder, width) if core is None else _on_core(folder, width, CORES[core])


def _on_host(folder: pathlib.Path, width: int) -> Run:
    checks = ("-O1", "-fsanitize=undefined,address", "-fno-sanitize-recover")
    _do(folder, "gcc", *_WARNINGS, *checks, "-c", "kgp_model.c")
    _do(folder, "gcc", "-std=c99", *checks, "main.c", "kgp_model.o", "-o", "main")
    said = _do(folder, "./main")
    return Run(_parsed(said, width), 0, 0, 0)


def _on_core(folder: pathlib.Path, width: int, core: Core) -> Run:
    gcc = ("arm-none-eabi-gcc", *core.flags, "-mthumb")
    _do(folder, *gcc, *_WARNINGS, "-O2", "-ffunction-sections", "-c", "kgp_model.c")
    (folder / "link.ld").write_text(
        f"""ENTRY(kgp_start)
SECTIONS {{
  . = {core.code:#x};
  .text : {{ KEEP(*(.vectors)) *(.text*) *(.rodata*) }}
  . = {core.data:#x};
  .bss : {{ *(.data*) *(.bss*) *(COMMON) }}
  kgp_stack_top = {core.stack_top:#x};
}}
""",
        encoding="utf-8",
    )
    startup = str(_HERE / "bare_metal.c")
    link = ("-nostartfiles", "-T", "link.ld", "main.c", startup, "kgp_model.o", "-lc", "-lgcc", "-o", "main.elf")
    _do(folder, *gcc, "-std=gnu99", "-O1", *link)
    command = ("qemu-system-arm", "-M", core.machine, "-kernel", "main.elf", "-nographic", "-monitor", "none")
    assembly = _do(folder, "arm-none-eabi-objdump", "-d", "main.elf")
    call = re.search(r"^\s*([0-9a-f]+):.*\tbl\t.*<kgp_step>", assembly, re.MULTILINE)
    assert call is not None
    counting = ("-plugin", f"{plugin()},call=0x{call[1]},out=counts")
    quiet = ("-serial", "none", "-semihosting-config", "enable=on,target=native")
    outputs = _parsed(_do(folder, *command, *quiet, *counting), width)
    total = sum(int(line.split()[1]) for line in (folder / "counts").read_text().splitlines())
    sizes = _do(folder, "arm-none-eabi-size", "-A", "kgp_model.o").splitlines()
    rows = [line.split() for line in sizes if line.startswith(".")]
    code = sum(int(row[1]) for row in rows if row[0].startswith(".text"))
    constants = sum(int(row[1]) for row in rows if row[0].startswith(".rodata"))
    return Run(outputs, round(total / len(outputs)), code, constants)


def _do(folder: pathlib.Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeFailure(f"Expected {command[0]} to succeed, got: {done.stderr.strip()[-1500:]}", done.returncode)
    return done.stdout + done.stderr


def _parsed(said: str, width: int) -> Array:
    lines = [line.split() for line in said.splitlines()]
    written = bytes.fromhex("".join(line[1] for line in lines if line[:1] == ["y"]))
    return np.frombuffer(written, np.int8).reshape(-1, width)


def _main(graph: Graph, inputs: Array, reset: int, *, host: bool) -> str:
    """A program that prints the bytes of every step's outputs and states."""
    steps, width = inputs.shape
    offset, arguments = 0, ""
    for end in graph.inputs:
        arguments += f", x[t] + {offset}"
        offset += end.size
    offset = 0
    for end, _ in graph.outputs:
        arguments += f", y + {offset}"
        offset += end.size
    rows = ",\n".join("{" + ",".join(map(str, row)) + "}" for row in inputs)
    printed = "fputs(text, stdout)" if host else "kgp_say(text)"
    return f"""#include "kgp_model.h"
{"#include <stdio.h>" if host else "void kgp_say(const char *text);"}
static const int8_t x[{steps}][{width}] = {{
{rows}
}};
static void hex(const int8_t *bytes, int n)
{{
    static const char digits[] = "0123456789abcdef";
    char text[3] = "..";
    int i;
    for (i = 0; i < n; i++) {{
        text[0] = digits[(uint8_t)bytes[i] >> 4];
        text[1] = digits[bytes[i] & 15];
        {printed};
    }}
}}
static void line(const char *text) {{ {printed}; }}
int main(void)
{{
    static struct kgp_state state;
    static int8_t y[{offset}];
    int t;
    kgp_init(&state);
    for (t = 0; t < {steps}; t++) {{
        if (t == {reset})
            kgp_reset(&state);
        kgp_step(&state{arguments});
        line("y ");
        hex(y, {offset});
        hex((const int8_t *)&state, (int)sizeof state);
        line("\\n");
    }}
    return 0;
}}
"""
