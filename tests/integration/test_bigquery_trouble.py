"""Copies through the trouble that BigQuery makes: each ends right, or asks for another attempt that does."""

import http.client
import json
import time
from collections.abc import Iterator
from decimal import Decimal
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from pipeline_core.settings import BigQuerySettings
from pipeline_local.simulators.bigquery_trouble import Kind, trouble_before
from pipeline_local.simulators.server import start_simulators
from support.billing import Billing, row
from support.trouble import OFTEN, through_attempts, trouble_on_the_way

DAYS = ("2026-11-01", "2026-11-02")


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    """A server that always answers, in place of the stand-in."""
    with start_simulators() as simulators:
        yield f"{simulators.url}"


def ask(url: str) -> bytes:
    with urlopen(f"{url}/_simulator/ready", timeout=10) as answer:
        read: bytes = answer.read()
        return read


def test_the_same_seed_makes_the_same_trouble_whatever_the_ids(upstream: str) -> None:
    def met(seed: int, job: str) -> list[str]:
        with trouble_before(upstream, seed=seed, shares=OFTEN, slow_seconds=0) as made:
            told = []
            for number in range(40):
                try:
                    urlopen(f"{made.url}/{job}{number}", timeout=10).close()
                except HTTPError as refused:
                    told.append(str(refused.code))
                    refused.close()
                except (ConnectionError, http.client.HTTPException) as broken:
                    told.append(type(broken).__name__)
            assert made.requests == 40
            return told

    first = met(1, "run_a1")
    assert first == met(1, "run_b2")
    assert first != met(2, "run_a1")
    assert {"403", "404", "503"} <= set(first)


@pytest.mark.parametrize(
    ("kind", "status", "reason"), [("503", 503, "backendError"), ("rate-limit", 403, "rateLimitExceeded")]
)
def test_it_refuses_in_the_words_of_bigquery_and_then_lets_through(
    upstream: str, kind: Kind, status: int, reason: str
) -> None:
    with trouble_before(upstream, seed=0, shares={kind: 1}, in_a_row=1) as made:
        with pytest.raises(HTTPError) as caught:
            ask(made.url)
        with caught.value as refused:
            assert (refused.code, json.load(refused)["error"]["errors"][0]["reason"]) == (status, reason)
        assert ask(made.url)
        assert made.met == {kind: 1}


def test_an_answer_is_lost_or_breaks_off_after_it_was_asked_for(upstream: str) -> None:
    with trouble_before(upstream, seed=0, shares={"lost": 1}) as made, pytest.raises(http.client.RemoteDisconnected):
        ask(made.url)
    with (
        trouble_before(upstream, seed=0, shares={"reset": 1}) as made,
        pytest.raises((ConnectionResetError, http.client.IncompleteRead)),
    ):
        ask(made.url)
    began = time.monotonic()
    with trouble_before(upstream, seed=0, shares={"slow": 1}, slow_seconds=0.2) as made:
        assert ask(made.url)
    assert time.monotonic() - began > 0.2


def test_a_job_whose_answer_was_lost_is_there(upstream: str) -> None:
    def make(url: str) -> int:
        body = json.dumps({"jobReference": {"jobId": "one"}}).encode()
        try:
            with urlopen(Request(f"{url}/bigquery/v2/projects/p/jobs", body, method="POST"), timeout=10) as answer:
                return int(answer.status)
        except HTTPError as refused:
            with refused:
                return refused.code

    with trouble_before(upstream, seed=0, shares={"lost": 1}, in_a_row=1) as made:
        with pytest.raises(http.client.RemoteDisconnected):
            make(made.url)
        assert make(made.url) == 409


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("read", ["query", "storage"])
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.full) for seed in (2, 3, 4))])
async def test_a_copy_ends_right(bigquery_settings: BigQuerySettings, seed: int, read: str) -> None:
    billing = Billing(bigquery_settings)
    billing.make_source([row(day, cost) for day in DAYS for cost in ("1.25", "2.5")])
    document = billing.document(read=read, start_date=DAYS[0], end_date=DAYS[-1])
    with trouble_on_the_way(seed) as made:
        outcome = await through_attempts(document)
    assert outcome.records_processed == 4
    assert billing.costs() == [Decimal("1.25"), Decimal("2.5")] * 2
    assert sum(made.met.values()) > made.requests / 10, "a test of trouble has to meet some"
