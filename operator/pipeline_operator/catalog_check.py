"""Says soon, and not only with the next run, that the newest catalog can't be used."""

import asyncio

import structlog

from pipeline_core.catalog.watcher import CatalogWatcher
from pipeline_operator import metrics

_log = structlog.get_logger(__name__)

_SECONDS = 30.0


async def check_forever(catalog: CatalogWatcher) -> None:
    """Look at the files again and again; each new finding is logged once."""
    said: str | None = None
    while True:
        await asyncio.to_thread(catalog.current)
        wrong = str(catalog.error) if catalog.error else None
        metrics.CATALOG_INVALID.set(wrong is not None)
        if wrong is not None and wrong != said:
            _log.error("catalog refused; the last good one is used", error=wrong)
        elif wrong is None and said is not None:
            _log.info("catalog is good again")
        said = wrong
        await asyncio.sleep(_SECONDS)
