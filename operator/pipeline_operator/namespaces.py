"""Which of the watched namespaces can be worked in: with a namespace that is deleted go the operator's rights in it.

One that is gone, or in which the operator has no rights, is left out, and the others go on. When it can be worked in
again (it was made anew, and an upgrade of the release brought the rights back), the process ends, and the next one
watches it: nothing that happened there meanwhile is remembered wrongly.
"""

import asyncio
from collections.abc import Sequence
from enum import StrEnum

import structlog

from pipeline_core.kube.api import KubeError, KubeUnavailableError
from pipeline_operator import metrics
from pipeline_operator.cluster import Cluster

_log = structlog.get_logger(__name__)

_RETRY_SECONDS = 5.0
_LOOK_SECONDS = 10.0


class NamespaceBackError(Exception):
    """A namespace that was left out can be worked in: the process must start anew to watch it."""


class State(StrEnum):
    """What can be done in a namespace."""

    SERVED = "served"
    GONE = "gone"
    REFUSED = "refused"


class Namespaces:
    """`watched` are those to work in (none: all that there are), `own` is the one that this process runs in."""

    def __init__(self, cluster: Cluster, watched: Sequence[str], own: str) -> None:
        self._cluster = cluster
        self._own = own
        self._states: dict[str | None, State] = {}
        # Where runs can be worked in, but schedules can't be listed (None: nowhere can they).
        self.without_schedules: set[str | None] = set()
        self.watched: Sequence[str | None] = watched or [None]

    def is_watched(self, namespace: str) -> bool:
        """Whether runs there are this installation's."""
        return self.watched == [None] or namespace in self.watched

    async def is_gone(self, namespace: str | None) -> bool:
        """Whether the namespace isn't there; False where this process has no right to ask."""
        if namespace is None or namespace == self._own:
            return False
        try:
            return not await self._cluster.namespace_exists(namespace)
        except KubeError as error:
            if error.status != 403:
                raise
            return False

    async def until_served(self) -> list[str]:
        """Wait until PipelineRuns can be listed; returns where, which is nowhere once all namespaces are gone.

        Without the CRDs a watch would stay silent for ever. Where all namespaces are watched the answer is empty, too.
        """
        while True:
            try:
                states = [await self._look(namespace) for namespace in self.watched]
            except KubeError as error:
                _log.error("PipelineRuns can't be listed: are the CRDs installed?", error=error.message)
            except KubeUnavailableError as error:
                _log.warning("the API server isn't reached", error=str(error))
            else:
                # Refused everywhere: the rights were forgotten, or the API server has only just started.
                if State.SERVED in states or State.REFUSED not in states:
                    return [each for each, state in self._states.items() if each and state is State.SERVED]
            await asyncio.sleep(_RETRY_SECONDS)

    async def until_back(self) -> None:
        """Raise NamespaceBackError when one that `until_served` left out can be worked in."""
        while left_out := [each for each in self._states if self._is_left_out(each)]:
            await asyncio.sleep(_LOOK_SECONDS)
            for namespace in left_out:
                before = self._states[namespace]
                try:
                    state = await self._look(namespace)
                except (KubeError, KubeUnavailableError) as error:
                    _log.warning("namespace not looked at", namespace=namespace, error=str(error))
                    continue
                if state is State.SERVED and (state is not before or namespace not in self.without_schedules):
                    raise NamespaceBackError(f"namespace {namespace} can be worked in again")

    def _is_left_out(self, namespace: str | None) -> bool:
        return self._states[namespace] is not State.SERVED or namespace in self.without_schedules

    async def _look(self, namespace: str | None) -> State:
        """What can be done there now; said once for each change. Raises KubeError, KubeUnavailableError."""
        state, error = State.SERVED, ""
        # Asked for first: what is refused in a namespace that nobody needs any more would raise an alert.
        if await self.is_gone(namespace):
            state, error = State.GONE, "the namespace isn't there"
        else:
            try:
                async for _ in self._cluster.list_runs(namespace):
                    break
            except KubeError as refusal:
                if refusal.status != 403:
                    raise
                state, error = State.REFUSED, refusal.message
        if error and state is not self._states.get(namespace):
            _log.error("watched namespace left out", namespace=namespace, state=state.value, error=error)
        if state is State.SERVED:
            await self._look_at_schedules(namespace)
        self._states[namespace] = state
        for each in (State.GONE, State.REFUSED):
            metrics.NAMESPACES_LEFT_OUT.labels(each.value).set(list(self._states.values()).count(each))
        return state

    async def _look_at_schedules(self, namespace: str | None) -> None:
        """Whether schedules can be listed; rights that are kept outside the chart may know of runs alone."""
        try:
            async for _ in self._cluster.list_schedules(namespace):
                break
        except KubeError as refusal:
            if refusal.status != 403:
                raise
            if namespace not in self.without_schedules:
                _log.error(
                    "no schedule is seen to here: the operator lacks the rights to get, list and watch "
                    "pipelineschedules, and to patch pipelineschedules/status",
                    namespace=namespace or "all",
                    error=refusal.message,
                )
            self.without_schedules.add(namespace)
        else:
            self.without_schedules.discard(namespace)
