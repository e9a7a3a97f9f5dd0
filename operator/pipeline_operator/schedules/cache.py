"""The schedules that the watch has shown, parsed, and what has been decided about each ahead of its object's status."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from pipeline_core.catalog.snapshot import Catalog
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.schedules.observed import MissedReason, Schedule, ScheduleStatus
from pipeline_operator.schedules.parsing import Body, parse_schedule

# Deleted objects that are remembered: far more than are deleted while one list is read.
_GONE_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Problem:
    """Why no run of the schedule's could start (reason and message, None for nothing), by whom it was found."""

    generation: int
    catalog: Catalog
    found: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class Told:
    """The newest tick that was missed for a reason, and when that was told of."""

    newest: datetime
    at: datetime


@dataclass(slots=True)
class ScheduleEntry:
    """A schedule's object, its status as it stands there, and this process' own knowledge of it.

    `decided` is the status that is to be written yet: what follows is decided from it.
    """

    schedule: Schedule
    status: Mapping[str, Any]
    decided: ScheduleStatus | None = None
    # Whether nothing has been decided about it by this process.
    is_new: bool = True
    # Since when its first decision waits for its runs to be seen to.
    waits_since: datetime | None = None
    problem: Problem | None = None
    # Runs that can't be made, ever, by their ids: they count as failed.
    refused: dict[str, Phase] = field(default_factory=dict)
    told: dict[MissedReason, Told] = field(default_factory=dict)
    # When it was told last that something was refused for now.
    failed_at: datetime | None = None
    # Since when its status waits for the ticks of others.
    unwritten_since: datetime | None = None
    # How runs ended, as was looked up for a decision that isn't taken yet.
    found: dict[str, Phase] = field(default_factory=dict)
    # The UIDs of runs that were deleted, as long as the watch shows them.
    pruned: set[str] = field(default_factory=set)

    @property
    def current(self) -> Schedule:
        """The schedule as it is going to be."""
        return self.schedule if self.decided is None else replace(self.schedule, status=self.decided)


class ScheduleCache:
    """Entries by UID. An older view of an object never replaces a newer one, whichever way it came.

    Nor does it bring back an object that is gone.
    """

    def __init__(self) -> None:
        self._entries: dict[str, ScheduleEntry] = {}
        self._by_name: dict[tuple[str, str], str] = {}
        self._by_org: dict[str, dict[str, None]] = {}
        self._gone: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, uid: str) -> ScheduleEntry | None:
        """The entry, if the schedule is there."""
        return self._entries.get(uid)

    def entries(self) -> Iterator[ScheduleEntry]:
        """All of them."""
        return iter(list(self._entries.values()))

    def named(self, namespace: str, name: str) -> str | None:
        """The UID of the schedule of this name."""
        return self._by_name.get((namespace, name))

    def of_org(self, org: str) -> Iterator[Schedule]:
        """The organization's schedules, in all namespaces, as they are going to be."""
        for uid in list(self._by_org.get(org, ())):
            if entry := self._entries.get(uid):
                yield entry.current

    def put(self, body: Body) -> bool:
        """A schedule as seen, or as answered by a read or a write; whether that was news.

        Raises KeyError, TypeError or ValueError where it can't be read.
        """
        metadata = body["metadata"]
        if metadata["uid"] in self._gone:
            return False  # a list or an answer of before
        known = self._entries.get(metadata["uid"])
        if known is not None and int(metadata["resourceVersion"]) <= int(known.schedule.resource_version):
            return False  # before it is parsed
        schedule, status = parse_schedule(body), body.get("status") or {}
        if known is None:
            self._entries[schedule.uid] = ScheduleEntry(schedule, status)
        else:
            if schedule.status != known.schedule.status:
                known.decided = None  # written from there, or by another process, which may know more
            known.schedule, known.status = schedule, status
        self._by_name[schedule.namespace, schedule.name] = schedule.uid
        self._by_org.setdefault(schedule.spec.org, {})[schedule.uid] = None
        return True

    def bury(self, uid: str) -> None:
        """The watch has shown the object's deletion: whatever shows it from now on is late."""
        self.drop(uid)
        self._gone[uid] = None
        if len(self._gone) > _GONE_KEPT:
            del self._gone[next(iter(self._gone))]

    def drop(self, uid: str) -> None:
        """The object is gone."""
        entry = self._entries.pop(uid, None)
        if entry is None:
            return
        schedule = entry.schedule
        if self._by_name.get((schedule.namespace, schedule.name)) == uid:
            del self._by_name[schedule.namespace, schedule.name]
        of_org = self._by_org[schedule.spec.org]
        del of_org[uid]
        if not of_org:
            del self._by_org[schedule.spec.org]
