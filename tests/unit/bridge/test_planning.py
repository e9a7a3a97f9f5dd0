"""Backfills are planned one at a time in the process, and each once a minute; what they may be is described."""

import asyncio
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipeline_bridge import planning
from pipeline_bridge.app import BridgeApp
from pipeline_bridge.models.backfills import check_backfill_id
from pipeline_bridge.problems import Problem
from pipeline_core.schedules.backfill import parse_bound
from pipeline_core.schedules.observed import BackfillSpec

NOW = datetime(2026, 11, 22, 12, 0, 30, tzinfo=UTC)
DAILY = ("0 6 * * *", "Etc/UTC")
BEGIN: Any = BridgeApp().openapi()["paths"]["/api/v1/scheduler/backfill/{schedule_id}"]["post"]
SCHEMA = BEGIN["requestBody"]["content"]["application/json"]["schema"]["properties"]


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    planning._planned.cache_clear()


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The first days of what is planned, in order."""
    real, found = planning.plan_backfill, list[str]()

    def plan(spec: BackfillSpec, *rest: Any) -> Any:
        found.append(spec.first)
        return real(spec, *rest)

    monkeypatch.setattr(planning, "plan_backfill", plan)
    return found


def of(first: str, last: str = "2026-10-31") -> BackfillSpec:
    return BackfillSpec("x", first, last)


async def test_one_is_planned_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    real, lock, both = planning.plan_backfill, threading.Lock(), threading.Event()

    def plan(*given: Any) -> Any:
        if not lock.acquire(blocking=False):
            both.set()
            return real(*given)
        with_another = both.wait(0.1)
        lock.release()
        assert not with_another
        return real(*given)

    monkeypatch.setattr(planning, "plan_backfill", plan)
    asked = [of(f"2026-10-0{day}") for day in range(1, 4)]
    plans = (planning.plan_of_backfill(f"org_{number}", DAILY, each, NOW) for number, each in enumerate(asked))
    found = await asyncio.gather(*plans)
    assert [each.total for each in found] == [31, 30, 29]
    assert not both.is_set()


async def test_no_organization_waits_for_all_that_another_asks(planned: list[str]) -> None:
    orgs = ("acme", "acme", "acme", "globex")
    asked = [(org, of(f"2026-10-0{day}")) for day, org in enumerate(orgs, 1)]
    await asyncio.gather(*(planning.plan_of_backfill(org, DAILY, each, NOW) for org, each in asked))
    assert planned == ["2026-10-01", "2026-10-04", "2026-10-02", "2026-10-03"]


async def test_the_same_plan_is_made_once_a_minute(planned: list[str]) -> None:
    for later in (0, 29, 30):
        await planning.plan_of_backfill("acme", DAILY, of("2026-10-01"), NOW + timedelta(seconds=later))
    assert planned == ["2026-10-01"] * 2
    await planning.plan_of_backfill("acme", ("0 7 * * *", "Etc/UTC"), of("2026-10-01"), NOW)
    await planning.plan_of_backfill("acme", ("0 6 * * *", "Europe/Madrid"), of("2026-10-01"), NOW)
    await planning.plan_of_backfill("acme", DAILY, of("2026-10-01", "2026-10-30"), NOW)
    assert len(planned) == 5


async def test_what_cannot_be_is_found_out_once_a_minute_too(planned: list[str]) -> None:
    for _ in range(2):
        with pytest.raises(Problem, match="expected at most 5000 ticks"):
            await planning.plan_of_backfill("acme", ("* * * * *", "Etc/UTC"), of("2026-10-01"), NOW)
    assert planned == ["2026-10-01"]


def _is_taken(check: Callable[[], object]) -> bool:
    try:
        check()
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    "text",
    [
        "2026-10-01", "2026-10-01T06:00:00Z", "2026-10-01T06:00:00.5+02:00", "1.10.2026", "2026-10-1", "", "20261001",
        "2026-10-01T06:00:00", "2026-10-01T06:00Z", "2026-10-01 06:00:00Z", "2026-10-01T06:00:00z", "2026-10-01x",
    ],
)  # fmt: skip
def test_the_description_takes_the_bounds_that_are_taken(text: str) -> None:
    is_taken = _is_taken(lambda: parse_bound(text, "Etc/UTC", is_end=False))
    for field in ("from", "to"):
        assert (re.search(SCHEMA[field]["pattern"], text) is not None) is is_taken


@pytest.mark.parametrize("text", ["october", "o", "o-1", "Oct", "-o", "o-", "", "o" * 32, "o" * 33, "o_1"])
def test_the_description_takes_the_ids_that_are_taken(text: str) -> None:
    assert (re.search(SCHEMA["id"]["pattern"], text) is not None) is _is_taken(lambda: check_backfill_id(text))
