"""Progress of long jobs: silent by default, bars in a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

Advance = Callable[[], None]


class Progress:
    """Says nothing; subclasses show."""

    def say(self, text: str) -> None:
        """One line about what happens next."""

    @contextlib.contextmanager
    def bar(self, text: str, total: int) -> Iterator[Advance]:
        """A bar of `total` steps; the block calls what it gets once a step."""
        yield lambda: None


class TerminalProgress(Progress):
    """Lines and bars on a rich console; plain lines where it is no terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, text: str) -> None:
        self.console.print(f"[dim]•[/dim] {text}", highlight=False)

    @contextlib.contextmanager
    def bar(self, text: str, total: int) -> Iterator[Advance]:
        if not self.console.is_terminal:
            self.say(text)
            yield lambda: None
            return
        columns = (
            TextColumn("[dim]•[/dim] {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Bars(*columns, console=self.console) as bars:
            task = bars.add_task(text, total=total)
            yield lambda: bars.advance(task)
