"""Writing a benchmark's result as JSON and as a Markdown table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from keras_gru_plus_export.report import versions

RESULTS = Path(__file__).parent / "results"


README = Path(__file__).parent.parent / "README.md"


def percent(values: np.ndarray, reference: np.ndarray | None) -> str:
    """Mean ± deviation of shares in %, and the mean difference to `reference` in points."""
    deviation = values.std(ddof=1) if len(values) > 1 else 0.0
    text = f"{100 * values.mean():.1f} ± {100 * deviation:.1f}"
    return text if reference is None else f"{text} ({100 * (values - reference).mean():+.2f})"


def write(name: str, rows: list[dict[str, Any]], note: str, details: Any = None) -> None:
    """`results/<name>.json` and `.md`, which the documentation shows, and the README's part of that name, if any."""
    RESULTS.mkdir(exist_ok=True)
    content = {"rows": rows, "versions": versions(), **({"values": details} if details else {})}
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
    heads = list(rows[0])
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    lines += [f"| {' | '.join(str(row.get(head, '')) for head in heads)} |" for row in rows]
    text = "\n".join([*lines, "", note, ""])
    (RESULTS / f"{name}.md").write_text(text)
    print(text)
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    readme = README.read_text()
    if begin in readme:
        before, rest = readme.split(begin)
        README.write_text(f"{before}{begin}\n\n{text}\n{end}{rest.split(end)[1]}")
