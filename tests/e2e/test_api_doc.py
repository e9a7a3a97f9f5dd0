"""docs/api.md is true: its requests, from the first to the last, have the answers that it shows."""

import re
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import httpx2
import pytest

from pipeline_core.api_keys import Scope
from pipeline_core.store.bigquery.datasets import create_org_dataset
from pipeline_local.install import ENV
from support.api_page import Page, Step, is_a_name, read_steps
from support.http_api import HttpApi
from support.installation import Installation

STEPS = list(read_steps((Path(__file__).parents[2] / "docs" / "api.md").read_text()))
# What the page calls the organization, the day it copies, the day before that, the rows of the day, and those of the
# nine days before it, which a run that names no day copies as well.
ORG, DAY, DAY_BEFORE, ROWS, RESCANNED = "acme", "2026-11-21", "2026-11-20", "5526", "53748"
RUNS_A_DAY = 3
ENDS_WITHIN = 90.0
# What an answer has once a run has ended, or the operator has seen a schedule or its backfill.
TO_COME = ("completed", "next_run_at", "waiting")


@dataclass(frozen=True)
class Replayed:
    """A step as it went: the answer, what differed, and the page's names as they were before it."""

    answer: httpx2.Response
    difference: str | None
    before: Page


@pytest.fixture(scope="module")
def replayed(installation: Installation) -> Iterator[dict[str, Replayed]]:
    """All steps, in their order, with a new organization in acme's place."""
    api = HttpApi.of(installation)
    org = f"doc{secrets.token_hex(3)}"
    create_org_dataset(installation.client, org, ENV)
    api.organization(org, per_day=RUNS_A_DAY, per_month=500, concurrent=5)
    key = api.key(org, Scope.RUN, Scope.READ, Scope.SCHEDULE, requests_per_minute=600)
    environment = {"PIPELINES_BRIDGE_URL": api.url, "PIPELINES_API_KEY": key}
    last = installation.last_day
    rows = {day: sums.records for day, sums in installation.source_sums(last - timedelta(days=9), last).items()}
    page = Page(
        {
            ORG: org,
            DAY_BEFORE: str(last - timedelta(days=1)),
            DAY: str(last),
            ROWS: str(rows[last]),
            RESCANNED: str(sum(rows.values()) - rows[last]),
        }
    )
    with httpx2.Client(timeout=ENDS_WITHIN) as client:
        went: dict[str, Replayed] = {}
        with ExitStack() as standing_still:
            for step, following in pairwise([*STEPS, None]):
                assert step is not None
                if following is not None and "/cancel/" in following.request and "/run/" in step.request:
                    # The run that is cancelled next must not end by itself before: it waits for BigQuery.
                    standing_still.enter_context(installation.bigquery_stopped())
                went[step.name] = replay(client, page, step, environment)
                if "/cancel/" in step.request:
                    standing_still.close()
        yield went
    installation.client.delete_dataset(f"{org}_{ENV}", delete_contents=True, not_found_ok=True)


def replay(client: httpx2.Client, page: Page, step: Step, environment: dict[str, str]) -> Replayed:
    """Send a step's request: once, but for one that may wait until something has come, and that changes nothing."""
    deadline = time.monotonic() + ENDS_WITHIN
    before = Page(dict(page.values), dict(page.names))
    request = page.request(step, environment)
    if "/cancel/" in request.url.path:
        await_start(client, request)
    waits = any(word in step.body for word in TO_COME) if request.method == "GET" else step.status.startswith("429")
    while True:
        answer = client.send(page.request(step, environment))
        difference = page.difference(step, answer)
        if difference is None or not waits or time.monotonic() > deadline:
            return Replayed(answer, difference, before)
        time.sleep(0.5)


def await_start(client: httpx2.Client, cancel: httpx2.Request) -> None:
    """Wait until the run's container has started, as it has by the time that a person cancels: it counts by then."""
    status = httpx2.URL(str(cancel.url).replace("/cancel/", "/status/"))
    deadline = time.monotonic() + ENDS_WITHIN
    while client.get(status, headers=cancel.headers).json()["status"] in {"pending", "validating"}:
        assert time.monotonic() < deadline, f"{cancel.url}: the run doesn't start"
        time.sleep(0.1)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_the_answer_is_the_one_that_the_page_shows(replayed: dict[str, Replayed], step: Step) -> None:
    difference = replayed[step.name].difference
    assert difference is None, f"docs/api.md, {step.name}:\n{difference}"


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_every_word_of_the_page_counts(replayed: dict[str, Replayed], step: Step) -> None:
    """The same answer differs from a page with any one word changed, but for those that stand for something."""
    went = replayed[step.name]
    if went.difference is not None:
        pytest.skip("it differs as it is")
    unnoticed = []
    for changed, word in changes(step):
        page = Page(dict(went.before.values), dict(went.before.names))
        if page.difference(changed, went.answer) is None:
            unnoticed.append(word)
    assert not unnoticed


def changes(step: Step) -> Iterator[tuple[Step, str]]:
    """The step with one word of its answer changed, and that word."""
    yield Step(step.line, step.request, "418 I'm a teapot", step.headers, step.body), step.status
    for name, value in step.headers.items():
        if name not in {"RateLimit", "Retry-After"}:
            yield Step(step.line, step.request, step.status, {**step.headers, name: f"{value}x"}, step.body), name
    is_stream = "event: " in step.body
    for word in re.finditer(r"[A-Za-z_]{2,}", step.body if not is_stream else ""):
        changed = f"{step.body[: word.start()]}Zq{step.body[word.end() :]}"
        if not is_a_name(step.body, *word.span()):
            yield Step(step.line, step.request, step.status, step.headers, changed), word[0]
    if is_stream:
        changed = step.body.replace('"completed"', '"failed"')
        yield Step(step.line, step.request, step.status, step.headers, changed), "completed"
