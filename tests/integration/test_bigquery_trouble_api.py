"""Runs of the providers' processors through the trouble that BigQuery makes, beside what the provider itself does."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pipeline_core.settings import BigQuerySettings
from pipeline_local.simulators.server import Simulators, start_simulators
from pipeline_runner.bigquery.publishing import Publication, Publisher
from pipeline_runner.errors import TransientError
from support.provider_checks import DAYS, FAULTS, FIRST, LAST, OURS, check, without_waiting
from support.provider_runs import Customer, customer_with_key
from support.trouble import through_attempts, trouble_on_the_way

pytestmark = pytest.mark.usefixtures("quick_retries")


@pytest.fixture(scope="module")
def simulators() -> Iterator[Simulators]:
    with start_simulators(seed=13) as started:
        yield started


@pytest.fixture(params=["openai", "anthropic"])
def customer(
    request: pytest.FixtureRequest,
    bigquery_settings: BigQuerySettings,
    simulators: Simulators,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Customer:
    without_waiting(monkeypatch)
    return customer_with_key(bigquery_settings, request.param, simulators, tmp_path, monkeypatch)


def ends_once(monkeypatch: pytest.MonkeyPatch, when: str) -> list[str]:
    """Have the first attempt end for a passing reason before or after its transaction; `when` once it has."""
    commit, ended = Publisher.commit, list[str]()

    async def patched(self: Publisher, publications: Sequence[Publication]) -> int:
        rows = await commit(self, publications) if ended or when == "after" else 0
        if not ended:
            ended.append(when)
            raise TransientError(f"ended {when} its transaction")
        return rows

    monkeypatch.setattr(Publisher, "commit", patched)
    return ended


def markers(customer: Customer, run_id: str) -> list[tuple[object, ...]]:
    """What the run's commit markers say: table, days and rows."""
    columns = "target, window_start, window_end, row_count"
    found = customer.sql(
        f"SELECT {columns} FROM `{customer.dataset}._pipelines_commits` WHERE run_id = '{run_id}' ORDER BY target"
    )
    return [tuple(each.values()) for each in found]


@pytest.mark.parametrize(
    ("seed", "when"),
    [
        (1, "after"),
        *(pytest.param(*each, marks=pytest.mark.full) for each in ((1, "before"), (2, "before"), (3, "after"))),
        *(pytest.param(*each, marks=pytest.mark.full) for each in ((5, "after"), (6, "before"), (8, "after"))),
    ],
)
async def test_a_run_ends_right_and_so_does_the_next(
    customer: Customer, monkeypatch: pytest.MonkeyPatch, seed: int, when: str
) -> None:
    ended = ends_once(monkeypatch, when)
    customer.simulators.plan(seed=seed, faults=FAULTS)
    names = [f"{customer.provider}_{key}" for key in ("costs", "usage")]
    runs = [customer.document(**DAYS), customer.document(**DAYS)]
    with trouble_on_the_way(seed) as made:
        for document in runs:
            outcome = await through_attempts(document)
            assert ended == [when]
            check(customer, outcome)
            counts = [len(customer.rows(key)) for key in ("costs", "usage")]
            expected = [(name, FIRST, LAST, count) for name, count in zip(names, counts, strict=True)]
            assert markers(customer, document.run_id) == expected
            assert {each["run_id"] for key in ("costs", "usage") for each in customer.rows(key)} == {document.run_id}
            assert customer.tables() == {*names, *OURS}, "a staging table has stayed, or another"
    assert sum(made.met.values()) > made.requests / 10, "a test of trouble has to meet some"
    assert any(each.fault for each in customer.simulators.requests), "and some of the provider"
