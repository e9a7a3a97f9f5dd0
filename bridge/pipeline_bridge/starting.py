"""Starts a run: admits it, reserves its slot, makes its PipelineRun. Each step can be repeated after a crash.

The name of the PipelineRun is a function of the run's id, so whoever makes it, and however often, there is one. The
operator takes it from there, and ends a run whose PipelineRun nobody has made for a minute (`healing`).
"""

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pipeline_bridge.auth import Principal
from pipeline_bridge.limits import limit_problem
from pipeline_bridge.making import make_object
from pipeline_bridge.parts import Parts
from pipeline_bridge.run_objects import ScheduleRef, Trace, build_run, object_parameters
from pipeline_core import identifiers
from pipeline_core.admission.admit import Facts, admit
from pipeline_core.admission.quota import QuotaExceededError
from pipeline_core.errors import UnknownProviderError
from pipeline_core.resolve import RunRequest
from pipeline_core.store.runs import NewRun, StoredRun


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A client's key for a request, and what tells the request from others (`bodies.fingerprint`)."""

    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A run as it was asked for. `pipeline` is a stem or a `pipeline.name`.

    `template` holds further fields of the PipelineRun's spec: `timeoutSeconds`, `maxRetries`, `priority`,
    `ttlSecondsAfterFinished`.
    """

    provider: str
    domain: str
    pipeline: str
    parameters: Mapping[str, object]
    schedule: ScheduleRef | None = None
    template: Mapping[str, int] = field(default_factory=dict)
    idempotency_key: IdempotencyKey | None = None
    request_id: str
    traceparent: str | None = None


class Starting:
    """Starts runs with the parts of the process."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def start(self, who: Principal, wanted: Wanted) -> str:
        """The id of the run, which is pending by now or has gone on; with an idempotency key that of the first time.

        Raises PipelinesError and Problem for a refusal, after which nothing is held, and where PostgreSQL or
        Kubernetes is away. Then a slot may be held; the next request with the same key goes on with it, or healing
        gives it back.
        """
        object_parameters(wanted.parameters)  # what the API server would refuse is refused before anything is held
        if not identifiers.NAME.fullmatch(wanted.provider):
            raise UnknownProviderError(wanted.provider[:64])  # PostgreSQL can't be asked about every text
        fresh = f"run_{uuid.uuid4().hex}"
        run_id, facts = await asyncio.gather(
            self._bind(who.org, wanted.idempotency_key, fresh), self._parts.facts.get(who.org, wanted.provider)
        )
        while True:
            stored = None if run_id == fresh else await self._parts.records.get(run_id, org_slug=who.org)
            if stored is None:
                stored = await self._begin(who, wanted, run_id, facts)
            elif not is_unmade(stored):
                return run_id  # crash or not, the first request has come to its end
            else:
                # Admitted by the first request, which holds its slot: this one has a minute again to make the object.
                stored = await self._parts.ledger.reserve(stored)
            if not (stored.phase.is_final and is_unmade(stored)) or wanted.idempotency_key is None:
                break
            # It was ended as nobody made its object. Whoever asks again wants a run, not that end.
            run_id = await self._parts.idempotency.rebind(
                who.org, wanted.idempotency_key.key, from_run_id=run_id, to_run_id=fresh
            )
        # crash here: the next request with the same key goes on, or healing ends the record and frees the slot.
        if not stored.phase.is_final and is_unmade(stored):
            trace = Trace(wanted.request_id, wanted.traceparent)
            parameters = object_parameters(wanted.parameters)
            manifest = build_run(stored, parameters, trace, schedule=wanted.schedule, template=wanted.template)
            await make_object(self._parts, stored, manifest, is_shared=wanted.idempotency_key is not None)
        # crash here: the run goes on; the next request with the same key gets the same answer.
        return run_id

    async def _bind(self, org: str, key: IdempotencyKey | None, fresh: str) -> str:
        if key is None:
            return fresh
        return await self._parts.idempotency.bind(org, key.key, key.fingerprint, fresh)

    async def _begin(self, who: Principal, wanted: Wanted, run_id: str, facts: Facts) -> StoredRun:
        """Admit the run and reserve its slot, with its record; the record that is there, where another was faster."""
        parts, schedule = self._parts, wanted.schedule
        logical_time = parts.now().replace(microsecond=0)
        request = _request(who, wanted, run_id, logical_time)
        document = admit(parts.catalog.current(), request, facts, env=parts.settings.env)
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
            return await parts.ledger.reserve(record)
        except QuotaExceededError as error:
            raise limit_problem(error, await parts.ledger.standing(who.org)) from error


def is_unmade(run: StoredRun) -> bool:
    """Whether no object of the run has been seen: the operator binds the record to it before anything else."""
    return run.object_uid is None


def _request(who: Principal, wanted: Wanted, run_id: str, logical_time: datetime) -> RunRequest:
    return RunRequest(
        run_id=run_id,
        org_slug=who.org,
        provider=wanted.provider,
        domain=wanted.domain,
        pipeline=wanted.pipeline,
        parameters=wanted.parameters,
        logical_time=logical_time,
        timeout_seconds=wanted.template.get("timeoutSeconds"),
        max_retries=wanted.template.get("maxRetries"),
    )
