"""Where an organization's objects are: in the installation's namespace, or in namespaces of its own."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pipeline_bridge.cluster import BridgeCluster
from pipeline_bridge.problems import Problem
from pipeline_bridge.settings import BridgeSettings
from pipeline_core.admission.tenancy import TenancyMode
from pipeline_core.kube import names
from pipeline_core.kube.api import Json

# For so long an organization's namespaces count as what they were read as. The API server and the operator check each
# object anew, so what is old here can refuse a run, and never put one in another's namespace.
_KEPT_SECONDS = 30.0


@dataclass(slots=True)
class _Known:
    """An organization's namespaces as they were read last; one read at a time, which all that wait share."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    namespaces: tuple[str, ...] = ()
    read_at: float = float("-inf")


class Placement:
    """`clock` counts seconds and never goes back."""

    def __init__(
        self, cluster: BridgeCluster, settings: BridgeSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._cluster = cluster
        self._is_shared = settings.tenancy is TenancyMode.SHARED
        self._home = settings.home_namespace
        self._watched = tuple(settings.namespaces)
        self._clock = clock
        self._known: dict[str, _Known] = {}

    async def namespace_for(self, org: str) -> str:
        """The namespace in which a new object of the organization is made.

        Raises Problem 409 `NoNamespace` where it has none, KubeError and KubeUnavailableError.
        """
        if self._is_shared:
            return self._home
        if not (own := await self._own(org)):
            where = f"one of {', '.join(self._watched)}" if self._watched else "a namespace"
            raise Problem(
                409,
                "NoNamespace",
                f"Organization {org} has no namespace in this installation: expected {where} to have the label "
                f"{names.LABEL_ORG}={org}",
                title="No namespace for the organization",
            )
        return own[0]

    async def namespaces_of(self, org: str) -> Sequence[str | None]:
        """The namespaces in which the organization's objects may be; `[None]` means all of them.

        Raises KubeError and KubeUnavailableError.
        """
        if self._is_shared:
            return self._watched or (None,)
        return await self._own(org)

    async def _own(self, org: str) -> tuple[str, ...]:
        known = self._known.setdefault(org, _Known())
        # None is never taken for granted: whoever has just labelled a namespace needn't wait.
        asked_at = self._clock()
        async with known.lock:
            if known.read_at < (asked_at - _KEPT_SECONDS if known.namespaces else asked_at):
                began = self._clock()
                known.namespaces = await self._read(org)
                known.read_at = began
            return known.namespaces

    async def _read(self, org: str) -> tuple[str, ...]:
        """The namespaces whose label names the organization and that aren't going away, the oldest first."""
        if self._watched:
            found = [await self._cluster.get_namespace(name) for name in self._watched]
            bodies = [body for body in found if body is not None and _owner(body) == org]
        else:
            bodies = await self._cluster.list_namespaces(f"{names.LABEL_ORG}={org}")
        staying = [body["metadata"] for body in bodies if "deletionTimestamp" not in body["metadata"]]
        staying.sort(key=lambda metadata: (metadata.get("creationTimestamp") or "", metadata["name"]))
        return tuple(metadata["name"] for metadata in staying)


def _owner(body: Json) -> str | None:
    owner: str | None = (body["metadata"].get("labels") or {}).get(names.LABEL_ORG)
    return owner
