"""Virtual time for a month: an event loop that begins where the seed says, and the clock of operators' nodes."""

from datetime import UTC, datetime, timedelta

from sim.virtual_time import VirtualLoop


class Loop(VirtualLoop):
    """Its seconds count from `beginning`, a whole minute, which true time begins with."""

    def __init__(self, beginning: datetime) -> None:
        super().__init__()
        self.beginning = beginning

    def now(self) -> datetime:
        """True time: the API server's clock."""
        return self.beginning + timedelta(seconds=self._clock)

    def _asyncgen_finalizer_hook(self, _generator: object) -> None:
        """A process that was killed in one closes nothing."""

    def at(self, moment: datetime) -> float:
        """The seconds at which true time is `moment`."""
        return (moment - self.beginning).total_seconds()

    def moment(self, at: float) -> datetime:
        """The true time at these seconds."""
        return self.beginning + timedelta(seconds=at)


class WallClock:
    """What the operators' nodes take for the time; each step moves it against true time, and is remembered."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.skew = 0.0
        # When it was stepped (true seconds), from which skew to which.
        self.steps: list[tuple[float, float, float]] = []

    def now(self) -> datetime:
        """The time in UTC as the operators' nodes have it."""
        return self._loop.now() + timedelta(seconds=self.skew)

    def step(self, skew: float) -> None:
        """From now on it is `skew` seconds ahead of true time."""
        self.steps.append((self._loop.time(), self.skew, skew))
        self.skew = skew


def parse(text: str) -> datetime:
    """A time of RFC 3339 as it stands in objects."""
    return datetime.fromisoformat(text).astimezone(UTC)
