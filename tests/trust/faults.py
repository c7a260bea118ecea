"""What is left of an export that was killed, starved, interrupted or had its directory taken away.

A result is whole if every file that its report.json names is there with its SHA-256, and its model runs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from keras_gru_plus_export import contents
from keras_gru_plus_export.directory import replaced_directory

from .check import Check, Counts

#: Makes the models that are exported, and a result that stands for an earlier one.
_PREPARATION = """
import sys, keras, numpy as np, keras_gru_plus as kgp
keras.utils.set_random_seed(3)
layers = [kgp.GRUPlus(4, variant="mgu", name="gru"), keras.layers.Dense(3, activation="softmax", name="classes")]
model = keras.Sequential([keras.Input((12, 5), name="signal"), *layers], name="small")
x = np.random.default_rng(0).normal(0, 1, (40, 12, 5)).astype("float32")
np.savez("data.npz", x=x, y=np.arange(40) % 3)
kgp.calibrate(kgp.quantize_aware(model), x).save("quantized.keras")
"""
#: Writes results into one directory until it is killed: argv: directory, whether directories can be exchanged.
_WRITER = """
import hashlib, json, os, sys
from pathlib import Path
from keras_gru_plus import atomic
from keras_gru_plus_export.directory import replaced_directory
if sys.argv[2] == "renamed":  # as on a file system that cannot exchange
    atomic._renameat2 = lambda: None
while True:
    with replaced_directory(sys.argv[1], force=True) as folder:
        files = {f"{i}/part": os.urandom(2000) for i in range(5)}
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        atomic.write_files(folder, {**files, "report.json": json.dumps({"outputs": hashes}).encode()})
    print("written", flush=True)
