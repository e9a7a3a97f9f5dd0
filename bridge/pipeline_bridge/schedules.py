"""Lists, makes, changes and deletes an organization's schedules."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline_bridge import schedule_objects
from pipeline_bridge.models.schedules import PipelineSchedule, ScheduleChange, ScheduleCreate
from pipeline_bridge.parts import Parts
from pipeline_bridge.problems import Problem
from pipeline_bridge.schedule_checks import check_template, check_unmanaged, plan_of
from pipeline_core.errors import RequestInvalidError
from pipeline_core.kube.api import Json, KubeError

# How often a change is tried that somebody else's came between: a status is written at each tick, so one is likely.
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Schedules:
    """The schedules of organizations.

    Every method raises KubeError and KubeUnavailableError, and those that take an id raise Problem 404
    `ScheduleNotFound`, for a schedule of another organization as for one that doesn't exist.
    """

    parts: Parts

    async def list_all(self, org: str) -> list[PipelineSchedule]:
        """The organization's schedules, sorted by provider, domain, pipeline and id."""
        shown = [schedule_objects.shown(schedule) for schedule in await self._objects(org)]
        return sorted(shown, key=lambda one: (one.provider, one.domain, one.pipeline, one.schedule_id))

    async def find(self, org: str, schedule_id: str) -> Json:
        """The object of the schedule."""
        for schedule in await self._objects(org):
            if schedule_objects.schedule_id(schedule) == schedule_id:
                return schedule
        raise _not_found(schedule_id)

    async def create(self, org: str, wanted: ScheduleCreate, annotations: Mapping[str, str]) -> str:
        """Make the schedule; answers its id.

        Raises UnknownProviderError, PipelineNotFoundError, ParametersInvalidError, and Problem 409 `NameTaken`.
        """
        what = {"provider": wanted.provider, "domain": wanted.domain, "pipeline": wanted.pipeline}
        plan = plan_of(self.parts, {"org": org, **what, "parameters": wanted.parameters}, self.parts.now())
        body = schedule_objects.new_schedule(org, wanted, pipeline=plan.config.stem, annotations=annotations)
        check_template(body["spec"].get("runTemplate") or {})
        namespace = await self.parts.placement.namespace_for(org)
        try:
            made = await self.parts.cluster.create_schedule(namespace, body)
        except KubeError as error:
            if error.reason != "AlreadyExists":
                raise
            name = body["metadata"]["name"]
            detail = f"name: {name!r} is taken by another schedule; expected a name that is free, or none"
            raise Problem(409, "NameTaken", detail, title="A schedule of this name exists") from None
        return schedule_objects.schedule_id(made)

    async def change(self, org: str, schedule_id: str, change: ScheduleChange) -> None:
        """Change the schedule, and none of what somebody else changes meanwhile.

        Raises RequestInvalidError where nothing is to be changed, ParametersInvalidError, and Problem 409:
        `ManagedByGitOps`, or `Conflict` where others changed it again and again.
        """
        if not change.model_fields_set:
            raise RequestInvalidError(f"expected at least one field of: {', '.join(type(change).model_fields)}")

        def patch_of(schedule: Json) -> Json:
            patch = schedule_objects.spec_patch(schedule, change)
            if change.parameters is not None:
                plan_of(self.parts, {**schedule["spec"], "parameters": change.parameters}, self.parts.now())
            if template := patch.get("runTemplate"):
                check_template({**(schedule["spec"].get("runTemplate") or {}), **template})
            return patch

        await self.patch(org, schedule_id, patch_of)

    async def patch(self, org: str, schedule_id: str, patch_of: Callable[[Json], Json | None]) -> None:
        """Merge what `patch_of` says into the spec of the schedule as it is; None: nothing has to be written.

        It is asked again where the schedule was changed meanwhile.
        Raises what that raises, and Problem 409: `ManagedByGitOps`, or `Conflict` where others change it all the time.
        """
        schedule = await self.find(org, schedule_id)
        for _ in range(_TRIES):
            check_unmanaged(schedule)
            patch = patch_of(schedule)
            if patch is None:
                return
            try:
                await self._write(schedule["metadata"], patch)
            except KubeError as error:
                if error.status == 404:
                    raise _not_found(schedule_id) from None
                if error.reason != "Conflict":
                    raise
            else:
                return
            schedule = await self._again(schedule, schedule_id)
        detail = f"Schedule {schedule_id} was changed by others {_TRIES} times meanwhile; try again"
        raise Problem(409, "Conflict", detail)

    async def remove(self, org: str, schedule_id: str) -> None:
        """Delete the schedule; runs that it has made go on. Raises Problem 409 `ManagedByGitOps`."""
        schedule = await self.find(org, schedule_id)
        check_unmanaged(schedule)
        metadata = schedule["metadata"]
        await self.parts.cluster.delete_schedule(metadata["namespace"], metadata["name"], metadata["uid"])

    async def _objects(self, org: str) -> list[Json]:
        namespaces = await self.parts.placement.namespaces_of(org)
        found = await asyncio.gather(*(self._listed(namespace, org) for namespace in namespaces))
        return [schedule for part in found for schedule in part]

    async def _listed(self, namespace: str | None, org: str) -> list[Json]:
        return [schedule async for schedule in self.parts.cluster.list_schedules(namespace, org)]

    async def _write(self, metadata: Json, spec: Json) -> None:
        # No other object ever has this version, so one that took the name meanwhile is left alone, too.
        patch = {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "spec": spec}
        await self.parts.cluster.patch_schedule(metadata["namespace"], metadata["name"], patch)

    async def _again(self, schedule: Json, schedule_id: str) -> Json:
        metadata = schedule["metadata"]
        now = await self.parts.cluster.get_schedule(metadata["namespace"], metadata["name"])
        # Another one may have taken the name; an organization never changes.
        if now is None or now["metadata"]["uid"] != metadata["uid"]:
            raise _not_found(schedule_id)
        return now


def _not_found(schedule_id: str) -> Problem:
    return Problem(404, "ScheduleNotFound", f"Schedule not found: {schedule_id[:64]}")
