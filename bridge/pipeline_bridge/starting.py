"""Starts a run: admits it, reserves its slot, makes its PipelineRun. Each step can be repeated after a crash.

The name of the PipelineRun is a function of the run's id, so whoever makes it, and however often, there is one. The
operator takes it from there, and ends a run whose PipelineRun nobody has made for a minute (`healing`).
"""

import asyncio
import uuid

from pipeline_bridge.auth import Principal
from pipeline_bridge.making import is_made, make_object
from pipeline_bridge.parts import Parts
from pipeline_bridge.reserving import begin
from pipeline_bridge.run_objects import Trace, build_run, object_parameters
from pipeline_bridge.wanted import IdempotencyKey, Wanted
from pipeline_core import identifiers
from pipeline_core.errors import UnknownProviderError
from pipeline_core.kube.api import Json
from pipeline_core.store.runs import StoredRun


class Starting:
    """Starts runs with the parts of the process."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def find(self, who: Principal, key: IdempotencyKey) -> str | None:
        """The id of the run that the key stands for, if its PipelineRun is made; None where there is one to be started.

        Raises IdempotencyKeyReusedError, StoreUnavailableError, KubeError, and KubeUnavailableError where Kubernetes
        alone can tell.
        """
        run_id = await self._parts.idempotency.find(who.org, key.key, key.fingerprint)
        run = await self._parts.records.get(run_id, org_slug=who.org) if run_id is not None else None
        if run is None or (is_unmade(run) and (run.phase.is_final or not await is_made(self._parts, run))):
            return None
        return run_id

    async def start(self, who: Principal, wanted: Wanted) -> str:
        """The id of the run, which is pending by now or has gone on; with an idempotency key that of the first time,
        unless that run came to an end without an object: then it is a new one.

        Raises PipelinesError, Problem and KubeError for a refusal, after which nothing is held, and where PostgreSQL or
        Kubernetes is away. Then a slot may be held; the next request with the same key goes on with it, or healing
        gives it back.
        """
        object_parameters(wanted.parameters)  # what the API server would refuse is refused before anything is held
        if not identifiers.NAME.fullmatch(wanted.provider):
            raise UnknownProviderError(wanted.provider[:64])  # PostgreSQL can't be asked about every text
        fresh = new_run_id()
        run_id, facts = await asyncio.gather(
            self._bind(who.org, wanted.idempotency_key, fresh), self._parts.facts.get(who.org, wanted.provider)
        )
        while True:
            stored = None if run_id == fresh else await self._parts.records.get(run_id, org_slug=who.org)
            if stored is None:
                stored = await begin(self._parts, who, wanted, run_id, facts)
            elif is_unmade(stored) and not stored.phase.is_final:
                # Admitted by an earlier request, which holds its slot: this one has a minute again to make the object.
                stored = await self._parts.ledger.reserve(stored)
            if not is_unmade(stored):
                return run_id  # the operator has its object
            if not stored.phase.is_final:
                break
            if (key := wanted.idempotency_key) is None:
                return run_id  # nobody else can ask for it
            # It was ended as nobody made its object. Whoever asks again wants a run, not that end: another one, as the
            # first id of this request may be the one that ended, begun and given up by a request beside it.
            fresh = new_run_id()
            run_id = await self._parts.idempotency.rebind(
                who.org, key.key, key.fingerprint, from_run_id=run_id, to_run_id=fresh
            )
        # crash here: the next request with the same key goes on, or healing ends the record and frees the slot.
        await make_object(self._parts, stored, self._manifest(stored, wanted))
        # crash here: the run goes on; the next request with the same key gets the same answer.
        return run_id

    def _manifest(self, run: StoredRun, wanted: Wanted) -> Json:
        if run.took_slot:
            parameters = wanted.parameters_of(
                org=run.org_slug, env=self._parts.settings.env, run_id=run.run_id, logical_time=run.created_at
            )
        else:
            # What a schedule or a default was at the first request, it may not be now: the object follows the record.
            parameters = object_parameters(run.parameters)
        trace = Trace(wanted.request_id, wanted.traceparent)
        return build_run(run, parameters, trace, schedule=wanted.schedule, template=wanted.template)

    async def _bind(self, org: str, key: IdempotencyKey | None, fresh: str) -> str:
        if key is None:
            return fresh
        return await self._parts.idempotency.bind(org, key.key, key.fingerprint, fresh)


def new_run_id() -> str:
    """An id that no run has."""
    return f"run_{uuid.uuid4().hex}"


def is_unmade(run: StoredRun) -> bool:
    """Whether no object of the run has been seen: the operator binds the record to it before anything else."""
    return run.object_uid is None
