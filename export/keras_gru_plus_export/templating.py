"""The templates of pages and of sources, all with the same rules."""

from __future__ import annotations

from pathlib import Path

import jinja2

TEMPLATES = Path(__file__).parent / "templates"


def environment(folder: Path = TEMPLATES, *, escape: bool) -> jinja2.Environment:
    """Templates of a folder, where a name that is not given is an error.

    Args:
        folder: with the templates.
        escape: for HTML, not for sources.
    """
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=escape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
