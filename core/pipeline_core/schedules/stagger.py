"""How long after its ticks a schedule's runs are due, so that those of one cron expression don't come all at once."""

import hashlib
from datetime import timedelta

from pipeline_core.schedules.observed import Schedule


def offset(org: str, namespace: str, name: str, stagger_seconds: int) -> timedelta:
    """Whole seconds from 0 to `stagger_seconds`, both included: the same at each tick, wherever it is asked."""
    # No name holds the separator.
    digest = hashlib.sha256(f"{org}/{namespace}/{name}".encode()).digest()
    return timedelta(seconds=int.from_bytes(digest[:8]) % (stagger_seconds + 1))


def lateness(schedule: Schedule) -> timedelta:
    """How long after its tick each of the schedule's runs is due."""
    spec = schedule.spec
    return offset(spec.org, schedule.namespace, schedule.name, spec.stagger_seconds)
