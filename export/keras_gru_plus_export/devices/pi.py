"""A Raspberry Pi under user-mode QEMU: Debian's Python for ARM, real wheels, no root and no hardware.

Outputs are those of the processor's instructions; times mean nothing.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class PiUnavailable(RuntimeError):  # noqa: N818 (what is unavailable is the board)
    """The emulated board lacks a program, or what it is made of cannot be had."""


@dataclasses.dataclass(frozen=True)
class Board:
    """A processor.

    Attributes:
        qemu: the program that emulates it.
        cpu: QEMU's name of it. Not "max": XNNPACK computes nonsense on that with QEMU 7.
        debian: Debian's name of the architecture.
        triplet: the same in the paths of libraries.
        wheels: platforms of wheels that fit, the newest first.
        packages: of Debian, beside Python.
    """

    qemu: str
    cpu: str
    debian: str
    triplet: str
    wheels: tuple[str, ...]
    packages: tuple[str, ...] = ()


BOARDS = {
    "aarch64": Board(
        *("qemu-aarch64-static", "cortex-a72", "arm64", "aarch64-linux-gnu"),
        tuple(f"manylinux{glibc}_aarch64" for glibc in ("_2_34", "_2_28", "_2_27", "_2_17", "2014")),
    ),
    # numpy has no wheels for it on PyPI.
    "armv7": Board(
        *("qemu-arm-static", "cortex-a7", "armhf", "arm-linux-gnueabihf"),
        tuple(f"manylinux{glibc}_armv7l" for glibc in ("_2_34", "_2_17", "2014")),
        ("python3-numpy",),
    ),
}
#: Which runtimes have wheels for which board, with the requirements that bring them.
REQUIREMENTS = {
    ("aarch64", "litert"): None,  # what the extra `edge` asks for
    ("aarch64", "tflite-runtime"): ("tflite-runtime==2.14.0", "numpy==1.26.4"),
    ("armv7", "tflite-runtime"): ("tflite-runtime==2.14.0",),
}
_PYTHON = "3.11"
_ARCHIVE = (
    "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main\n"
)
_TOOLS = {"apt-get": "apt", "dpkg-deb": "dpkg", "tar": "tar"}

#: Runs every file of a folder over its inputs, integers in and out.
_JOB = """
import pathlib, sys
import numpy as np
from keras_gru_plus import runtime
folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
found = {}
for path in sorted(folder.glob("*.tflite")):
    model = runtime.load(path, name)
    with np.load(path.with_suffix(".npz")) as archive:
        x = {key: archive[key] for key in archive.files}
    named = len(x) > 1
    pick = (lambda t: t) if named else (lambda t: next(iter(t.values())))
    if model.mode == "sequence":
        y = model.predict(pick(x), raw=True)
        y = y if isinstance(y, dict) else {model.outputs[0]: y}
    else:
        samples = []
        for sample in range(len(next(iter(x.values())))):
            model.reset()
            steps = range(len(next(iter(x.values()))[sample]))
            fed = (pick({key: array[sample, t] for key, array in x.items()}) for t in steps)
            samples.append(list(model.stream(fed, raw=True)))
        y = {
            key: np.array([[row[key] if isinstance(row, dict) else row for row in rows] for rows in samples])
            for key in model.outputs
        }
    found.update({path.stem + "/" + key: array for key, array in y.items()})
