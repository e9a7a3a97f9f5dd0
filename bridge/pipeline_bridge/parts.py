"""What the endpoints work with, made once for a process."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from fastapi import Request

from pipeline_bridge.cluster import BridgeCluster
from pipeline_bridge.placement import Placement
from pipeline_bridge.settings import BridgeSettings
from pipeline_bridge.stale_slots import StaleSlots
from pipeline_core.catalog.watcher import CatalogWatcher
from pipeline_core.process import now
from pipeline_core.store.api_keys import ApiKeys
from pipeline_core.store.facts import AdmissionFacts
from pipeline_core.store.idempotency import IdempotencyKeys
from pipeline_core.store.quota.ledger import QuotaLedger
from pipeline_core.store.records import RunRecords


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts, wired. `stopping` is set when the process is told to stop: streams end then."""

    settings: BridgeSettings
    catalog: CatalogWatcher
    facts: AdmissionFacts
    ledger: QuotaLedger
    records: RunRecords
    keys: ApiKeys
    idempotency: IdempotencyKeys
    cluster: BridgeCluster
    placement: Placement
    now: Callable[[], datetime] = now
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    stale_slots: StaleSlots = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stale_slots", StaleSlots(self.ledger, self.cluster, self.now))


def parts(request: Request) -> Parts:
    """The parts of the request's process."""
    found: Parts = request.app.state.parts
    return found


async def needs_parts(request: Request) -> Parts:
    """The same as a dependency of endpoints: one that isn't async would be called in a thread."""
    return parts(request)
