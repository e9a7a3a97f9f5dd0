"""Builders of runs for tests."""

from datetime import UTC, datetime, timedelta

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.runs import NewRun, StoredRun, Transition

T0 = datetime(2026, 11, 3, 23, 59, 58, 123456, tzinfo=UTC)


def after(seconds: float) -> datetime:
    """A moment in the life of a run that was created at T0."""
    return T0 + timedelta(seconds=seconds)


def new_run(run_id: str = "run_1", **values: object) -> NewRun:
    """A run of acme's, created at T0."""
    return NewRun(
        **{
            "run_id": run_id,
            "org_slug": "acme",
            "provider": "gcp",
            "domain": "cost",
            "pipeline": "billing",
            "created_at": T0,
            "created_by": "key:k1",
            "parameters": {"date": "2026-11-02"},
            "object_namespace": "runs",
            "object_name": "run-1",
            "object_uid": f"uid-of-{run_id}",
            **values,
        }  # type: ignore[arg-type]
    )


def stored_run(run_id: str = "run_1", **values: object) -> StoredRun:
    """The record of a pending run, or as `values` say."""
    new = new_run(run_id)
    return StoredRun(
        **{
            **{name: getattr(new, name) for name in NewRun.__dataclass_fields__},
            "phase": Phase.PENDING,
            "started_at": None,
            "completed_at": None,
            "records_processed": None,
            "error_message": None,
            "reason": None,
            "job_name": None,
            "progress": 0,
            "attempts": 0,
            "message": None,
            "transitions": (Transition(Phase.PENDING, T0),),
            "revision": 1,
            **values,
        }
    )
