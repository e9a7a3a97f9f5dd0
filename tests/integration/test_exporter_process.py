"""The exporter as the process that the chart starts: between the real PostgreSQL and the stand-in, with its probes."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.settings import BigQuerySettings
from pipeline_core.store.bigquery.client import bigquery_client
from pipeline_core.store.records import RunRecords
from pipeline_core.store.schedules import ScheduleRecords
from pipeline_local.services.bigquery import BigQuery
from pipeline_local.services.processes import free_port
from support.runs import after, new_run
from support.schedules import schedule_row
from support.waiting import eventually


@dataclass
class Process:
    """A running exporter."""

    process: asyncio.subprocess.Process
    port: int

    async def answer(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.port}{path}") as answer:
            return answer.status, await answer.text()

    async def ready(self) -> bool:
        assert self.process.returncode is None
        try:
            return (await self.answer("/readyz"))[0] == 200
        except aiohttp.ClientConnectionError:
            return False


@asynccontextmanager
async def exporter(database_url: str, dataset: str, **environment: str) -> AsyncIterator[Process]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pipeline_operator.exporter"),
        env={
            **os.environ,
            "PIPELINES_DATABASE_URL": database_url,
            "PIPELINES_ENV": "test",
            "PIPELINES_RECORDS_DATASET": dataset,
            "PIPELINES_HTTP_HOST": "127.0.0.1",
            "PIPELINES_HTTP_PORT": str(port),
            **environment,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Process(process, port)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_from_start_to_sigterm(
    database_url: str, engine: AsyncEngine, bigquery: BigQuery, bigquery_settings: BigQuerySettings
) -> None:
    records, client = RunRecords(engine), bigquery_client(bigquery_settings)

    async def exported() -> list[tuple[object, ...]]:
        query = "SELECT run_id, status, error_message FROM process_records.pipeline_runs"
        return await asyncio.to_thread(lambda: [tuple(row) for row in client.query_and_wait(query)])

    async def exported_schedules() -> list[tuple[object, ...]]:
        query = "SELECT schedule_id, cron_expression, next_run_at FROM process_records.pipeline_schedules"
        return await asyncio.to_thread(lambda: [tuple(row) for row in client.query_and_wait(query)])

    async with exporter(database_url, "process_records", PIPELINES_EXPORT_INTERVAL="0.5") as running:
        await eventually(running.ready, seconds=60)
        assert await running.answer("/healthz") == (200, "ok\n")
        await records.begin(new_run())
        await records.finish("run_1", phase=Phase.FAILED, at=after(1), error_message="ExternalBQExtractor: gone")
        assert await eventually(exported) == [("run_1", "failed", "ExternalBQExtractor: gone")]

        await ScheduleRecords(engine).put_many([schedule_row()])
        assert await eventually(exported_schedules) == [("sch_1", "0 6 * * *", after(3600))]

        async def counted() -> bool:
            metrics = (await running.answer("/metrics"))[1]
            return "pipelines_export_rows_total 2.0" in metrics and "pipelines_export_lag_seconds 0.0" in metrics

        await eventually(counted)
        running.process.send_signal(signal.SIGTERM)
        output, errors = await asyncio.wait_for(running.process.communicate(), 30)
    assert (running.process.returncode, output) == (0, b"")
    lines = [json.loads(line) for line in errors.splitlines()]
    assert [line["event"] for line in lines if line["level"] == "info"][-1] == "exporter stopped"
    assert all(line["component"] == "exporter" for line in lines)
    assert database_url.split(":")[2].split("@")[0] not in errors.decode()
    client.close()


async def test_a_wrong_address_is_named_without_its_password(bigquery: BigQuery) -> None:
    async with exporter("mysql://u:s3cret-word@h/d", "x") as running:
        _, errors = await asyncio.wait_for(running.process.communicate(), 60)
    assert running.process.returncode == 78
    assert "postgresql://user" in errors.decode()
    assert "s3cret-word" not in errors.decode()
