"""The bridge's process: wires the parts, serves until it is told to stop."""

import asyncio
import signal
import sys
from contextlib import closing, suppress

import structlog
import uvloop
from pydantic import ValidationError

from pipeline_bridge.app import make_app
from pipeline_bridge.cluster import BridgeCluster
from pipeline_bridge.parts import Parts
from pipeline_bridge.placement import Placement
from pipeline_bridge.probes import Heartbeat, Probes
from pipeline_bridge.server import BridgeServer
from pipeline_bridge.settings import BridgeSettings
from pipeline_core import process_metrics
from pipeline_core.catalog.watcher import CatalogWatcher
from pipeline_core.kube.api import KubeApi
from pipeline_core.logging import configure_logging
from pipeline_core.process import collect_seldom, end_within, print_problems
from pipeline_core.settings import DatabaseSettings
from pipeline_core.store.api_keys import ApiKeys
from pipeline_core.store.engine import create_engine
from pipeline_core.store.facts import AdmissionFacts
from pipeline_core.store.idempotency import IdempotencyKeys
from pipeline_core.store.quota.ledger import QuotaLedger
from pipeline_core.store.records import RunRecords

_log = structlog.get_logger(__name__)

# After the server's own time to stop: whatever still holds the process up then is let go.
_END_SECONDS = 15.0


async def bridge(settings: BridgeSettings, database: DatabaseSettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises OSError where a port is taken."""
    api = await KubeApi.from_environment()
    engine = create_engine(database.database_url.get_secret_value())
    try:
        cluster = BridgeCluster(api)
        parts = Parts(
            settings=settings,
            catalog=CatalogWatcher(settings.catalog_dir, processor_packages=settings.processor_packages),
            facts=AdmissionFacts(engine),
            ledger=QuotaLedger(engine),
            records=RunRecords(engine),
            keys=ApiKeys(engine),
            idempotency=IdempotencyKeys(engine),
            cluster=cluster,
            placement=Placement(cluster, settings),
        )
        await serve(parts)
    finally:
        await engine.dispose()
        await api.close()


async def serve(parts: Parts) -> None:
    """Serve the application until a signal comes; streams end by `parts.stopping`, other requests are answered."""
    settings, app, heartbeat = parts.settings, make_app(parts), Heartbeat()
    server = BridgeServer(
        app, settings.http_host, settings.http_port, connections_each=settings.max_connections_per_address
    )

    def stop() -> None:
        _log.info("stops")
        end_within(_END_SECONDS, 0)
        # Readiness and streams look at it; the server stops listening and waits for the answers under way.
        parts.stopping.set()
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    ready = app.state.readiness.wrong
    with closing(Probes(settings.http_host, settings.metrics_port, healthy=heartbeat.wrong, ready=ready)):
        beating = asyncio.create_task(heartbeat.beat_forever())
        try:
            await server.serve()
        finally:
            beating.cancel()
            with suppress(asyncio.CancelledError):
                await beating


def main() -> int:
    """Run the bridge; returns the exit code: 0 when told to stop, 1 where it can't serve, 2 for bad settings."""
    try:
        settings, database = BridgeSettings(), DatabaseSettings()
    except ValidationError as error:
        print_problems(error)
        return 2
    configure_logging(settings.log_level, "bridge")
    process_metrics.register("bridge")
    collect_seldom()
    try:
        uvloop.run(bridge(settings, database))
    except OSError as error:
        _log.error("can't serve", error=str(error))
        return 1
    except SystemExit:  # uvicorn's, which has logged why
        return 1
    _log.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