"""
#: Seconds after which a command is taken to hang.
PATIENCE = 300


@dataclasses.dataclass(frozen=True)
class Setup:
    """Files that all cases share: model and data, an earlier result, and how long an export took, in seconds."""

    folder: Path
    earlier: Path
    seconds: float


@functools.cache
def setup() -> Setup:
    keeper = tempfile.TemporaryDirectory(prefix="kgp-trust-")  # until the process ends
    folder = Path(keeper.name)
    _KEPT.append(keeper)
    subprocess.run([sys.executable, "-c", _PREPARATION], cwd=folder, capture_output=True, check=True)
    times = []
    for mode in ("stateful", "sequence"):  # the earlier result is another than the new one
        start = time.monotonic()
        done = subprocess.run(_command(folder, folder / mode, mode), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        times.append(time.monotonic() - start)
    return Setup(folder, folder / "stateful", times[-1])


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


def _command(folder: Path, out: Path, mode: str = "sequence", *more: str) -> list[str]:
    files = (str(folder / "quantized.keras"), "--evaluate", str(folder / "data.npz"))
    return [sys.executable, "-m", "keras_gru_plus.cli", "export", *files, "--mode", mode, "--out", str(out), *more]


@dataclasses.dataclass
class Run:
    """An export in a process group of its own, into `place / "out"`, with temporary files in `place / "tmp"`."""

    place: Path
    process: subprocess.Popen[str]
    earlier: str | None

    @property
    def out(self) -> Path:
        return self.place / "results" / "out"

    def ended(self, patience: float = PATIENCE) -> tuple[int, str]:
        """Exit code and stderr."""
        _, stderr = self.process.communicate(timeout=patience)
        return self.process.returncode, stderr

    def children(self) -> list[int]:
        """Processes that it started, and theirs."""
        parents: dict[int, int] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        found = [self.process.pid]
        for one in found:
            found += [child for child, parent in parents.items() if parent == one]
        return found[1:]


@contextlib.contextmanager
def export(earlier: bool, place: Path | None = None, temporary: Path | None = None) -> Iterator[Run]:
    """A running export; whatever is left of it is gone after the block."""
    own = place is None
    place = Path(tempfile.mkdtemp(prefix="kgp-trust-")) if place is None else place
    (place / "results").mkdir(exist_ok=True)
    (place / "tmp").mkdir(exist_ok=True)
    out = place / "results" / "out"
    if earlier and not out.exists():
        shutil.copytree(setup().earlier, out)
    more = ("--force",) if earlier else ()
    environment = {**os.environ, "TMPDIR": str(temporary or place / "tmp")}
    environment.pop("KGP_DEBUG", None)
    process = subprocess.Popen(
        _command(setup().folder, out, "sequence", *more),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
        # A shell that started the tests in the background had interrupts ignored, which children inherit.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield Run(place, process, _state(out) if earlier else "nothing")
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if own:
            shutil.rmtree(place, ignore_errors=True)


@functools.cache
def _known() -> dict[str, str]:
    """Hash of report.json → which result it is: the same export gives the same bytes."""
    return {_digest(setup().folder / mode): name for mode, name in (("stateful", "old"), ("sequence", "new"))}


def _digest(folder: Path) -> str:
    return (folder / contents.REPORT).read_text(encoding="utf-8")


def _state(out: Path) -> str:
    """ "nothing", "old", "new", or what is wrong."""
    if not out.exists():
        return "nothing"
    try:
        report, wrong = contents.check(out)
    except (ValueError, OSError) as error:
        return f"broken: {error}"
    if wrong:
        return f"broken: {wrong}"
    if "files" not in report:
        return "whole"
    from keras_gru_plus import runtime

    for file in report["files"]:
        runtime.load(out / file["name"])
    return _known().get(_digest(out), f"another result than {list(_known().values())}")


def _litter(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "out")


def _outcome(run: Run, allowed: tuple[str, ...]) -> str | None:
    """What is wrong after a run that ended, None if nothing."""
    state = _state(run.out)
    if state not in allowed:
        return f"expected {' or '.join(allowed)}, got {state}"
    return None


def _left_behind(run: Run, killed: bool) -> str | None:
    """What is wrong with what lies beside the result; after a kill the next run has to tidy it up."""
    if killed:
        with contextlib.suppress(FileExistsError), replaced_directory(run.out, force=False) as folder:
            (folder / contents.REPORT).write_text("{}")
        from keras_gru_plus import atomic

        atomic.tidy(run.place / "tmp" / "keras-gru-plus")
    beside = _litter(run.place / "results")
    # TensorFlow's and Python's own are not ours to clean up.
    ours = [name for name in _litter(run.place / "tmp") if "kgp" in name or "keras" in name]
    return f"left behind: {beside + ours}" if beside + ours else None


def _alone(children: list[int]) -> str | None:
    """Whether children of a killed run live on; they end when they see that nobody listens."""
    alive: list[int] = []
    for _ in range(600):
        alive = [pid for pid in children if _runs(pid)]
        if not alive:
            return None
        time.sleep(0.1)
    return f"children still run: {alive}"


def _runs(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


# -- checks ------------------------------------------------------------------------------------------


def exchanges(cases: int, seed: int) -> Counts:
    """Kills a process that does nothing but replace one directory; on every other case without RENAME_EXCHANGE."""
    counts, rng = Counts(), random.Random(seed)
    restored = moved = 0
    # In memory, where nearly all the time is spent in the exchange and not in waiting for a disk.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="kgp-trust-", dir=memory) as name:
        out = Path(name, "out")
        for case in range(cases):
            way = ("exchanged", "renamed")[case % 2]
            command = [sys.executable, "-c", _WRITER, str(out), way]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None  # nobody reads on: a full pipe holds 8,000 lines
                process.stdout.readline()
                time.sleep(rng.uniform(0, 0.02))
                process.kill()
            counts.cases += 1
            before = out.exists()
            if way == "exchanged" and not before:
                counts.fail(f"seed {seed}, case {case}: the result was out of its place")
            moved += bool(_litter(Path(name)))
            from keras_gru_plus import atomic

            atomic.tidy(out)
            restored += not before and out.exists()
            state = _state(out)
            if state != "whole":
                counts.fail(f"seed {seed}, case {case}, {way}: {state}")
            if left := _litter(Path(name)):
                counts.fail(f"seed {seed}, case {case}, {way}: left behind {left}")
    counts.figures = {"killed with a workspace": moved, "put back": restored}
    return counts


def kills(cases: int, seed: int) -> Counts:
    """SIGKILL to the whole command; most of the moments are near the end, where the directory takes its place."""
    counts, rng = Counts(), random.Random(seed)
    states = {"nothing": 0, "old": 0, "new": 0}
    for case in range(cases):
        earlier, whole = rng.random() < 0.6, rng.random() < 0.35
        delay = rng.uniform(0, setup().seconds) if whole else rng.expovariate(80)
        with export(earlier) as run:
            if not whole:
                _await_writing(run)
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.process.wait(timeout=delay)
            children = run.children()
            group = rng.random() < 0.5
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if group else os.kill)(run.process.pid, signal.SIGKILL)
            run.process.wait()
            counts.cases += 1
            where = f"seed {seed}, case {case} ({'' if whole else 'writing + '}{delay:.4f} s, earlier {earlier})"
            allowed = ("old" if earlier else "nothing", "new")
            state = _state(run.out)
            states[state] = states.get(state, 0) + 1
            for wrong in (_outcome(run, allowed), _alone(children), _left_behind(run, killed=True)):
                if wrong:
                    counts.fail(f"{where}: {wrong}")
    counts.figures = {f"afterwards {name}": number for name, number in states.items()}
    return counts


def _await_writing(run: Run) -> None:
    """Until the new directory has its first file, or the run is over."""
    deadline = time.monotonic() + PATIENCE
    while run.process.poll() is None and time.monotonic() < deadline:
        if any((run.place / "results").glob(".out.kgp-*/new/*")):
            return
        time.sleep(0.0005)


def interrupts(cases: int, seed: int) -> Counts:
    """SIGINT, SIGTERM and SIGHUP to the command or its whole group, once the command has begun."""
    counts, rng = Counts(), random.Random(seed)
    codes = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
    for case in range(cases):
        earlier, whole = rng.random() < 0.5, rng.random() < 0.6
        number = rng.choice(list(codes))
        delay = rng.uniform(0, setup().seconds) if whole else rng.expovariate(80)
        group = rng.random() < 0.5
        with export(earlier) as run:
            if whole:
                _await(run, lambda run: any((run.place / "results").glob(".out.kgp-*")))
            else:
                _await_writing(run)
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.process.wait(timeout=delay)
            late = _state(run.out) == "new"
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if group else os.kill)(run.process.pid, number)
            code, stderr = run.ended()
            counts.cases += 1
            where = f"seed {seed}, case {case} ({number.name}, {delay:.4f} s, earlier {earlier}, group {group})"
            allowed = ("old" if earlier else "nothing", "new")
            # Python takes its handlers away at its end.
            finished = code in (0, -number) and _state(run.out) == "new" and (late or code == 0)
            if not finished and (code != codes[number] or "Interrupted" not in stderr):
                counts.fail(f"{where}: exit code {code}, stderr {stderr[-300:]!r}")
            if "as it was" in stderr and _state(run.out) == "new":
                counts.fail(f"{where}: said that nothing was written, but it was")
            for wrong in (_outcome(run, allowed), None if finished else _left_behind(run, killed=False)):
                if wrong:
                    counts.fail(f"{where}: {wrong}")
            if "Traceback" in stderr:
                counts.fail(f"{where}: traceback {stderr[-300:]!r}")
    return counts


def _await(run: Run, there: Callable[[Run], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while run.process.poll() is None and time.monotonic() < deadline and not there(run):
        time.sleep(0.002)


def _refused(code: int, stderr: str, words: tuple[str, ...]) -> str | None:
    """What is wrong with how a command said that it failed."""
    lines = [line for line in stderr.splitlines() if line.strip() and not line.startswith("•")]
    if code != 2 or len(lines) != 1 or not lines[0].startswith("error: "):
        return f"expected exit code 2 and one line, got {code} and {stderr[-400:]!r}"
    return None if any(word in lines[0] for word in words) else f"the message does not say why: {lines[0]!r}"


def full_disks(cases: int, seed: int) -> Counts:
    """A tmpfs with less room than is needed, for the results or for temporary files."""
    counts, rng = Counts(), random.Random(seed)
    for case in range(cases):
        earlier, temporary = rng.random() < 0.5, rng.random() < 0.4
        kilobytes = 4 * rng.randrange(1, 40) if temporary else 4 * rng.randrange(1, 25)
        place = Path(tempfile.mkdtemp(prefix="kgp-trust-"))
        small = place / ("tmp" if temporary else "results")
        small.mkdir()
        if earlier and not temporary:  # the earlier result takes its room as well
            kilobytes += sum(-(-path.stat().st_size // 4096) * 4 for path in setup().earlier.rglob("*"))
        _mount(small, kilobytes)
        try:
            with export(earlier, place) as run:
                code, stderr = run.ended()
                counts.cases += 1
                where = f"seed {seed}, case {case} ({small.name} of {kilobytes} kB, earlier {earlier})"
                if code == 0:
                    wrongs = [_outcome(run, ("new",))]
                else:
                    counts.refused += 1
                    wrongs = [_refused(code, stderr, ("room", "space"))]
                    wrongs.append(_outcome(run, ("old" if earlier else "nothing",)))
                wrongs.append(_left_behind(run, killed=False))
                for wrong in wrongs:
                    if wrong:
                        counts.fail(f"{where}: {wrong}")
        finally:
            subprocess.run(["umount", "--lazy", str(small)], check=True)
            shutil.rmtree(place, ignore_errors=True)
    return counts


def _mount(folder: Path, kilobytes: int) -> None:
    options = f"size={kilobytes}k,mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)


def cannot_mount() -> str | None:
    """Why no small file system can be made here."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("mount") is None:
        return "needs root, to mount small file systems"
    with tempfile.TemporaryDirectory(prefix="kgp-trust-") as folder:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, check=False
        )
        if done.returncode:
            return "not allowed to mount a file system"
        subprocess.run(["umount", folder], check=True)
    return None


