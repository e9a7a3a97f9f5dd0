"""The data that a request can see: what the seeds make, less what is late, cleared by the plan, or yet to come."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Literal

from pipeline_local.simulators import anthropic_data, openai_data
from pipeline_local.simulators.buckets import LinesOf
from pipeline_local.simulators.plan import Plan
from pipeline_local.simulators.seeds import Line, organization

Provider = Literal["openai", "anthropic"]
_MADE_BY = {"openai": openai_data.lines_of, "anthropic": anthropic_data.lines_of}
_MINUTES = 24 * 60


def wall_clock() -> datetime:
    """The time, UTC."""
    return datetime.now(UTC)


@dataclass
class World:
    """All organizations of both providers; the plan may be replaced at any time."""

    seed: int
    plan: Plan = field(default_factory=Plan)
    now: Callable[[], datetime] = wall_clock

    def lines_of(self, provider: Provider, key: str, table: str) -> LinesOf:
        """What the organization of a key has in a table, as a function of the day."""
        org, plan, now, made_by = organization(self.seed, provider, key), self.plan, self.now(), _MADE_BY[provider]

        def of_day(day: date) -> Sequence[Line]:
            if day in plan.empty_days or day > now.date():
                return ()
            lines = made_by(org, day, plan.scale).get(table, ())
            seen = _MINUTES - 60 * plan.late.get(day, 0)
            if day == now.date():
                seen = min(seen, now.hour * 60 + now.minute)
            return lines if seen >= _MINUTES else [line for line in lines if line.minute < seen]

        return of_day
