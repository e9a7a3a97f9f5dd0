"""How hostile the world of a seed is: probabilities and times, drawn once from the seed."""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Dials:
    """Probabilities are per call, event or run; times are in seconds."""

    # Without faults the figures of a run (API writes, reconciles) are held to their bounds.
    calm: bool
    # The faults and the users' deeds happen within this time; afterwards the world heals.
    chaos_seconds: float
    runs: int
    api_slow: float = 0.0
    api_refused: float = 0.0
    api_lost_before: float = 0.0
    api_lost_after: float = 0.0
    store_fails_before: float = 0.0
    store_fails_after: float = 0.0
    store_slow: float = 0.0
    event_late: float = 0.0
    event_twice: float = 0.0
    event_lost: float = 0.0
    watch_expires: float = 0.0
    list_stale: float = 0.0
    progress_lost: float = 0.0
    garbage_late: float = 0.0
    # How often each of these happens while the faults last.
    kills: int = 0
    freezes: int = 0
    store_outages: int = 0
    api_outages: int = 0
    refusals: int = 0
    node_incidents: int = 0
    # Two processes of the operator work at once, as if there were no Lease.
    two_operators: bool = False
    with_lease: bool = False
    # How likely a run's runner does anything but succeed, and how likely a user meddles with a run.
    runner_trouble: float = 0.0
    meddling: float = 0.0
    # Each organization's limits (None: more than there are runs), and how often plans change.
    concurrent: int | None = None
    daily: int | None = None
    limit_changes: int = 0
    suspensions: int = 0
    # How likely a run waits for a slot rather than being refused.
    queues: float = 0.0


def calm(random: Random) -> Dials:
    """Nothing breaks but runners."""
    return Dials(
        calm=True,
        chaos_seconds=90,
        runs=random.randint(2, 5),
        runner_trouble=random.choice((0.0, 0.5)),
        concurrent=random.choice((None, 1, 1, 2)),
        queues=1.0,
    )


def hostile(random: Random) -> Dials:
    """A little of everything, or much of one thing: a fault alone shows what many at once would hide."""

    def rate(most: float) -> float:
        return random.choice((0.0, 0.0, most / 4, most))

    return Dials(
        calm=False,
        chaos_seconds=random.choice((120, 240, 360)),
        runs=random.randint(2, 8),
        api_slow=rate(0.05),
        api_refused=rate(0.1),
        api_lost_before=rate(0.1),
        api_lost_after=rate(0.1),
        store_fails_before=rate(0.1),
        store_fails_after=rate(0.1),
        store_slow=rate(0.05),
        event_late=rate(0.3),
        event_twice=rate(0.2),
        event_lost=rate(0.3),
        watch_expires=rate(0.05),
        list_stale=rate(0.8),
        progress_lost=rate(0.5),
        garbage_late=rate(0.5),
        kills=random.choice((0, 0, 1, 3, 6)),
        freezes=random.choice((0, 0, 0, 1, 2)),
        store_outages=random.choice((0, 0, 1, 2)),
        api_outages=random.choice((0, 0, 1)),
        refusals=random.choice((0, 0, 1, 2)),
        node_incidents=random.choice((0, 0, 1, 3)),
        two_operators=random.random() < 0.25,
        with_lease=random.random() < 0.25,
        runner_trouble=random.choice((0.0, 0.3, 0.7)),
        meddling=random.choice((0.0, 0.3, 0.8)),
        concurrent=random.choice((None, None, 1, 1, 2, 3, 4)),
        daily=random.choice((None, None, None, 2, 4)),
        limit_changes=random.choice((0, 0, 0, 2)),
        suspensions=random.choice((0, 0, 0, 1)),
        queues=random.choice((0.0, 0.5, 1.0)),
    )


def dials_of(seed: int) -> Dials:
    """Every tenth seed is calm."""
    random = Random(f"dials {seed}")
    return calm(random) if seed % 10 == 0 else hostile(random)
