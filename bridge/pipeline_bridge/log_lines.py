"""Lines of a container's log as the kubelet stamps them: the stamps come off, and nothing comes twice after a break."""

import re
from datetime import UTC, datetime

_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ")
_LONGEST_STAMP = 40
_PIECE = re.compile(rb"[^\n]*\n|[^\n]+")

# A moment to the nanosecond, which datetime doesn't know.
_Moment = tuple[datetime, str]


class StampedLines:
    """Reads a log in chunks as they come; `resume` where reading begins again, at or before the last line."""

    def __init__(self) -> None:
        self._begun = b""  # a line's first bytes, while its stamp isn't complete
        self._is_inside = False  # a line, whose end hasn't come
        self._stamp: re.Match[bytes] | None = None  # of the line that was last passed on
        self._number = 0  # of that line among those with the same stamp
        self._passed = 0  # bytes of that line
        # While lines come that may have been passed on: how many there have been with the last one's stamp.
        self._repeated: int | None = None
        self._skip = 0  # bytes to leave out of the line that is being read; -1: all of it
        self.is_mid_line = False  # what was passed on last wasn't a line's end

    @property
    def since(self) -> str | None:
        """The time to read from, in whole seconds as Kubernetes takes it; None for the beginning."""
        return None if self._stamp is None else _moment(self._stamp)[0].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def resume(self) -> None:
        """The next chunk is the first of another reading."""
        self._begun, self._is_inside, self._skip = b"", False, 0
        self._repeated = None if self._stamp is None else 0

    def read(self, chunk: bytes) -> bytes:
        """What is new in the chunk, without stamps."""
        chunk, self._begun = self._begun + chunk, b""
        fresh: list[bytes] = []
        for piece in _PIECE.findall(chunk):
            rest = piece
            if not self._is_inside:
                stamp = _STAMP.match(piece)
                if stamp is None and len(piece) < _LONGEST_STAMP and not piece.endswith(b"\n"):
                    self._begun = piece
                    break
                if stamp is not None:  # the kubelet's own words have none
                    rest = piece[stamp.end() :]
                    fresh.append(self._begin(stamp))
            self._is_inside = not piece.endswith(b"\n")
            fresh.append(self._pass(rest))
        return b"".join(fresh)

    def _begin(self, stamp: re.Match[bytes]) -> bytes:
        """A line begins: what is to be left out of it. Returns the end of a line that was cut and is gone."""
        self._skip = 0
        if self._repeated is not None and self._stamp is not None:
            there, last = _moment(stamp), _moment(self._stamp)
            if there < last:
                self._skip = -1
                return b""
            if there == last:
                number, self._repeated = self._repeated, self._repeated + 1
                if number < self._number:
                    self._skip = -1
                    return b""
                if number == self._number:
                    self._skip = self._passed
                    return b""
            self._repeated = None
        is_same = self._stamp is not None and stamp[0] == self._stamp[0]
        self._stamp, self._number, self._passed = stamp, self._number + 1 if is_same else 0, 0
        return b"\n" if self.is_mid_line else b""

    def _pass(self, rest: bytes) -> bytes:
        if self._skip < 0:
            return b""
        skipped = min(self._skip, len(rest))
        self._skip -= skipped
        rest = rest[skipped:]
        if rest:
            self._passed += len(rest)
            self.is_mid_line = not rest.endswith(b"\n")
        return rest


def _moment(stamp: re.Match[bytes]) -> _Moment:
    return datetime.fromisoformat((stamp[1] + stamp[3]).decode()), (stamp[2] or b"").decode().ljust(9, "0")
