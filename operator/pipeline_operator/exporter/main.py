"""The exporter's process: wires the parts, exports until it is told to stop."""

import asyncio
import signal
import sys
from contextlib import closing
from datetime import UTC, datetime

import structlog
from prometheus_client import REGISTRY
from pydantic import ValidationError

from pipeline_core import process_metrics
from pipeline_core.logging import configure_logging
from pipeline_core.settings import BigQuerySettings
from pipeline_core.store.bigquery.client import bigquery_client
from pipeline_core.store.bigquery.commits import CommitMarkers
from pipeline_core.store.bigquery.record_tables import RecordTables
from pipeline_core.store.engine import create_engine
from pipeline_core.store.outbox import Outbox
from pipeline_core.store.records import RunRecords
from pipeline_operator.exporter.loop import Exporter
from pipeline_operator.exporter.metrics import ExporterMetrics
from pipeline_operator.exporter.settings import ExporterSettings
from pipeline_operator.exporter.verdicts import Verdicts
from pipeline_operator.http import serve_apart

log = structlog.get_logger(__name__)


async def run(settings: ExporterSettings, bigquery_settings: BigQuerySettings) -> None:
    """Export until SIGTERM or SIGINT; the batch under way is finished.

    Raises ValueError for a wrong database address, google.auth's DefaultCredentialsError without credentials, an
    ExceptionGroup with an OSError if the HTTP port is taken.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # One connection for the turn, one for the announcement and the metric, one for the verdicts.
    engine = create_engine(settings.database_url.get_secret_value(), pool_size=3, max_overflow=0)
    with closing(await asyncio.to_thread(bigquery_client, bigquery_settings)) as client:
        target = RecordTables(client, settings.records_dataset)
        metrics = ExporterMetrics(REGISTRY)
        exporter = Exporter(Outbox(engine), target, settings, metrics)
        markers = CommitMarkers(client, settings.env)
        verdicts = Verdicts(RunRecords(engine), markers, lambda: datetime.now(UTC), settings.verdict_poll, metrics)
        log.info("exporter started", dataset=settings.records_dataset, interval=settings.export_interval)
        try:
            async with asyncio.TaskGroup() as group:
                server = group.create_task(
                    serve_apart(
                        settings.http_host,
                        settings.http_port,
                        healthy=lambda: exporter.unhealthy() or verdicts.unhealthy(),
                        ready=exporter.unready,
                    )
                )
                group.create_task(verdicts.run(stop))
                await exporter.run(stop)
                server.cancel()
        finally:
            await engine.dispose()
    log.info("exporter stopped")


def main() -> int:
    """Run as the environment says; returns 78 for wrong settings."""
    try:
        settings, bigquery_settings = ExporterSettings(), BigQuerySettings()
        configure_logging(settings.log_level, "exporter")
        process_metrics.register("exporter")
        asyncio.run(run(settings, bigquery_settings))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        sys.stderr.write(f"wrong settings: {wrong}\n")
        return 78
    except ValueError as error:
        sys.stderr.write(f"wrong settings: {error}\n")
        return 78
    return 0
