"""What MkDocs calls while it builds the site: the pages' generated parts, formulas and links to results.

A line `<!-- insert NAME -->` in a page becomes what is generated under that name; nothing of it is committed.
"""

from __future__ import annotations

import functools
import logging
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import commands
import passes
import variants
from mathml import MathML

LOG = logging.getLogger("mkdocs.hooks")
ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
INSERT = re.compile(r"^<!-- insert (\S+) -->$", re.MULTILINE)
#: Letters of a cell from which on a table breaks its lines.
LONG_CELL = 60
#: Links to tables as they work in the repository.
TO_RESULTS = re.compile(r"\]\((?:\.\./)*benchmarks/results/(\w+)\.md\)")

GENERATED: dict[str, Callable[[], str]] = {
    "commands": commands.page,
    "passes": passes.page,
    "variants": variants.page,
    "variants/costs": variants.overview,
}
_shown: set[str] = set()


def on_config(config: Any) -> Any:
    """Adds formulas to Markdown, in pages and in docstrings."""
    config.markdown_extensions.append(MathML())
    return config


def on_pre_build(config: Any) -> None:
    """Forgets the build before, where MkDocs serves and builds again."""
    _shown.clear()
    _made.cache_clear()


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Inserts what is generated."""
    markdown = INSERT.sub(lambda found: _part(found[1]), markdown)
    here = posixpath.dirname(page.file.src_uri) or "."
    to_page = posixpath.relpath("results.md", here)
    return TO_RESULTS.sub(lambda found: f"]({to_page}#{found[1]})", markdown)


def on_post_build(config: Any) -> None:
    """Every table of the benchmarks is to be on a page."""
    missing = sorted({file.stem for file in RESULTS.glob("*.md")} - _shown)
    if missing:
        LOG.warning(
            "Expected every table of benchmarks/results to be on a page, got none for %s.", ", ".join(missing)
        )


def _part(name: str) -> str:
    kind, _, rest = name.partition("/")
    if kind == "results":
        _shown.add(rest)
        return _table(rest)
    if kind == "figures":
        return _figures(rest)
    if name not in GENERATED:
        raise ValueError(
            f"Expected `insert` to name one of {', '.join(GENERATED)} results/… or figures/…, got {name!r}."
        )
    return _made(name)


@functools.cache
def _made(name: str) -> str:
    return GENERATED[name]()


def _table(name: str) -> str:
    """A table of results with its note; one that nobody has measured yet says so."""
    file = RESULTS / f"{name}.md"
    if not file.is_file():
        return f"Not measured for this version; `python benchmarks/run.py {name}` measures it."
    text = file.read_text(encoding="utf-8").strip()
    cells = [cell for line in text.splitlines() if line.startswith("|") for cell in line.split("|")]
    form = "results wrap" if max(map(len, cells)) > LONG_CELL else "results"
    return f'<div class="{form}" markdown="1">\n\n{text}\n\n</div>'


def _figures(example: str) -> str:
    """What an example wrote into its README between its markers."""
    text = (ROOT / "examples" / example / "README.md").read_text(encoding="utf-8")
    return text.split("<!-- figures -->")[1].split("<!-- end of figures -->")[0].strip()
