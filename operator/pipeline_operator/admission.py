"""Admits a run: gathers the catalog and the organization's settings, and has the domain resolve the run."""

from datetime import datetime

from pipeline_core.catalog import CatalogWatcher
from pipeline_core.errors import RequestInvalidError
from pipeline_core.lifecycle.observed import Run
from pipeline_core.resolve import RunRequest, resolve_run
from pipeline_core.run_document import RunDocument
from pipeline_core.store.integrations import Integrations


class Admission:
    """Turns a PipelineRun into a run document, or refuses it."""

    def __init__(self, catalog: CatalogWatcher, integrations: Integrations, env: str) -> None:
        self._catalog = catalog
        self._integrations = integrations
        self._env = env

    async def admit(self, run: Run) -> RunDocument:
        """Resolve the run as of its logical time, so that asking again is the same answer.

        Raises PipelinesError for a refusal, StoreUnavailableError where PostgreSQL is away.
        """
        spec = run.spec
        integration = await self._integrations.get(spec.org, spec.provider)
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
        catalog = self._catalog.current()
        settings = integration.settings if integration is not None and integration.is_active else None
        return resolve_run(catalog, request, env=self._env, integration=settings)


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
