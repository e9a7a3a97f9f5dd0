"""Starts a run: admits it, reserves its slot, makes its PipelineRun. Each step can be repeated after a crash.

The name of the PipelineRun is a function of the run's id, so whoever makes it, and however often, there is one. The
operator takes it from there, and ends a run whose PipelineRun nobody has made for a minute (`healing`).
"""

import asyncio
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from pipeline_bridge.auth import Principal
from pipeline_bridge.limits import limit_problem
from pipeline_bridge.parts import Parts
from pipeline_bridge.problems import RETRY_AFTER, Problem
from pipeline_bridge.run_objects import ScheduleRef, Trace, build_run, object_parameters
from pipeline_core import identifiers
from pipeline_core.admission.admit import Facts, admit
from pipeline_core.admission.quota import QuotaExceededError
from pipeline_core.errors import UnknownProviderError
from pipeline_core.kube.api import KubeError, KubeNotReachedError, KubeUnavailableError
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.lifecycle.reasons import Reason
from pipeline_core.resolve import RunRequest
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_core.store.runs import NewRun, StoredRun

_log = structlog.get_logger(__name__)

# A call that failed this soon is made once more: an API server that is replaced drops its connections.
_AGAIN_WITHIN_SECONDS = 1.0


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
            await self._make(stored, wanted)
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

    async def _make(self, run: StoredRun, wanted: Wanted) -> None:
        """Make the run's PipelineRun; that it is there already is as good."""
        trace = Trace(wanted.request_id, wanted.traceparent)
        parameters = object_parameters(wanted.parameters)
        manifest = build_run(run, parameters, trace, schedule=wanted.schedule, template=wanted.template)
        began, may_exist = time.monotonic(), False
        for is_last in (False, True):
            try:
                await self._parts.cluster.create_run(run.object_namespace or "", manifest)
            except KubeError as error:
                if error.reason == "AlreadyExists":
                    return
                if may_exist:  # a quota is asked before the name is, and the object may be what fills it
                    raise _away(run.run_id) from error
                if error.status < 500:
                    await self._give_back(run, wanted, f"The Kubernetes API refused the PipelineRun: {error.message}")
                raise
            except KubeUnavailableError as error:
                may_exist = may_exist or not isinstance(error, KubeNotReachedError)
                if not is_last and time.monotonic() < began + _AGAIN_WITHIN_SECONDS:
                    continue
                if not may_exist and await self._give_back(run, wanted, "The Kubernetes API couldn't be reached"):
                    raise  # certainly not made, and nothing is left of it
                raise _away(run.run_id) from error
            else:
                return

    async def _give_back(self, run: StoredRun, wanted: Wanted, message: str) -> bool:
        """End the run, whose object certainly isn't made; returns whether it did.

        Not with an idempotency key: another request may be making the object in this moment, and a later one goes on
        with this slot. Healing gives it back where none comes.
        """
        if wanted.idempotency_key is not None:
            return False
        try:
            await self._parts.records.finish(
                run.run_id,
                phase=Phase.FAILED,
                at=self._parts.now(),
                error_message=message,
                message=message,
                reason=Reason.REJECTED,
                frees=True,
            )
        except StoreUnavailableError as error:
            _log.warning("slot left to be healed", run_id=run.run_id, org=run.org_slug, error=str(error))
            return False
        return True


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


def _away(run_id: str) -> Problem:
    """Whether the run is made isn't known: its id is told, by which that can be seen."""
    return Problem(
        503,
        "KubernetesUnavailable",
        f"The Kubernetes API didn't say whether run {run_id} was made: ask for its status, or send the request again "
        "with the same Idempotency-Key",
        title="Kubernetes is unavailable",
        headers=RETRY_AFTER,
        members={"run_id": run_id},
    )