np.savez(folder / "outputs.npz", **found)
"""


def unavailable(board: str) -> str | None:
    """Why a board cannot be emulated here, None where it can (as far as one sees without a network)."""
    tools = {BOARDS[board].qemu: "qemu-user-static", **_TOOLS}
    missing = [program for program in tools if shutil.which(program) is None]
    if not missing:
        return None
    packages = " ".join(dict.fromkeys(tools[program] for program in missing))
    return (
        f"Expected {', '.join(missing)} for an emulated Raspberry Pi, got none; "
        f"try apt-get install --no-install-recommends {packages}"
    )


class Machine:
    """A board with Python, a runtime and this project's wheel, in a folder.

    Args:
        board: one of `BOARDS`.
        runtime: "litert" or "tflite-runtime".
        wheel: of this project.
        folder: for everything that is unpacked, 0.1–0.3 GB.

    Raises:
        PiUnavailable: a program is missing, or something cannot be fetched.
        ValueError: there are no wheels of this runtime for this board.
    """

    def __init__(self, board: str, runtime: str, wheel: pathlib.Path, folder: pathlib.Path) -> None:
        if (board, runtime) not in REQUIREMENTS:
            known = ", ".join("/".join(pair) for pair in REQUIREMENTS)
            raise ValueError(f"Expected one of {known}, got {board}/{runtime}.")
        reason = unavailable(board)
        if reason is not None:
            raise PiUnavailable(reason)
        self.board, self.runtime = BOARDS[board], runtime
        self.root, self.site = folder / "root", folder / "site"
        _unpack(self.board, self.root, folder)
        _describe_processor(self.root)
        self._install(wheel, REQUIREMENTS[board, runtime])

    def _install(self, wheel: pathlib.Path, requirements: tuple[str, ...] | None) -> None:
        if requirements is None:
            self._pip(f"{wheel}[edge]")
            return
        # Named here, because pip would look at this machine's Python to see whether the extra asks for them.
        self._pip("typer>=0.15", "rich>=13", *(each for each in requirements if each.startswith("numpy")))
        self._pip("--no-deps", str(wheel), *(each for each in requirements if not each.startswith("numpy")))

    def _pip(self, *arguments: str) -> None:
        platforms = [part for wheel in self.board.wheels for part in ("--platform", wheel)]
        options = ["--only-binary=:all:", "--implementation", "cp", "--python-version", _PYTHON, "--upgrade"]
        where = ["--target", str(self.site)]
        command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", *where]
        _call([*command, *platforms, *options, *arguments])

    def command(self, *arguments: str) -> list[str]:
        """The command line that runs the board's Python."""
        return [
            *(self.board.qemu, "-cpu", self.board.cpu, "-L", str(self.root)),
            *("-U", "PYTHONHOME", "-U", "VIRTUAL_ENV", "-E", f"PYTHONPATH={self.site}"),
            *(str(self.root / "usr/bin/python3.11"), *arguments),
        ]

    def python(self, *arguments: str, timeout: float = 300, stdin: str | None = None) -> str:
        """Stdout of the board's Python.

        Raises:
            RuntimeError: it failed or did not finish.
        """
        command = self.command(*arguments)
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=timeout, input=stdin, env=_environment(), check=False
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"Expected the board to finish in {timeout} s, got no answer") from None
        if done.returncode:
            raise RuntimeError(
                f"Expected the board's Python to end well, got {done.returncode}: {done.stderr[-800:]}"
            )
        return done.stdout

    def outputs(self, folder: pathlib.Path, runtime: str | None = None) -> dict[str, Array]:
        """Outputs of every `.tflite` in a folder over the `.npz` beside it; see `outputs`."""
        self.python("-c", _JOB, str(folder), runtime or self.runtime, timeout=1200)
        return _loaded(folder)


def outputs(python: str, folder: pathlib.Path, runtime: str) -> dict[str, Array]:
    """The same on this machine, for comparison.

    Args:
        python: interpreter of an environment with the runtime.
        folder: with `NAME.tflite` and `NAME.npz` (by input name, the file's integers, `(samples, timesteps, …)`).
        runtime: of `keras_gru_plus.runtime`.

    Returns:
        By `NAME/output`: `(samples, …)`, or `(samples, timesteps, …)` of files that take steps.
    """
    project = pathlib.Path(__file__).parents[3]
    found = str(project if (project / "keras_gru_plus").is_dir() else pathlib.Path(__file__).parents[2])
    environment = {**_environment(), "PYTHONPATH": found} if python != sys.executable else dict(os.environ)
    _call([python, "-c", _JOB, str(folder), runtime], environment)
    return _loaded(folder)


def built_wheel(folder: pathlib.Path) -> pathlib.Path:
    """This project's wheel, built from the sources that this file is in.

    Raises:
        PiUnavailable: there are none (an installed package), or pip cannot build it.
    """
    project = pathlib.Path(__file__).parents[3]
    _call([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(project)])
    return next(folder.glob("*.whl"))


