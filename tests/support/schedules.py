"""Builders of mirrored schedules for tests."""

from pipeline_core.store.schedule_outbox import UnexportedSchedule
from pipeline_core.store.schedules import ScheduleRow
from support.runs import T0, after


def schedule_row(schedule_id: str = "sch_1", **values: object) -> ScheduleRow:
    """A schedule of acme's, created at T0 and not edited since, or as `values` say."""
    return ScheduleRow(
        **{
            "schedule_id": schedule_id,
            "org_slug": "acme",
            "provider": "gcp",
            "domain": "cost",
            "pipeline": "billing",
            "cron_expression": "0 6 * * *",
            "is_enabled": True,
            "last_run_at": None,
            "next_run_at": after(3600),
            "parameters": {"date": "{{yesterday}}"},
            "created_at": T0,
            "updated_at": T0,
            "object_namespace": "pipelines",
            "object_name": "nightly",
            **values,
        }  # type: ignore[arg-type]
    )


def unexported_schedule(schedule_id: str = "sch_1", **values: object) -> UnexportedSchedule:
    """The same, as the exporter reads it."""
    outbox = {"revision": values.pop("revision", 1), "is_deleted": values.pop("is_deleted", False)}
    row = schedule_row(schedule_id, **values)
    return UnexportedSchedule(**{name: getattr(row, name) for name in ScheduleRow.__dataclass_fields__}, **outbox)
