"""Small rewrites of the flatbuffer; each does one thing and refuses what it does not understand."""

from __future__ import annotations


class PassError(ValueError):
    """A pass met a graph that it does not understand."""
