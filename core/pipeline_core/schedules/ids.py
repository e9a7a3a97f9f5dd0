"""The ids and names of a schedule's runs: functions of the schedule and of what a run stands for.

So a step that is repeated after a crash, or taken by two operators, makes the same run, of which there can be one.
"""

import hashlib
import re
from datetime import UTC, datetime

# `pipelines.dev/backfill`, a label of its runs; `spec.backfill.id`.
BACKFILL_ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
# `pipelines.dev/trigger`, whatever somebody writes there: it is hashed.
TRIGGER_MAX = 253


def tick_run_id(schedule_uid: str, tick: datetime) -> str:
    """The id of the run of a tick, whether it is made in time or caught up."""
    return _run_id(schedule_uid, "tick", _stamp(tick))


def backfill_run_id(schedule_uid: str, backfill_id: str, tick: datetime) -> str:
    """The id of a backfill's run of a tick, which may have had a run before."""
    return _run_id(schedule_uid, "backfill", backfill_id, _stamp(tick))


def trigger_run_id(schedule_uid: str, token: str) -> str:
    """The id of the run that the annotation `pipelines.dev/trigger` of this value asks for."""
    return _run_id(schedule_uid, "trigger", token)


def tick_run_name(schedule_name: str, tick: datetime) -> str:
    """The name of the PipelineRun of a tick: `nightly-20261122t0600z`. Ticks are whole minutes."""
    return f"{schedule_name}-{_compact(tick)}"


def backfill_run_name(schedule_name: str, backfill_id: str, tick: datetime, run_id: str) -> str:
    """The name of the PipelineRun of a backfill's tick: `nightly-october-20261001t0600z-3f9a`.

    With the first 4 digits of the run's id: a schedule that was deleted and made anew, backfill and all, is another,
    and the runs of the former may be there still.
    """
    return f"{schedule_name}-{backfill_id}-{_compact(tick)}-{_digits(run_id)[:4]}"


def trigger_run_name(schedule_name: str, run_id: str) -> str:
    """The name of the PipelineRun of a trigger: `nightly-now-` and the first 10 digits of the run's id."""
    return f"{schedule_name}-now-{_digits(run_id)[:10]}"


def _run_id(*parts: str) -> str:
    # No part but the last can hold the separator.
    return "run_" + hashlib.sha256("/".join(parts).encode()).hexdigest()[:32]


def _digits(run_id: str) -> str:
    return run_id.removeprefix("run_")


def _stamp(tick: datetime) -> str:
    return tick.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _compact(tick: datetime) -> str:
    return tick.astimezone(UTC).strftime("%Y%m%dt%H%Mz")