def difference(found: Mapping[str, Array], wanted: Mapping[str, Array]) -> tuple[int, float]:
    """The largest difference between integers, and the share of those that differ."""
    assert found.keys() == wanted.keys()
    gaps = [np.abs(found[key].astype(np.int64) - wanted[key]).ravel() for key in found]
    every = np.concatenate(gaps)
    return int(every.max()), float((every > 0).mean())


def _loaded(folder: pathlib.Path) -> dict[str, Array]:
    with np.load(folder / "outputs.npz") as archive:
        found = {key: archive[key] for key in archive.files}
    (folder / "outputs.npz").unlink()
    return found


def _environment() -> dict[str, str]:
    """Without what would lead another Python to this one's packages."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}


def _unpack(board: Board, root: pathlib.Path, folder: pathlib.Path) -> None:
    """Debian's Python for the board, without chroot; this machine's own packages stay as they are."""
    state = folder / "apt"
    for name in ("lists/partial", "cache/archives/partial"):
        (state / name).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    (state / "sources.list").write_text(_ARCHIVE)
    settings = {
        "APT::Architecture": board.debian,
        "APT::Architectures": board.debian,
        "APT::Install-Recommends": "0",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Dir::Etc::sourcelist": state / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State": state,
        "Dir::State::lists": state / "lists",
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
    }
    apt = ["apt-get", "-qq", *(part for key, value in settings.items() for part in ("-o", f"{key}={value}"))]
    packages = ["python3.11-minimal", "libpython3.11-stdlib", "libstdc++6", "libgcc-s1", *board.packages]
    _call([*apt, "update"])
    _call([*apt, "-y", "--download-only", "install", *packages])
    (root / "usr/lib").mkdir(parents=True, exist_ok=True)
    (root / "lib").symlink_to("usr/lib")
    for package in sorted((state / "cache/archives").glob("*.deb")):
        content = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(package)], capture_output=True, check=True).stdout
        # dpkg's own unpacking would replace the link.
        command = ["tar", "-x", "-C", str(root), "--keep-directory-symlink"]
        subprocess.run(command, input=content, check=True)
    libraries = root / "usr/lib" / board.triplet
    for name in ("blas/libblas.so.3", "lapack/liblapack.so.3"):
        if (libraries / name).exists():  # what the packages' scripts would do
            (libraries / pathlib.Path(name).name).symlink_to(name)
    shutil.rmtree(state)


def _describe_processor(root: pathlib.Path) -> None:
    """A Pi 4's /proc/cpuinfo and /sys: QEMU shows the host's, which ai-edge-litert cannot read."""
    (root / "proc").mkdir(exist_ok=True)
    core = (
        "processor\t: {}\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU implementer\t: 0x41\n"
        "CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n\n"
    )
    (root / "proc/cpuinfo").write_text("".join(core.format(number) for number in range(4)))
    system = root / "sys/devices/system/cpu"
    facts = dict.fromkeys(("possible", "present", "online"), "0-3") | {"kernel_max": "255"}
    for number in range(4):
        topology = f"cpu{number}/topology"
        facts |= {f"{topology}/{name}": "0-3" for name in ("core_siblings_list", "package_cpus_list")}
        facts |= {f"{topology}/{name}": str(number) for name in ("core_id", "core_cpus_list")}
        facts |= {f"{topology}/thread_siblings_list": str(number), f"{topology}/physical_package_id": "0"}
        facts[f"{topology}/cluster_cpus_list"] = "0-3"
        facts[f"cpu{number}/cpufreq/cpuinfo_max_freq"] = "1500000"
        facts[f"cpu{number}/cpufreq/cpuinfo_min_freq"] = "600000"
    for name, text in facts.items():
        (system / name).parent.mkdir(parents=True, exist_ok=True)
        (system / name).write_text(f"{text}\n")


def _call(command: list[str], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-500:]
        raise PiUnavailable(f"Expected {command[0]} … {command[-1]!r} to end well, got {done.returncode}: {said}")
