"""Admits a run: gathers the catalog and what PostgreSQL knows of the organization, and has the domain decide."""

from datetime import datetime

from pipeline_core.admission.admit import admit
from pipeline_core.catalog.watcher import CatalogWatcher
from pipeline_core.errors import RequestInvalidError
from pipeline_core.lifecycle.observed import Run
from pipeline_core.resolve import RunRequest
from pipeline_core.run_document import RunDocument
from pipeline_core.store.facts import AdmissionFacts
from pipeline_operator.tenancy import Tenancy


class Admission:
    """Turns a PipelineRun into a run document, or refuses it."""

    def __init__(self, catalog: CatalogWatcher, facts: AdmissionFacts, env: str, tenancy: Tenancy) -> None:
        self._catalog = catalog
        self._facts = facts
        self._env = env
        self._tenancy = tenancy

    async def admit(self, run: Run) -> RunDocument:
        """Resolve the run as of its logical time, so that asking again is the same answer; its quota comes after.

        Raises PipelinesError for a refusal, StoreUnavailableError where PostgreSQL is away, KubeUnavailableError or
        KubeError where the run's namespace can't be read.
        """
        await self._tenancy.check(run)  # first: a stranger to the organization learns nothing of it
        spec = run.spec
        request = RunRequest(
            run_id=run.run_id,
            org_slug=spec.org,
            provider=spec.provider,
            domain=spec.domain,
            pipeline=spec.pipeline,
            parameters=spec.parameters,
            logical_time=_logical_time(run),
            timeout_seconds=spec.timeout_seconds,
            max_retries=spec.max_retries,
        )
        facts = await self._facts.get(spec.org, spec.provider)
        return admit(self._catalog.current(), request, facts, env=self._env, tenancy=self._tenancy.mode)


def _logical_time(run: Run) -> datetime:
    given = run.spec.logical_time
    if given is None:
        return run.created_at
    try:
        return datetime.fromisoformat(given.upper())
    except ValueError:
        raise RequestInvalidError(
            f"spec.logicalTime: expected a time such as 2026-11-22T00:00:00Z, got {given!r:.60}"
        ) from None
