"""The gate that all requests of a client pass: who is told to slow down closes it for all."""

from pipeline_runner.api.clock import Clock


class Gate:
    """Open unless `close` shut it for a while; `reason` is why it was shut for the longest, `asked` whether the
    provider named that time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._opens_at = clock.monotonic()
        self.reason = ""
        self.asked = False

    def close(self, seconds: float, reason: str, *, asked: bool) -> None:
        """Let nobody through for so long; a longer time that runs already stands."""
        opens_at = self._clock.monotonic() + seconds
        if opens_at > self._opens_at:
            self._opens_at, self.reason, self.asked = opens_at, reason, asked

    @property
    def seconds_left(self) -> float:
        """How long it stays shut; 0 where it is open."""
        return max(self._opens_at - self._clock.monotonic(), 0.0)
