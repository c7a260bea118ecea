"""Takes the times of execution out of notebooks, which differ in every run: strip_times.py NOTEBOOK …"""

from __future__ import annotations

import sys

import nbformat


def main() -> None:
    """Rewrites each file."""
    for path in sys.argv[1:]:
        notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
