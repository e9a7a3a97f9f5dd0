"""A run that is told to stop while it commits: what was committed decides how it ends, not the cost view."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import pytest

from pipeline_runner.bigquery.columns import Column
from pipeline_runner.bigquery.transaction import Publication, Target
from pipeline_runner.bigquery.window import Window
from pipeline_runner.processors.base import ProcessorResult
from pipeline_runner.processors.warehouse_processor import WarehouseProcessor

TARGET = Target("ours.acme_test.costs", Column("day", "DATE"), "US")
DAYS = (Window(date(2026, 11, 1), date(2026, 11, 1)),)
PUBLICATION = Publication(TARGET, "ours.acme_test._staging", (), DAYS, 7, datetime(2026, 11, 2, tzinfo=UTC))


class Publisher:
    """Its transaction is under way until the run is told to stop, and then ends as `committed` says."""

    def __init__(self, committed: int | None) -> None:
        self.began = asyncio.Event()
        self._committed = committed

    async def commit(self, _publications: Sequence[Publication]) -> int:
        self.began.set()
        try:
            return await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            if self._committed is None:
                raise
            return self._committed


class Processor(WarehouseProcessor):
    """Its cost view never gets done."""

    location = ""
    ended = False

    async def see_to_view(self, location: str) -> None:
        self.location = location
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.ended = True

    async def extract(self, parameters: dict[str, Any]) -> None:
        raise NotImplementedError

    async def transform(self, data: None) -> None:
        raise NotImplementedError

    async def load(self, data: None) -> ProcessorResult:
        raise NotImplementedError


async def stopped(publisher: Publisher) -> asyncio.Task[int]:
    processor = Processor({}, "acme", "run_1")
    committing = asyncio.create_task(processor.commit(publisher, [PUBLICATION]))  # type: ignore[arg-type]
    await publisher.began.wait()
    committing.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait({committing})
    assert processor.location == "US"
    assert processor.ended
    return committing


async def test_a_run_that_has_committed_is_done_without_its_view() -> None:
    committing = await stopped(Publisher(7))
    assert committing.result() == 7


async def test_a_run_that_has_not_committed_is_stopped() -> None:
    committing = await stopped(Publisher(None))
    with pytest.raises(asyncio.CancelledError):
        committing.result()
