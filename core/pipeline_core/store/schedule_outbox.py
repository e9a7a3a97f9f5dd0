"""What of the schedules' mirror BigQuery hasn't heard of: the statements of the exporter's turn (`outbox`) about it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Executable,
    Select,
    Text,
    and_,
    case,
    column,
    delete,
    func,
    literal,
    null,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from pipeline_core.store.schedules import ScheduleRow
from pipeline_core.store.tables import schedule_record


@dataclass(frozen=True, slots=True, kw_only=True)
class UnexportedSchedule(ScheduleRow):
    """A schedule as it was read to be sent; where `is_deleted`, BigQuery's row is to go."""

    revision: int
    is_deleted: bool


def due_schedules(limit: int, *, interval: timedelta, without: Collection[str]) -> Select[Any]:
    """At most `limit` of the schedules that changed, the longest waiting first, once one has waited for `interval`.

    All of them, not that one alone: each tick changes a schedule, so that otherwise each pass would find another one
    due, and the statements would be as many as the passes.
    """
    waiting, schedule_id = schedule_record.c.unexported_since, schedule_record.c.schedule_id
    changed = and_(waiting.is_not(None), schedule_id.not_in(without))
    oldest = select(func.min(waiting)).where(changed).scalar_subquery()
    return (
        select(schedule_record, schedule_record.c.deleted_at.is_not(None).label("is_deleted"))
        .where(changed, oldest <= func.clock_timestamp() - interval)
        .order_by(waiting, schedule_id)
        .limit(limit)
    )


def mark_schedules(schedules: Sequence[UnexportedSchedule]) -> list[Executable]:
    """Record that these, as they were read, are in BigQuery; what was deleted, and is gone there, goes here too.

    A schedule that changed since stays due, as waiting since this transaction began, which is before it changed.
    """
    ids = literal([each.schedule_id for each in schedules], ARRAY(Text))
    sent = (
        func.unnest(ids, literal([each.revision for each in schedules], ARRAY(BigInteger)))
        .table_valued(column("schedule_id", Text), column("revision", BigInteger))
        .render_derived(name="sent")
    )
    there = schedule_record.c
    is_sent = (there.schedule_id == sent.c.schedule_id) & (there.exported_revision < sent.c.revision)
    return [
        # In the order that all take who lock several of these rows (`schedules`).
        select(there.schedule_id)
        .where(there.schedule_id == func.any(ids))
        .order_by(there.schedule_id)
        .with_for_update(),
        delete(schedule_record).where(is_sent, there.revision == sent.c.revision, there.deleted_at.is_not(None)),
        update(schedule_record)
        .where(is_sent)
        .values(
            exported_revision=sent.c.revision,
            unexported_since=case((there.revision == sent.c.revision, null()), else_=func.now()),
        ),
    ]


def send_schedules_again() -> Executable:
    """Have every schedule due that isn't: BigQuery's table is to be made anew."""
    there = schedule_record.c
    exported = (
        select(there.schedule_id)
        .where(there.unexported_since.is_(None))
        .order_by(there.schedule_id)
        .with_for_update()
        .cte("exported")
    )
    return (
        update(schedule_record)
        .where(there.schedule_id == exported.c.schedule_id)
        .values(exported_revision=0, unexported_since=func.clock_timestamp())
    )
