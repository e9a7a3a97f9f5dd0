"""How long work is shown: one bar per step in a terminal, lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

PLAIN_INTERVAL = 20.0
"""Seconds between two lines about one step where there is no terminal to draw a bar in."""


class Step(Protocol):
    """A running step, told how far it is. Any thread may call it."""

    def update(self, done: int, total: int) -> None: ...


class Reporter(Protocol):
    """Shows steps. A step is done when its context is left, failed when it is left by an exception."""

    def step(self, title: str) -> AbstractContextManager[Step]: ...


class TerminalReporter:
    """Draws a bar per step; several may run at once."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )

    def __enter__(self) -> "TerminalReporter":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        task = self._progress.add_task(title, total=None)
        progress = self._progress

        class Bar:
            def update(self, done: int, total: int) -> None:
                progress.update(task, completed=done, total=total)

        try:
            yield Bar()
        except BaseException:
            progress.update(task, description=f"[red]{title}: failed[/]")
            progress.stop_task(task)
            raise
        total = progress.tasks[progress.task_ids.index(task)].total or 1
        progress.update(task, completed=total, total=total)


class PlainReporter:
    """Prints a line when a step ends, and every 20 seconds while one with a known length goes on."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> "PlainReporter":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        console, begun = self._console, time.monotonic()

        class Lines:
            last = begun

            def update(self, done: int, total: int) -> None:
                if (now := time.monotonic()) - self.last >= PLAIN_INTERVAL:
                    self.last = now
                    console.print(f"{title}: {done} of {total}", highlight=False)

        try:
            yield Lines()
        except BaseException:
            console.print(f"{title}: failed", highlight=False)
            raise
        console.print(f"{title}: {time.monotonic() - begun:.1f} s", highlight=False)


def reporter(console: Console) -> TerminalReporter | PlainReporter:
    """The reporter that fits the console; a context."""
    return TerminalReporter(console) if console.is_terminal else PlainReporter(console)
