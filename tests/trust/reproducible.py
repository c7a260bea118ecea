"""The same model, data, recipe and versions give the same bytes: in another process, place, language and order."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from keras_gru_plus import cells
from keras_gru_plus_export import contents

from .check import Check, Counts

#: Saves the models: argv: folder with cases.json.
_PREPARATION = """
import json, sys
from pathlib import Path
import keras, numpy as np, keras_gru_plus as kgp
folder = Path(sys.argv[1])
for i, case in enumerate(json.loads((folder / "cases.json").read_text())):
    keras.utils.set_random_seed(i)
    layers = [
        kgp.GRUPlus(case["units"], variant=case["variant"], name="gru", return_sequences=case["stacked"],
                    bias_initializer=keras.initializers.RandomNormal(0, 0.3, seed=1)),
        *([kgp.GRUPlus(5, variant="mgu", name="second")] if case["stacked"] else []),
        keras.layers.Dense(3, activation="softmax", name="classes"),
    ]
    keras.Sequential([keras.Input((12, 5), name="signal"), *layers], name="size").save(folder / f"{i}.keras")
x = np.random.default_rng(0).normal(0, 1, (300, 12, 5)).astype("float32")
x[..., 2:4] = x[..., 2:4] > 0  # masks, for the variant that wants some
x[..., 4] = np.abs(x[..., 4])
np.savez(folder / "data.npz", x=x, y=np.arange(300) % 3)
"""
#: Exports them: argv: folder, output folder, 1 or -1 for the order.
_EXPORTS = """
import json, sys
from pathlib import Path
from keras_gru_plus_export import export
from keras_gru_plus_export.models import load_model
folder, out = Path(sys.argv[1]), Path(sys.argv[2])
said = {}
for i, case in list(enumerate(json.loads((folder / "cases.json").read_text(encoding="utf-8"))))[:: int(sys.argv[3])]:
    data = {"calibration": folder / "data.npz", "evaluation": folder / "data.npz"}
    options = {key: case[key] for key in ("mode", "target", "recipe", "io", "extras", "steps_per_iteration")}
    try:
        export(load_model(folder / f"{i}.keras"), out / str(i), labels=["ruhig", "größer", "日本"], **data,
               **{**options, "extras": tuple(options["extras"])})
    except (ValueError, RuntimeError) as error:
        said[i] = str(error)
