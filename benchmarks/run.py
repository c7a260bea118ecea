"""All benchmarks, or those named: python benchmarks/run.py [sizes] [accuracy] …; tables go to results/."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
BENCHMARKS = (
    "sizes",
    "accuracy",
    "variants",
    "training",
    "memory",
    "zoo",
    "stock",
    "runtime",
    "platforms",
    "cortex_m55",
    "variant_costs",
    "standalone_c",
    "inference",
    "gates",
    "examples",
)


def main() -> int:
    names = sys.argv[1:] or BENCHMARKS
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        print(f"Expected benchmarks among {', '.join(BENCHMARKS)}, got {', '.join(unknown)}.", file=sys.stderr)
        return 2
    for name in names:  # each in a process of its own, so that none warms up another
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        code = subprocess.run([sys.executable, str(HERE / f"{name}.py")], env=environment, check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
