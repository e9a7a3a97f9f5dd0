"""Masks what is printed: processors are written by many, and `print` goes past the log."""

import codecs
import sys
import threading
from contextlib import suppress
from io import RawIOBase, TextIOBase
from typing import Any, TextIO

from pipeline_runner.masking import masked

# Of a line without an end no more is kept back.
_LONGEST = 64 * 1024
_FLUSH_SECONDS = 0.3


class MaskedStream(TextIOBase):
    """Writes to another stream line by line, each masked. What is flushed in the midst of a line is masked by itself.

    What goes past Python's streams isn't: the output of other programs, and what is written to a file descriptor.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._begun = ""
        self._lock = threading.RLock()  # a signal's handler may print, too
        self._bytes = _Bytes(self)

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

    @property
    def name(self) -> str:
        return self._stream.name

    @property
    def mode(self) -> str:
        return "w"

    @property
    def line_buffering(self) -> bool:
        return True

    @property
    def buffer(self) -> RawIOBase:
        """Takes bytes, which are masked as the text that they are."""
        return self._bytes

    def reconfigure(self, **_options: object) -> None:
        """Do nothing: how lines are written is settled."""

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()


class _Bytes(RawIOBase):
    def __init__(self, text: MaskedStream) -> None:
        self._text = text
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._text.write(self._decoder.decode(bytes(data)))
        return len(data)

    def flush(self) -> None:
        if not self.closed:
            self._text.flush()


def flush_output() -> None:
    """Write what is printed and unfinished, before a process ends without the interpreter's own end.

    In a thread that may be left behind: whoever held a stream may never let it go.
    """
    flushing = threading.Thread(target=_flush_both, daemon=True)
    flushing.start()
    flushing.join(_FLUSH_SECONDS)


def _flush_both() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()


def mask_output() -> None:
    """Mask what this process prints from now on."""
    sys.stdout, sys.stderr = MaskedStream(sys.stdout), MaskedStream(sys.stderr)
