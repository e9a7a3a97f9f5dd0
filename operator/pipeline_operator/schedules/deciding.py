"""Asks for a decision about a schedule, and looks up what that needs, until there is one."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import structlog

from pipeline_core.schedules.decide import decide
from pipeline_core.schedules.decision import Decision, Known, Needs
from pipeline_core.schedules.observed import Schedule
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_operator.schedules.attempt import Attempt
from pipeline_operator.schedules.cache import ScheduleEntry
from pipeline_operator.schedules.lookup import Lookup
from pipeline_operator.schedules.runs import ScheduledRuns

_log = structlog.get_logger(__name__)

# Each kind of thing that a decision needs may be asked for in its turn, and outcomes again and again.
_LOOKUPS_MAX = 16
_OF_A_TICK = Needs(organization=True)


class Deciding:
    """`now` is the wall clock in UTC."""

    def __init__(self, lookup: Lookup, runs: ScheduledRuns, now: Callable[[], datetime]) -> None:
        self._lookup = lookup
        self._runs = runs
        self._now = now

    async def decide(self, entry: ScheduleEntry, attempt: Attempt) -> tuple[Schedule, Decision] | None:
        """What to do, and about which version of the object; None where so much is to be looked up that it goes on
        another time, from what was found.

        Raises StoreUnavailableError where PostgreSQL is away and a tick needs its answer.
        """
        known = replace(self._lookup.known(entry), room=attempt.room, is_store_away=attempt.is_store_away)
        next_run_at = entry.current.status.next_run_at
        if next_run_at is not None and next_run_at <= self._now():
            known = await self._lookup.also(entry, known, _OF_A_TICK)  # as it is going to be asked for
        for _ in range(_LOOKUPS_MAX):
            schedule = entry.schedule
            decision = decide(entry.current, self._runs.of(schedule), self._now(), known)
            if not decision.needs:
                entry.found = {}
                return schedule, decision
            if _is_answered(known, decision.needs):
                named = f"{schedule.namespace}/{schedule.name}"
                raise RuntimeError(f"what is known decides nothing about {named}: {decision.needs}")
            known = await self._ask(entry, known, decision.needs, attempt)
        # Ends stay as they are: the next pass doesn't ask for them again, so each comes further.
        entry.found = {run_id: phase for run_id, phase in known.outcomes.items() if phase and phase.is_final}
        _log.warning("schedule needs another look", schedule=schedule.name, org=schedule.spec.org)
        return None

    async def _ask(self, entry: ScheduleEntry, known: Known, needs: Needs, attempt: Attempt) -> Known:
        try:
            return await self._lookup.also(entry, known, needs)
        except StoreUnavailableError as error:
            if known.is_store_away:
                raise  # a tick needs it
            _log.warning("schedule goes on without PostgreSQL", schedule=entry.schedule.name, error=str(error))
            attempt.is_store_away = True
            return replace(known, is_store_away=True)


def _is_answered(known: Known, needs: Needs) -> bool:
    """Whether all of it is known, so that asking again brings nothing."""
    return (
        not (needs.organization and known.inactive is None)
        and not (needs.room and known.room is None)
        and all(run_id in known.outcomes for run_id in needs.outcomes)
    )
