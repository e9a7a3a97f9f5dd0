"""What happened, line by line: readable, and the same for the same seed."""

import hashlib
from typing import NamedTuple


class Line(NamedTuple):
    """`run` is the UID of the run concerned, empty if it concerns all."""

    at: float
    who: str
    run: str
    text: str

    def __str__(self) -> str:
        return f"{self.at:9.3f}  {self.who:<12}  {self.text}"


class Trace:
    """The lines of one simulation."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def add(self, at: float, who: str, run: str, text: str) -> None:
        """Note something."""
        self.lines.append(Line(at, who, run, text))

    def digest(self) -> str:
        """Two simulations with one digest went the same way."""
        state = hashlib.sha256()
        for line in self.lines:
            state.update(repr(tuple(line)).encode())
        return state.hexdigest()

    def of_run(self, run: str) -> list[str]:
        """The story of one run, with what concerned all."""
        return [str(line) for line in self.lines if line.run in {"", run}]
