"""What runs of the providers' processors are held to, and the faults of a provider that they get over."""

import asyncio
from datetime import date
from functools import partial

import pytest

from pipeline_core.outcome import ExitCode, Outcome
from pipeline_core.run_document import RunDocument
from pipeline_runner.api.client import ApiClient
from pipeline_runner.api.clock import Clock
from pipeline_runner.execution import execute
from pipeline_runner.progress import Progress
from support.provider_runs import Customer, same_rows

FIRST, LAST = date(2026, 10, 1), date(2026, 10, 3)
DAYS = {"start_date": FIRST.isoformat(), "end_date": LAST.isoformat()}
# How many requests ask for a few days, where each is answered as it should be.
REPORTS = {"openai": 11, "anthropic": 2}
# Faults that a client gets over by asking again, or by putting up with them, and how often each request meets one.
FAULTS = {
    **dict.fromkeys(("429-retry-after-ms", "429-retry-after", "429-retry-after-date", "429-reset", "429-bare"), 0.05),
    **dict.fromkeys(("500", "503", "529", "dropped", "reset", "truncated", "missing-bucket"), 0.04),
    **dict.fromkeys(("short-page", "unknown-fields"), 0.08),
}
# What stands in a dataset beside the tables of its providers.
OURS = {"_pipelines_commits", "_pipelines_locks", "costs_focus"}


def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits for a provider pass in no time, and are counted as if they had."""
    slept = [0.0]

    async def sleep(seconds: float) -> None:
        slept[0] += seconds
        await asyncio.sleep(0)

    clock = Clock(monotonic=lambda: slept[0], sleep=sleep)
    monkeypatch.setattr("pipeline_runner.processors.api_usage.ApiClient", partial(ApiClient, clock=clock))


async def succeeds(document: RunDocument) -> Outcome:
    """The outcome of a run that has to end well at its first attempt."""
    outcome, code = await execute(document, Progress())
    assert (outcome.error, code) == (None, ExitCode.OK)
    return outcome


def check(customer: Customer, outcome: Outcome, first: date = FIRST, last: date = LAST, width: str = "1d") -> None:
    """The tables hold the truth of these days, and nothing else."""
    truth = customer.truth(first, last, bucket_width=width)
    costs, usage = customer.rows("costs"), customer.rows("usage")
    same_rows(costs, truth.rows["costs"])
    same_rows(usage, truth.rows["usage"])
    assert outcome.records_processed == len(costs) + len(usage)
