"""Extra `c`: one time step as two C99 files without any dependency."""

from __future__ import annotations

from ..standalone import compile_step
from .context import Context


def files(context: Context) -> dict[str, str | bytes]:
    """`c/kgp_model.c` and `c/kgp_model.h`.

    Raises:
        Unsupported: the file holds something that there is no C for.
    """
    sources = compile_step(context.data, context.labels)
    return {"c/kgp_model.c": sources.source, "c/kgp_model.h": sources.header}