def converters(cases: int, seed: int) -> Counts:
    """SIGKILL to the converter or a runtime at random moments, or too little memory for them."""
    counts, rng = Counts(), random.Random(seed)
    for case in range(cases):
        earlier, starved = rng.random() < 0.5, rng.random() < 0.4
        megabytes = rng.randrange(100, 3000)
        delay = rng.uniform(0, 0.7 * setup().seconds)
        with export(earlier) as run:
            _await(run, lambda run: bool(run.children()))
            if starved:
                for pid in run.children():
                    with contextlib.suppress(OSError):
                        resource.prlimit(pid, resource.RLIMIT_AS, (megabytes * 2**20,) * 2)
            else:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    run.process.wait(timeout=delay)
                for pid in run.children():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            code, stderr = run.ended()
            counts.cases += 1
            how = f"{megabytes} MB" if starved else f"killed after {delay:.3f} s"
            where = f"seed {seed}, case {case} ({how}, earlier {earlier})"
            if code == 0:
                wrongs = [_outcome(run, ("new",))]
            else:
                counts.refused += 1
                words = ("SIGKILL", "SIGABRT", "SIGSEGV", "emory", "alloc", "exit code", "map segment", "died")
                wrongs = [_refused(code, stderr, words), _outcome(run, ("old" if earlier else "nothing",))]
            wrongs.append(_left_behind(run, killed=False))
            for wrong in wrongs:
                if wrong:
                    counts.fail(f"{where}: {wrong}")
    return counts


