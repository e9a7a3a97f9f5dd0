"""Refuses a run in a namespace that isn't its organization's, where each organization has namespaces of its own.

The chart's ValidatingAdmissionPolicy does so before there is an object. This holds where the policy doesn't: for
objects older than it, those that came while it was away, and those whose namespace has another label by now.
"""

import asyncio
from collections.abc import Callable

from pipeline_core.admission.tenancy import TenancyMode, WrongNamespaceError
from pipeline_core.kube import names
from pipeline_core.kube.api import KubeError, KubeUnavailableError
from pipeline_core.lifecycle.observed import Run
from pipeline_operator.cluster import Cluster

# For so long a namespace counts as what it was read as: how late it may be noticed that an organization has lost it.
_KEPT_SECONDS = 30.0


class _Owner:
    """Whom a namespace's label names, and when that read began; one read at a time, which all that wait share."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.org: str | None = None
        self.asked_at = float("-inf")


class Tenancy:
    """`clock` counts seconds and never goes back, such as the event loop's."""

    def __init__(self, cluster: Cluster, mode: TenancyMode, clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._mode = mode
        self._clock = clock
        self._owners: dict[str, _Owner] = {}

    @property
    def mode(self) -> TenancyMode:
        """How this installation keeps its organizations apart."""
        return self._mode

    async def check(self, run: Run) -> None:
        """Nothing where the run may be in its namespace. What is refused was read after it was asked for.

        Raises WrongNamespaceError for a refusal, and where the namespace can't be read, so that the run has to wait,
        KubeUnavailableError or KubeError.
        """
        if self._mode is TenancyMode.SHARED:
            return
        arrived, owner = self._clock(), None
        for not_before in (arrived - _KEPT_SECONDS, arrived):
            owner = await self._owner(run.namespace, not_before)
            if owner == run.spec.org:
                return
        raise WrongNamespaceError(run.spec.org, run.namespace, names.LABEL_ORG, owner)

    async def owns(self, org: str, namespace: str) -> bool:
        """Whether its runs may be in the namespace, as of half a minute ago; True where nobody can say."""
        if self._mode is TenancyMode.SHARED:
            return True
        try:
            return await self._owner(namespace, self._clock() - _KEPT_SECONDS) == org
        except (KubeError, KubeUnavailableError):
            return True

    async def _owner(self, namespace: str, not_before: float) -> str | None:
        """Whom the namespace belongs to, as a read says that began at `not_before` or later."""
        known = self._owners.setdefault(namespace, _Owner())
        async with known.lock:
            if known.asked_at < not_before:
                began = self._clock()
                known.org = await self._read(namespace)
                known.asked_at = began
            return known.org

    async def _read(self, namespace: str) -> str | None:
        try:
            labels = await self._cluster.namespace_labels(namespace)
        except KubeError as error:
            if error.status != 403:
                raise
            raise KubeError(
                error.status,
                error.reason,
                f"namespace {namespace} can't be read, which tells whose runs may be in it (tenancy "
                f"{self._mode.value}): give the operator the right to get it, as an upgrade of the release does; "
                f"the API server says: {error.message}",
            ) from error
        if labels is None:
            # With it went its runs, which end as cancelled once that is seen: not a refusal.
            raise KubeError(404, "NotFound", f"namespace {namespace} isn't there")
        return labels.get(names.LABEL_ORG) or None
