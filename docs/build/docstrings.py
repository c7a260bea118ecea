"""Brings the forms that this project's docstrings allow themselves into those that the reference knows."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

_JOINT = re.compile(r"^( +)(\w+(?:, \w+)+): (.+(?:\n\1 +\S.*)*)", re.MULTILINE)
_ARGS = re.compile(r"^Args: (.+(?:\n    (?!\w+:).+)*)", re.MULTILINE)
_CALL = re.compile(r"^Call arguments: (.+(?:\n    .+)*)", re.MULTILINE)
_RETURNS = re.compile(r"^Returns: (.+(?:\n    .+)*)", re.MULTILINE)


class Docstrings(Extension):
    """One entry for each of several arguments that share a line; text behind `Args:` and `Returns:`."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrites a docstring before it is parsed."""
        if obj.docstring is None:
            return
        text = _ARGS.sub(lambda m: f"Arguments are {_line(m[1])} those below.\n\nArgs:", obj.docstring.value)
        text = _CALL.sub(lambda m: f"Call arguments are {_line(m[1])}", text).replace("\nExample:\n", "\nExamples:\n")
        form = "It returns {}." if obj.is_class else "Returns:\n    {}"  # a class has no section for what calls give
        text = _RETURNS.sub(lambda m: form.format(_line(m[1]).rstrip(".")), text)
        head, arguments, rest = text.partition("\nArgs:\n")
        section, blank, tail = rest.partition("\n\n")
        section = _JOINT.sub(lambda m: "\n".join(f"{m[1]}{name}: {m[3]}" for name in m[2].split(", ")), section)
        obj.docstring.value = head + arguments + section + blank + tail


def _line(text: str) -> str:
    return " ".join(text.split())
