"""Shows how far runs are: a line for each that is drawn anew in a terminal, a line for each change elsewhere."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

_WHOLE = 100


class View(Protocol):
    """Is told where a run stands; `progress` in percent, `records` where any were counted, `name` where several run."""

    def show(self, phase: str, progress: int, records: int | None, name: str = "") -> None: ...


def view(console: Console) -> AbstractContextManager[View]:
    """The view that fits the console."""
    return _bar(console) if console.is_terminal else _lines(console)


@contextmanager
def _bar(console: Console) -> Iterator[View]:
    columns = (
        TextColumn("{task.fields[name]}{task.description:<11}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[records]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        class Bar:
            def show(self, phase: str, progress: int, records: int | None, name: str = "") -> None:
                if name not in tasks:
                    tasks[name] = bars.add_task("Pending", total=100, records="", name=_column(name))
                bars.update(tasks[name], description=phase, completed=progress, records=_told(records))
                if progress == _WHOLE:
                    bars.stop_task(tasks[name])

        yield Bar()


@contextmanager
def _lines(console: Console) -> Iterator[View]:
    begun = time.monotonic()
    seen: dict[str, str] = {}

    class Lines:
        def show(self, phase: str, progress: int, records: int | None, name: str = "") -> None:
            line = f"{_column(name)}{phase:<11} {progress:3d} %  {_told(records)}".rstrip()
            if seen.get(name) != line:
                seen[name] = line
                console.print(f"{time.monotonic() - begun:6.1f} s  {line}", markup=False, highlight=False)

    yield Lines()


def _column(name: str) -> str:
    return f"{name:<11}" if name else ""


def _told(records: int | None) -> str:
    return "" if records is None else f"{records:,} records"
