"""The exporter, as far as it decides about runs: the production code, over what the world's runners have published."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from google.api_core.exceptions import ServiceUnavailable

from pipeline_operator.exporter.verdicts import Verdicts
from sim.postgres import Records
from sim.processes import Process

if TYPE_CHECKING:
    from sim.world import World

_POLL = 2.0


class Markers:
    """See `pipeline_core.store.bigquery.commits.CommitMarkers`; away as often as other services."""

    def __init__(self, world: "World") -> None:
        self._world = world

    async def published(self, org_slug: str, run_ids: Sequence[str], since: datetime) -> dict[str, int]:
        await asyncio.sleep(self._world.latency())
        if self._world.chaos.of_store_call():
            raise ServiceUnavailable("BigQuery is away")
        published = self._world.truth.published
        return {run_id: published[run_id].records for run_id in run_ids if run_id in published}


def start_exporter(world: "World") -> Process:
    """A process that is never killed: two of its calls in a row change nothing that one wouldn't."""
    process = Process("exporter")
    verdicts = Verdicts(Records(world, process, world.records), Markers(world), world.loop.now, _POLL)  # type: ignore[arg-type]
    process.spawn(verdicts.run(asyncio.Event()))
    return process
