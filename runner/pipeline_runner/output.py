"""Masks what is printed: processors are written by many, and `print` goes past the log."""

import sys
import threading
from io import TextIOBase
from typing import TextIO

from pipeline_runner.masking import masked

# Of a line without an end no more is kept back.
_LONGEST = 64 * 1024


class MaskedStream(TextIOBase):
    """Writes to another stream line by line, each masked. What is flushed in the midst of a line is masked by itself.

    What goes past Python's streams isn't: the output of other programs, and what is written to a file descriptor.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._begun = ""
        self._lock = threading.RLock()  # a signal's handler may print, too

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._stream.errors

    def write(self, text: str) -> int:
        with self._lock:
            lines, end, begun = (self._begun + text).rpartition("\n")
            self._begun = begun
            if end:
                self._stream.write(masked(lines) + end)
            if len(begun) > _LONGEST:
                self.flush()
        return len(text)

    def flush(self) -> None:
        with self._lock:
            begun, self._begun = self._begun, ""
            if begun:
                self._stream.write(masked(begun))
            self._stream.flush()

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()


def mask_output() -> None:
    """Mask what this process prints from now on."""
    sys.stdout, sys.stderr = MaskedStream(sys.stdout), MaskedStream(sys.stderr)
