"""Says how many runs may be made beside the live ones: for catching up, and for a backfill."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline_core.schedules.decision import Needs
from pipeline_core.schedules.facts import NO_NEEDS, Facts

# Nothing tells a schedule that its organization is active again, or the record of a run without an object ended.
RECHECK = timedelta(minutes=5)
# The rest of what takes more than one pass.
SOON = timedelta(seconds=1)
# PostgreSQL that couldn't be asked may be back.
RETRY = timedelta(seconds=10)
STORE_AWAY = "PostgreSQL is away"


@dataclass(frozen=True, slots=True)
class Allowance:
    """`runs` may be made now; `message` and `again_at` say why there are fewer than wanted, and when to ask again."""

    runs: int = 0
    message: str = ""
    again_at: datetime | None = None
    needs: Needs = NO_NEEDS


def allow(facts: Facts, wanted: int, taken: int = 0) -> Allowance:
    """How many of `wanted` runs there is leave and room for; `taken` of the room are promised already."""
    known = facts.known
    if wanted <= 0:
        return Allowance()
    if facts.problem is not None:
        return Allowance(message=facts.problem[1])
    if known.inactive:
        return Allowance(message=known.inactive, again_at=facts.second + RECHECK)
    needs = Needs(organization=known.inactive is None, room=known.room is None)
    if known.room is None or needs:
        return Allowance(needs=needs)
    left = max(known.room.runs - taken, 0)
    if left >= wanted:
        return Allowance(wanted)
    again_at = known.room.again_at or facts.second + RECHECK
    return Allowance(left, known.room.message, max(again_at, facts.second + SOON))


def earliest(*times: datetime | None) -> datetime | None:
    return min((time for time in times if time is not None), default=None)
