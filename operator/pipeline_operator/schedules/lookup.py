"""Looks up what a decision about a schedule needs beside its object and its runs."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime

from pipeline_core.admission.subscription import check_subscription
from pipeline_core.catalog.snapshot import Catalog
from pipeline_core.catalog.watcher import CatalogWatcher
from pipeline_core.errors import PipelinesError
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.schedules.decision import Known, Needs
from pipeline_core.schedules.observed import Schedule
from pipeline_core.schedules.plan import plan_schedule
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_core.store.facts import AdmissionFacts
from pipeline_core.store.records import RunRecords
from pipeline_operator.schedules.cache import Problem, ScheduleEntry
from pipeline_operator.schedules.room import Rooms

# A tick isn't held up by a database that is slow: its run is refused at its start, if it has to be.
_FACTS_SECONDS = 1.0
# Nor each tick of many.
_AWAY_SECONDS = 5.0
# The files' metadata is looked at this often, however many schedules are due.
_CATALOG_SECONDS = 1.0


class Lookup:
    """`now` is the wall clock in UTC, `clock` monotonic, in seconds."""

    def __init__(
        self,
        catalog: CatalogWatcher,
        env: str,
        facts: AdmissionFacts,
        records: RunRecords,
        rooms: Rooms,
        now: Callable[[], datetime],
        clock: Callable[[], float],
    ) -> None:
        self._watcher = catalog
        self._env = env
        self._facts = facts
        self._records = records
        self._rooms = rooms
        self._now = now
        self._clock = clock
        self._catalog: tuple[float, Catalog] | None = None
        self._facts_away_at: float | None = None

    def known(self, entry: ScheduleEntry) -> Known:
        """What is known without asking anybody."""
        return Known(problem=self._problem(entry), outcomes=dict(entry.found), is_first_look=entry.is_new)

    async def also(self, entry: ScheduleEntry, known: Known, needs: Needs) -> Known:
        """What is known, and what was needed.

        Raises StoreUnavailableError where PostgreSQL is away and nothing may be decided without its answer.
        """
        schedule = entry.schedule
        if needs.organization:
            known = replace(known, inactive=await self._inactive(schedule))
        if needs.outcomes:
            outcomes = await self._outcomes(entry, [each for each in needs.outcomes if each not in known.outcomes])
            known = replace(known, outcomes={**known.outcomes, **outcomes})
        if needs.room:
            known = replace(known, room=await self._rooms.of(schedule.spec.org))
        return known

    def catalog(self) -> Catalog:
        """The catalog as the files had it a second ago or less. Raises CatalogInvalidError if there never was one."""
        at = self._clock()
        if self._catalog is None or at >= self._catalog[0] + _CATALOG_SECONDS:
            self._catalog = at, self._watcher.current()
        return self._catalog[1]

    def _problem(self, entry: ScheduleEntry) -> tuple[str, str] | None:
        schedule, catalog = entry.schedule, self.catalog()
        known = entry.problem
        if known is None or known.generation != schedule.generation or known.catalog is not catalog:
            known = entry.problem = Problem(schedule.generation, catalog, self._find(schedule, catalog))
        return known.found

    def _find(self, schedule: Schedule, catalog: Catalog) -> tuple[str, str] | None:
        spec = schedule.spec
        try:
            plan_schedule(
                catalog,
                spec.parameters,
                org=spec.org,
                provider=spec.provider,
                domain=spec.domain,
                pipeline=spec.pipeline,
                env=self._env,
                logical_time=self._now(),
            )
        except PipelinesError as error:
            return error.reason, str(error)
        return None

    async def _inactive(self, schedule: Schedule) -> str:
        org, away_at = schedule.spec.org, self._facts_away_at
        if away_at is not None and self._clock() < away_at + _AWAY_SECONDS:
            return ""
        try:
            async with asyncio.timeout(_FACTS_SECONDS):
                facts = await self._facts.get(org, schedule.spec.provider)
            check_subscription(org, is_known=facts.is_known, status=facts.subscription_status)
        except (StoreUnavailableError, TimeoutError):
            self._facts_away_at = self._clock()
            return ""  # nobody can say
        except PipelinesError as error:
            return str(error)
        return ""

    async def _outcomes(self, entry: ScheduleEntry, run_ids: Iterable[str]) -> dict[str, Phase | None]:
        found: dict[str, Phase | None] = {each: entry.refused[each] for each in run_ids if each in entry.refused}
        asked = [each for each in run_ids if each not in found]
        statuses = await asyncio.gather(*(self._records.status(each, entry.schedule.spec.org) for each in asked))
        return found | {run_id: each and each.phase for run_id, each in zip(asked, statuses, strict=True)}
