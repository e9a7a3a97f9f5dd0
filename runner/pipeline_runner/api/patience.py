"""How long one request may go on: with our own patience, and beside it the time that the provider asks for; pure."""

from pipeline_runner.api.clock import Clock
from pipeline_runner.settings import ApiSettings


class Patience:
    """Of one request, from its first attempt on: `attempts` made so far.

    Two times are counted apart. What the provider asks for may take `max_wait_seconds` in all: to end sooner would help
    nobody, since Kubernetes starts the next attempt at the run within seconds, to hear the same. All else, answers that
    are slow or wrong and our own backoff, may take `retry_seconds`.
    """

    def __init__(self, clock: Clock, settings: ApiSettings) -> None:
        self._clock = clock
        self._own, self._theirs = settings.retry_seconds, settings.max_wait_seconds
        self._began = clock.monotonic()
        self._waited = 0.0  # as asked
        self.attempts = 0

    def lasts(self, seconds: float, *, asked: bool) -> bool:
        """Whether there is time left for this wait."""
        if asked:
            return self._waited + seconds <= self._theirs
        return self._clock.monotonic() - self._began - self._waited + seconds <= self._own

    async def wait(self, seconds: float, *, asked: bool) -> None:
        """Wait, and count it."""
        await self._clock.sleep(seconds)
        if asked:
            self._waited += seconds

    def __str__(self) -> str:
        seconds = self._clock.monotonic() - self._began
        limits = f"of at most {self._own:.0f} s, and {self._theirs:.0f} s where the provider asks for them"
        return f"tried {self.attempts} time{'s' * (self.attempts > 1)} in {seconds:.0f} s, {limits}"
