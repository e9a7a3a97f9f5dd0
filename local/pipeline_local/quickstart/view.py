"""Shows how far a run is: one line that is drawn anew in a terminal, a line for each change elsewhere."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn


class View(Protocol):
    """Is told where the run stands; `progress` in percent, `records` where any were counted."""

    def show(self, phase: str, progress: int, records: int | None) -> None: ...


def view(console: Console) -> AbstractContextManager[View]:
    """The view that fits the console."""
    return _bar(console) if console.is_terminal else _lines(console)


@contextmanager
def _bar(console: Console) -> Iterator[View]:
    columns = (
        TextColumn("{task.description:<11}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[records]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bars:
        task = bars.add_task("Pending", total=100, records="")

        class Bar:
            def show(self, phase: str, progress: int, records: int | None) -> None:
                bars.update(task, description=phase, completed=progress, records=_told(records))

        yield Bar()


@contextmanager
def _lines(console: Console) -> Iterator[View]:
    begun = time.monotonic()

    class Lines:
        def show(self, phase: str, progress: int, records: int | None) -> None:
            passed = time.monotonic() - begun
            line = f"{passed:6.1f} s  {phase:<11} {progress:3d} %  {_told(records)}"
            console.print(line.rstrip(), markup=False, highlight=False)

    yield Lines()


def _told(records: int | None) -> str:
    return "" if records is None else f"{records:,} records"