def together(cases: int, seed: int) -> Counts:
    """Two exports into one directory at the same time, the second some time after the first."""
    counts, rng = Counts(), random.Random(seed)
    for case in range(cases):
        earlier, delay = rng.random() < 0.5, rng.choice((0.0, 0.0, rng.uniform(0, 0.3)))
        with export(earlier) as first:
            time.sleep(delay)
            with export(earlier, first.place) as second:
                found = [first.ended(), second.ended()]
            counts.cases += 1
            where = f"seed {seed}, case {case} ({delay:.3f} s, earlier {earlier})"
            codes = sorted(code for code, _ in found)
            wrongs = [_outcome(first, ("new",)), _left_behind(first, killed=False)]
            if codes != ([0, 0] if earlier else [0, 2]):
                wrongs.append(f"exit codes {codes}: {[stderr[-200:] for _, stderr in found]}")
            for code, stderr in found:
                if code:
                    counts.refused += 1
                    wrongs.append(_refused(code, stderr, ("to be new or empty",)))
            for wrong in wrongs:
                if wrong:
                    counts.fail(f"{where}: {wrong}")
    return counts


@contextlib.contextmanager
def _read_only(folder: Path) -> Iterator[None]:
    """A directory that nobody can write to, not even root."""
    view = folder.with_name("view")
    view.mkdir()
    with contextlib.ExitStack() as stack:
        # One that is in use cannot be made read-only, so another mount of it is put over it.
        for options in (("--bind", str(folder), str(view)), ("-o", "remount,bind,ro", str(view))):
            subprocess.run(["mount", *options], check=True)
            if "--bind" in options:
                stack.callback(subprocess.run, ["umount", str(view)], check=True)
        subprocess.run(["mount", "--bind", str(view), str(folder)], check=True)
        stack.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=True)
        yield


