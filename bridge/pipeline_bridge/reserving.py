"""Admits a run and reserves its slot, or says why not: nothing is held then."""

from collections.abc import Mapping
from datetime import datetime

from pipeline_bridge.auth import Principal
from pipeline_bridge.limits import limit_problem
from pipeline_bridge.parts import Parts
from pipeline_bridge.wanted import Wanted
from pipeline_core import identifiers
from pipeline_core.admission.admit import Facts, admit
from pipeline_core.admission.quota import ConcurrentLimitReachedError, QuotaExceededError
from pipeline_core.resolve import RunRequest
from pipeline_core.store.runs import NewRun, StoredRun


async def begin(parts: Parts, who: Principal, wanted: Wanted, run_id: str, facts: Facts) -> StoredRun:
    """Admit the run and reserve its slot, with its record; the record that is there, where another was faster.

    Raises what `admit` raises, Problem 429 with what is left of each limit, and Problem 409 `NoNamespace`.
    """
    schedule, logical_time = wanted.schedule, parts.now().replace(microsecond=0)
    env = parts.settings.env
    parameters = wanted.parameters_of(org=who.org, env=env, run_id=run_id, logical_time=logical_time)
    request = _request(who, wanted, run_id, parameters, logical_time)
    document = admit(parts.catalog.current(), request, facts, env=env, tenancy=parts.settings.tenancy)
    record = NewRun(
        run_id=run_id,
        org_slug=who.org,
        provider=document.provider,
        domain=document.domain,
        pipeline=document.pipeline,
        created_at=logical_time,
        created_by=f"key:{who.key_id}",
        parameters=dict(document.parameters),
        schedule_id=identifiers.schedule_id(schedule.uid) if schedule else None,
        object_namespace=schedule.namespace if schedule else await parts.placement.namespace_for(who.org),
        object_name=identifiers.object_name(run_id),
    )
    # crash here: nothing is held yet.
    try:
        return await _reserve(parts, record)
    except QuotaExceededError as error:
        raise limit_problem(error, await parts.ledger.standing(who.org)) from error


async def _reserve(parts: Parts, record: NewRun) -> StoredRun:
    """No run is refused for slots that a bridge reserved and then made no object for: they are given back first."""
    try:
        return await parts.ledger.reserve(record)
    except ConcurrentLimitReachedError:
        if not await parts.stale_slots.give_back(record.org_slug):
            raise
        return await parts.ledger.reserve(record)


def _request(
    who: Principal, wanted: Wanted, run_id: str, parameters: Mapping[str, object], logical_time: datetime
) -> RunRequest:
    return RunRequest(
        run_id=run_id,
        org_slug=who.org,
        provider=wanted.provider,
        domain=wanted.domain,
        pipeline=wanted.pipeline,
        parameters=parameters,
        logical_time=logical_time,
        timeout_seconds=wanted.template.get("timeoutSeconds"),
        max_retries=wanted.template.get("maxRetries"),
    )
