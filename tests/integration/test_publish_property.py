"""Whatever runs replace which days, in any order, wherever their attempts end: the table is what the last one says."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pipeline_core.settings import BigQuerySettings
from pipeline_runner.bigquery.columns import Column
from pipeline_runner.bigquery.publishing import Publication, Publisher
from pipeline_runner.bigquery.warehouse import Warehouse
from pipeline_runner.bigquery.window import Window
from pipeline_runner.errors import ProcessorError, TransientError
from support.rows import COSTS, DAY, Loads

pytestmark = pytest.mark.usefixtures("quick_retries")

DAYS = tuple(DAY + timedelta(days=number) for number in range(8))
WIDER = replace(COSTS, columns=(*COSTS.columns, Column("region", "STRING")))

Amounts = Mapping[date, Sequence[Decimal]]
Standing = dict[date, Counter[tuple[str, Decimal, str | None]]]


@dataclass(frozen=True)
class Step:
    """A run over some days, each with its amounts; its first attempt may end `before`, `within` or `after` the commit.

    `again`: a further attempt comes later, though the run has published, and has read other rows. `wider`: the rows
    have a column more than before.
    """

    days: Amounts
    ends: str
    again: bool
    wider: bool


@dataclass
class Model:
    """What the table holds, by day: each row's run, amount and region; and how many rows each run has published."""

    standing: Standing = field(default_factory=dict)
    published: dict[str, int] = field(default_factory=dict)

    def publish(self, run_id: str, days: Amounts, region: str | None) -> None:
        for day, amounts in days.items():
            self.standing[day] = Counter((run_id, amount, region) for amount in amounts)
        self.published[run_id] = sum(map(len, days.values()))


_AMOUNTS = st.decimals("-1e9", "1e9", allow_nan=False, allow_infinity=False, places=9)
_STEPS = st.lists(
    st.builds(
        Step,
        days=st.dictionaries(st.sampled_from(DAYS), st.lists(_AMOUNTS, max_size=3), min_size=1, max_size=5),
        ends=st.sampled_from(["well", "well", "before", "within", "after"]),
        again=st.booleans(),
        wider=st.booleans(),
    ),
    min_size=2,
    max_size=5,
)


# Not shrunk: against a server that takes minutes, and the steps of an example are few.
SLOW = settings(deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.reuse, Phase.generate))


@settings(SLOW, max_examples=4)
@given(steps=_STEPS)
def test_the_table_is_what_the_runs_have_published(bigquery_settings: BigQuerySettings, steps: list[Step]) -> None:
    asyncio.run(follow(bigquery_settings, steps))


@pytest.mark.full
@settings(SLOW, max_examples=80)
@given(steps=_STEPS)
def test_it_is_after_many_more(bigquery_settings: BigQuerySettings, steps: list[Step]) -> None:
    asyncio.run(follow(bigquery_settings, steps))


async def follow(bigquery: BigQuerySettings, steps: list[Step]) -> None:
    loads, model = Loads(bigquery, [COSTS]), Model()
    for number, step in enumerate(steps):
        run_id, region = f"run_p{number}", "eu" if step.wider else None
        loads.tables["costs"] = WIDER if step.wider else COSTS
        if step.ends != "well":
            with ending(step.ends), pytest.raises(ProcessorError):
                await load(loads, run_id, step.days, region, attempt="a")
            if step.ends == "after":
                model.publish(run_id, step.days, region)
            check(loads, model)
        given_now = step.days if step.ends != "after" else other(step.days)
        if run_id not in model.published:
            model.publish(run_id, step.days, region)
        assert await load(loads, run_id, given_now, region, attempt="b") == model.published[run_id]
        if step.again:
            assert await load(loads, run_id, other(step.days), region, attempt="c") == model.published[run_id]
        check(loads, model)


async def load(loads: Loads, run_id: str, days: Amounts, region: str | None, *, attempt: str) -> int:
    """An attempt at a run over these days."""
    rows: list[dict[str, object]] = [
        {"usage_date": day, "amount": amount} | ({"region": region} if region else {})
        for day, amounts in days.items()
        for amount in amounts
    ]
    return await loads.load({"costs": rows}, run_id=run_id, attempt=attempt, windows=Window.ranges(days))


def other(days: Amounts) -> Amounts:
    """What the source says of these days a while later."""
    return {day: [*amounts, Decimal(1)] for day, amounts in days.items()}


@contextmanager
def ending(when: str) -> Iterator[None]:
    """Attempts end before the transaction, within it, or after it without having heard of its end."""
    commit, query = Publisher.commit, Warehouse.query

    async def committed(self: Publisher, publications: Sequence[Publication]) -> int:
        if when == "after":
            await commit(self, publications)
        raise TransientError(f"ended {when} the transaction")

    async def broken(self: Warehouse, step: str, statement: str, **rest: Any) -> Any:
        statement = statement.replace("COMMIT TRANSACTION;", "SELECT ERROR('broken');\nCOMMIT TRANSACTION;")
        return await query(self, step, statement, **rest)

    with pytest.MonkeyPatch.context() as patched:
        if when == "within":
            patched.setattr(Warehouse, "query", broken)
        else:
            patched.setattr(Publisher, "commit", committed)
        yield


def check(loads: Loads, model: Model) -> None:
    """The table and the markers are the model's, and nothing else stands in the dataset."""
    made = {"_pipelines_commits", "_pipelines_locks"}
    assert loads.names() <= {*made, COSTS.name}
    if not model.published:
        return  # the first attempt has made the tables, or not; nothing stands in them
    assert loads.names() == {*made, COSTS.name}
    found: Standing = {}
    for row in loads.rows("costs", "*"):
        assert row["loaded_at"] is not None
        key = (row["run_id"], row["amount"], row.get("region"))
        found.setdefault(row["usage_date"], Counter())[key] += 1
    assert found == {day: rows for day, rows in model.standing.items() if rows}
    markers = loads.sql(
        f"SELECT run_id, SUM(row_count) AS n FROM `{loads.dataset}._pipelines_commits` WHERE target = '{COSTS.name}' "
        "GROUP BY run_id"
    )
    assert {each["run_id"]: each["n"] for each in markers} == model.published