def _gone(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def _foreign(path: Path) -> None:
    _gone(path)
    path.mkdir(parents=True, exist_ok=True)
    (path / "mine.txt").write_text("mine")


def directories(cases: int, seed: int) -> Counts:
    """The output directory, what it is in, or the new one is removed or replaced while the export runs."""
    counts, rng = Counts(), random.Random(seed)
    kinds = ("out", "results", "workspace", "foreign", "read-only")
    for case in range(cases):
        kind, earlier = kinds[case % len(kinds)], rng.random() < 0.5
        if kind == "read-only" and cannot_mount():
            kind = "out"
        near, delay = rng.random() < 0.5, rng.uniform(0, 0.7 * setup().seconds)
        with export(earlier) as run, contextlib.ExitStack() as stack:
            results = run.place / "results"
            if near:
                _await_writing(run)
                delay = rng.expovariate(200)
            else:
                _await(run, lambda run: any((run.place / "results").glob(".out.kgp-*")))
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.process.wait(timeout=delay)
            late = run.process.poll() is not None or _state(run.out) == "new"
            if kind == "read-only":
                stack.enter_context(_read_only(results))
            elif kind == "workspace":
                for folder in results.glob(".out.kgp-*"):
                    _gone(folder)
            else:
                {"out": _gone, "results": _gone, "foreign": _foreign}[kind](results if kind == "results" else run.out)
            code, stderr = run.ended()
            state = _state(run.out)
            counts.cases += 1
            where = f"seed {seed}, case {case} ({kind} {'writing + ' * near}{delay:.4f} s, earlier {earlier})"
            counts.refused += code == 2
            wrong = None if code in (0, 2) else f"exit code {code}: {stderr[-300:]!r}"
            if code == 2:
                wrong = _refused(code, stderr, ("to be", "to write", "to stay", "room"))
            ours = "old" if earlier else "nothing"
            # What was there may be what was removed, or what the exporter had just written.
            allowed = {
                "out": ("new", "nothing"),
                "results": ("nothing", "new"),
                "workspace": (ours, "new"),
                "read-only": (ours, "new"),
                "foreign": ("new",),
            }[kind]
            mine = (run.out / "mine.txt").is_file()
            if kind == "foreign" and state not in allowed and not mine:
                wrong = wrong or f"expected the foreign file or the new result, got {state}"
            if kind != "foreign" and state not in allowed:
                wrong = wrong or f"expected {' or '.join(allowed)}, got {state}"
            if code == 0 and not late and state != "new" and kind not in ("out", "results", "foreign"):
                wrong = wrong or f"exit code 0, but {state}"
            if wrong:
                counts.fail(f"{where}: {wrong}")
    return counts


CHECKS = {
    "exchanged_directories": Check(
        "A process that is killed while it replaces a directory leaves the old one whole or the new one; where "
        "directories cannot be exchanged the next run puts the old one back.",
        exchanges,
        quick=12,
        sample=200,
        whole=5000,
    ),
    "killed_exports": Check(
        "An export killed by SIGKILL leaves the old result whole, or the new one, or nothing where nothing was; its "
        "children end, and the next run removes what it left.",
        kills,
        quick=0,
        sample=6,
        whole=200,
    ),
    "interrupted_exports": Check(
        "Ctrl-C, SIGTERM and SIGHUP leave the old result or the new one and nothing beside it, say so, and give exit "
        "code 130, 143 and 129.",
        interrupts,
        quick=0,
        sample=4,
        whole=60,
    ),
    "full_disks": Check(
        "With the disk full, of results or of temporary files, an export says so with exit code 2 and leaves the old "
        "result.",
        full_disks,
        quick=0,
        sample=4,
        whole=60,
        missing=cannot_mount,
    ),
    "killed_converters": Check(
        "A converter or runtime that is killed or runs out of memory is one message and exit code 2, and the old "
        "result is whole.",
        converters,
        quick=0,
        sample=4,
        whole=60,
    ),
    "two_exports": Check(
        "Of two exports into one directory at the same time one result is there, whole; without --force the other "
        "says that it came too late.",
        together,
        quick=0,
        sample=2,
        whole=30,
    ),
    "lost_directories": Check(
        "An output directory that is removed, replaced or made read-only during an export is one message and exit "
        "code 2, or the new result is there, whole; files of others stay.",
        directories,
        quick=0,
        sample=5,
        whole=60,
    ),
}
