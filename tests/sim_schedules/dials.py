"""How hostile the world of a seed is: what happens how often, drawn once from the seed."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random

# Within a month of each a zone in use changes its clocks.
BEGINNINGS = (
    datetime(2026, 10, 20, 3, 0, tzinfo=UTC),
    datetime(2026, 3, 5, 3, 0, tzinfo=UTC),
    datetime(2026, 11, 22, 3, 0, tzinfo=UTC),
)


@dataclass(frozen=True, slots=True)
class Dials:
    """Probabilities are per call or event; rates per day of the world; times in seconds."""

    calm: bool
    beginning: datetime
    schedules: int
    days: float
    # Users' deeds, per schedule and day.
    deeds: float
    # Stops of the operator: how often in all, each from seconds to days.
    stops: int = 0
    kills: int = 0
    freezes: int = 0
    # A second process that doesn't know that it leads no longer: how often it comes, for some hours.
    seconds: int = 0
    api_outages: int = 0
    store_outages: int = 0
    clock_steps: int = 0
    naps: int = 0
    api_slow: float = 0.0
    api_refused: float = 0.0
    api_lost_before: float = 0.0
    api_lost_after: float = 0.0
    store_fails: float = 0.0
    event_late: float = 0.0
    event_twice: float = 0.0
    daily: int | None = None
    # Runs that end while no operator is there say so only when one has looked at them.
    late_ends: bool = True

    @property
    def seconds_in_all(self) -> float:
        """How long users and faults have."""
        return self.days * 86400.0

    @property
    def grace(self) -> float:
        """Within this an operator that is able to has decided about whatever is due."""
        return 12.0 if self.calm else 240.0

    @property
    def margin(self) -> float:
        """What happens within this of something else may be seen in the other order."""
        return 3.0 if self.calm else 120.0


def dials_of(seed: int, *, schedules: int = 40, days: float = 5.0) -> Dials:
    """Every third seed is calm."""
    random = Random(f"dials {seed}")
    beginning = BEGINNINGS[seed % len(BEGINNINGS)] if days > 10 else random.choice(BEGINNINGS)
    if days <= 10 and random.random() < 0.7:  # over a change of clocks, not only near it
        beginning = random.choice(
            (datetime(2026, 10, 23, 3, 0, tzinfo=UTC), datetime(2026, 3, 27, 3, 0, tzinfo=UTC), BEGINNINGS[0])
        )
    scale = max(1.0, days / 5)
    dials = Dials(
        calm=seed % 3 == 0,
        beginning=beginning,
        schedules=schedules,
        days=days,
        deeds=0.5,
        stops=round(scale * random.choice((1, 2, 3))),
        naps=round(scale * random.choice((0, 1, 2))),
    )
    if dials.calm:
        return dials

    def rate(most: float) -> float:
        return random.choice((0.0, 0.0, most / 4, most))

    def times(*choices: int) -> int:
        return round(scale * random.choice(choices))

    return replace(
        dials,
        deeds=random.choice((0.3, 1.0)),
        kills=times(0, 3, 10),
        freezes=times(0, 0, 2),
        seconds=times(0, 0, 2),
        api_outages=times(0, 0, 2),
        store_outages=times(0, 0, 2),
        clock_steps=times(0, 0, 1, 4),
        api_slow=rate(0.02),
        api_refused=rate(0.05),
        api_lost_before=rate(0.05),
        api_lost_after=rate(0.05),
        store_fails=rate(0.05),
        event_late=rate(0.2),
        event_twice=rate(0.1),
        daily=random.choice((None, None, 60)),
    )
