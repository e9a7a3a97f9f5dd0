"""Builds the PipelineRun of a schedule: pure, and the same object for the same decision."""

from datetime import datetime
from typing import Any

from pipeline_core import identifiers
from pipeline_core.kube import names
from pipeline_core.schedules.decision import Make
from pipeline_core.schedules.observed import Cause, Schedule
from pipeline_core.schedules.parameters import resolve_parameters
from pipeline_operator.status import format_time

Manifest = dict[str, Any]

FOR_THE_PAST = frozenset({Cause.CATCH_UP, Cause.BACKFILL})


def build_run(schedule: Schedule, make: Make, env: str) -> Manifest:
    """The manifest. No owner reference: a schedule that is deleted leaves its runs and their history alone.

    Raises ParametersInvalidError if a template of the parameters can't be resolved.
    """
    spec = schedule.spec
    parameters = resolve_parameters(
        spec.parameters, org_slug=spec.org, env=env, run_id=make.run_id, logical_time=make.logical_time
    )
    run: Manifest = {
        "org": spec.org,
        "provider": spec.provider,
        "domain": spec.domain,
        "pipeline": spec.pipeline,
        "logicalTime": format_time(make.logical_time),
        "scheduleRef": {"name": schedule.name, "uid": schedule.uid},
        "createdBy": f"schedule:{identifiers.schedule_id(schedule.uid)}",
        "runId": make.run_id,
        "quotaPolicy": "Queue",
        **spec.run_template,
        "priority": make.priority,
    }
    if make.cause in FOR_THE_PAST:
        run["quotaPolicy"] = "Queue"  # it can wait for its turn, whatever is said of the others
    if parameters:
        run["parameters"] = parameters
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.RUN_KIND,
        "metadata": {
            "name": make.name,
            "namespace": schedule.namespace,
            "labels": _labels(schedule, make),
            "annotations": _annotations(make),
        },
        "spec": run,
    }


def _labels(schedule: Schedule, make: Make) -> dict[str, str]:
    labels = {
        names.LABEL_ORG: schedule.spec.org,
        names.LABEL_PROVIDER: schedule.spec.provider,
        names.LABEL_RUN_ID: make.run_id,
        names.LABEL_SCHEDULE: schedule.name,
    }
    return labels if make.backfill_id is None else {**labels, names.LABEL_BACKFILL: make.backfill_id}


def _annotations(make: Make) -> dict[str, str]:
    cause = {names.ANNOTATION_CAUSE: make.cause.value}
    if make.cause is Cause.TRIGGER:
        return cause  # it was asked for, not due
    tick: datetime = make.logical_time
    return {**cause, names.ANNOTATION_TICK: format_time(tick), names.ANNOTATION_DUE_AT: format_time(make.due_at)}