(out / "refused.json").write_text(json.dumps(said, sort_keys=True))
"""
#: Locales in which numbers, letters or encodings are others than in C.
LOCALES = (("tr_TR", "UTF-8"), ("de_DE", "ISO-8859-1"))
_MATPLOTLIBRC = "font.size: 20\naxes.grid: True\nsvg.fonttype: path\naxes.formatter.use_locale: True\n"


def _case(number: int, rng: random.Random) -> dict[str, Any]:
    """What to export: all variants in turn, all else drawn."""
    variants = sorted(cells.VARIANTS)
    mode, target = rng.choice(("sequence", "step", "stateful")), rng.choice(("litert", "tflm"))
    recipe = rng.choice(("int8", "int8", "int8_per_channel", "int16x8", "float16", "none"))
    target = "litert" if recipe in ("float16", "none") else target
    io = "int8" if rng.random() < 0.7 else "float"
    extras = ["web"] if rng.random() < 0.4 else []
    extras += ["c"] if mode == "step" and io == "int8" and recipe.startswith("int8") else []
    extras += ["arduino"] if target == "tflm" and io == "int8" else []
    return {
        "variant": variants[number % len(variants)],
        "units": rng.choice((4, 7, 64)),
        "mode": mode,
        "target": target,
        "recipe": recipe,
        "io": io,
        "extras": extras,
        "stacked": rng.random() < 0.3,
        "steps_per_iteration": rng.choice((1, 1, 4)) if mode == "sequence" else 1,
    }


def _locales(folder: Path) -> list[str]:
    """Names of locales for LC_ALL: built ones in `folder` where the system can, and those that every system has."""
    found = ["C", "POSIX"]
    for language, encoding in LOCALES:
        name = f"{language}.{encoding}"
        command = ["localedef", "-i", language, "-f", encoding, "--no-archive", str(folder / name)]
        if shutil.which("localedef") and subprocess.run(command, capture_output=True, check=False).returncode <= 1:
            found.insert(0, name)
    return found


def _elsewhere(folder: Path, rng: random.Random) -> tuple[dict[str, str], list[str], Path]:
    """Another environment, what the command begins with there, and the current directory."""
    home, here = folder / "home", folder / "other place" / "ä"
    (home / "matplotlib").mkdir(parents=True)
    here.mkdir(parents=True)
    for place in (home / "matplotlib", here):
        (place / "matplotlibrc").write_text(_MATPLOTLIBRC)
    locale = rng.choice(_locales(folder)[:2])
    threads = rng.choice(("1", "3"))
    environment = {
        **os.environ,
        # What is installed stays the same: the emulated device lies in the cache.
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"),
        "HOME": str(home),
        "USER": "other",
        "LOGNAME": "other",
        "MPLCONFIGDIR": str(home / "matplotlib"),
        "TZ": rng.choice(("Asia/Kathmandu", "America/St_Johns")),
        "LC_ALL": locale,
        "LANG": locale,
        "LOCPATH": str(folder),
        "PYTHONHASHSEED": str(rng.randrange(2**32)),
        "SOURCE_DATE_EPOCH": "1",
        "OMP_NUM_THREADS": threads,
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": threads,
    }
    begin = ["sh", "-c", f'umask {rng.choice(("077", "002"))}; exec "$@"', "sh"]
    named = ["unshare", "--uts", "sh", "-c", 'hostname elsewhere; exec "$@"', "sh"]
    if shutil.which("unshare") and subprocess.run([*named, "true"], capture_output=True, check=False).returncode == 0:
        begin = [*named, *begin]
    return environment, begin, here


def _different(one: Path, other: Path) -> list[str]:
    """Files of two bundles that differ, or that only one has."""
    found = {
        path.relative_to(place).as_posix() for place in (one, other) for path in place.rglob("*") if path.is_file()
    }
    return [
        name
        for name in sorted(found)
        if not (one / name).is_file()
        or not (other / name).is_file()
        or (one / name).read_bytes() != (other / name).read_bytes()
    ]


def bundles(cases: int, seed: int) -> Counts:
    """Exports each model in two processes that have nothing in common but what they are given."""
    counts, rng = Counts(), random.Random(seed)
    every = [_case(number + seed, rng) for number in range(cases)]
    files = 0
    with tempfile.TemporaryDirectory(prefix="kgp-trust-") as name:
        folder = Path(name)
        (folder / "cases.json").write_text(json.dumps(every), encoding="utf-8")
        subprocess.run([sys.executable, "-c", _PREPARATION, name], capture_output=True, check=True)
        usual = {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "0"}
        environment, begin, here = _elsewhere(folder, rng)
        ways = ((folder / "one", usual, [], folder, "1"), (here / "two", environment, begin, here, "-1"))
        for out, variables, first, place, order in ways:
            out.mkdir()
            command = [*first, sys.executable, "-W", "ignore", "-c", _EXPORTS, name, str(out), order]
            done = subprocess.run(command, cwd=place, env=variables, capture_output=True, check=False)
            if done.returncode:
                counts.fail(
                    f"seed {seed}: exit code {done.returncode}: {done.stderr.decode(errors='replace')[-500:]}"
                )
                return counts
        one, two = folder / "one", here / "two"
        refused = [json.loads((place / "refused.json").read_text()) for place in (one, two)]
        for number, case in enumerate(every):
            counts.cases += 1
            words = [said.get(str(number)) for said in refused]
            if words[0] is not None and words[0] == words[1]:
                counts.refused += 1
                continue
            where = f"seed {seed}, case {number} {case} in {environment['LC_ALL']}"
            if words != [None, None]:
                counts.fail(f"{where}: refused in one of the two: {words}")
            elif different := _different(one / str(number), two / str(number)):
                counts.fail(f"{where}: {different} differ")
            elif wrong := contents.check(one / str(number))[1]:
                counts.fail(f"{where}: {wrong}")
            else:
                files += len(contents.check(one / str(number))[0]["outputs"]) + 1
    if counts.refused == counts.cases:
        counts.fail(f"seed {seed}: all were refused, the first with {words}")
    counts.figures = {"files compared": files}
    return counts


CHECKS = {
    "reproducible_bundles": Check(
        "The same model, data, recipe and versions give the same bytes of all files of a bundle: in another process, "
        "directory, order, time zone, language, user, host name, umask and number of threads.",
        bundles,
        quick=0,  # three processes with TensorFlow
        sample=8,
        whole=192,
    ),
}
