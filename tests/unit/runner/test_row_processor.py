"""What a processor of its own rows reads from its config, and how it gives way when it is told to stop."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any, ClassVar

import pytest

from pipeline_runner.bigquery.columns import Column
from pipeline_runner.bigquery.counted import Counted
from pipeline_runner.bigquery.rows import RowStaging, RowTable
from pipeline_runner.bigquery.window import Window
from pipeline_runner.errors import ConfigError
from pipeline_runner.processors.row_processor import RowProcessor, Staged, _let_finish, target_table

COLUMNS = (Column("day", "DATE"), Column("amount", "NUMERIC"))
CONFIG: dict[str, Any] = {"target": {"dataset": "acme_dev", "table": "costs", "tables": {"usage": "used"}}}
DATE = {"date": "2026-11-01"}


class Bills(RowProcessor):
    """Two tables, whose columns a test may change."""

    columns = COLUMNS

    def tables(self) -> Sequence[RowTable]:
        return [
            RowTable("money", target_table(self.config), self.columns, "day"),
            RowTable("usage", target_table(self.config, "usage"), self.columns, "day"),
        ]

    async def read(self, staging: RowStaging, windows: Sequence[Window]) -> None:
        self.details["read"] = list(map(str, windows))


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:9")
    monkeypatch.setenv("PIPELINES_BIGQUERY_PROJECT", "local-dev")
    monkeypatch.setenv("PIPELINES_BIGQUERY_CREDENTIALS", "anonymous")


def bills(**sections: Any) -> Bills:
    return Bills({**CONFIG, **sections}, "acme", "run_1")


def test_tables_are_named_by_the_config() -> None:
    assert target_table(CONFIG) == "costs"
    assert target_table(CONFIG, "usage") == "used"


@pytest.mark.parametrize(
    ("config", "key", "message"),
    [
        ({}, None, "target.table: expected the name of a table, got None"),
        ({"target": {"table": 5}}, None, "target.table: expected the name of a table, got 5"),
        (CONFIG, "users", "target.tables.users: expected the name of a table, got None"),
        ({"target": {"table": "t"}}, "usage", "target.tables.usage: expected the name of a table, got None"),
    ],
)
def test_a_table_that_is_not_named_is_told(config: dict[str, Any], key: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        target_table(config, key)


async def test_the_window_is_widened_by_the_rescan_of_the_config() -> None:
    processor = bills(source={"type": "bills", "rescan_days": 3})
    await processor.validate(DATE)
    assert str(processor.window) == "2026-10-30..2026-11-01"
    processor = bills()
    await processor.validate(DATE)
    assert str(processor.window) == "2026-11-01"


@pytest.mark.parametrize(
    ("source", "parameters", "first"),
    [
        ({"rescan_days": 3}, DATE, "2026-10-16"),
        ({"rescan_days": 3, "catch_up_days": 5}, DATE, "2026-10-28"),
        ({"rescan_days": 3, "catch_up_days": 3}, DATE, None),
        ({"rescan_days": 3, "catch_up_days": 0}, DATE, None),
        # days that were named are covered, and no others
        ({}, DATE, None),
        ({"catch_up_days": 90}, DATE, None),
        ({"rescan_days": 3}, {"start_date": "2026-11-01", "end_date": "2026-11-01"}, None),
    ],
)
async def test_missed_days_are_looked_for_where_the_caller_named_none(
    source: dict[str, int], parameters: dict[str, str], first: str | None
) -> None:
    processor = bills(source={"type": "bills", **source})
    await processor.validate(parameters)
    assert processor.catches_up is (first is not None)
    processor.catch_up({date(2026, 8, 1): None})
    assert processor.due.hull == (
        Window(date.fromisoformat(first), processor.window.last) if first else processor.window
    )


async def test_days_that_are_caught_up_are_told_exactly() -> None:
    processor = bills(source={"type": "bills", "rescan_days": 2})
    await processor.validate({"date": "2026-11-10"})
    on_the_next_day = {date(2026, 11, day): datetime(2026, 11, day + 1, 6, tzinfo=UTC) for day in (2, 5)}
    processor.catch_up({date(2026, 11, 1): None, **on_the_next_day})
    assert str(processor.due) == "2026-11-02..2026-11-10"
    assert processor.details == {
        "caught_up": "2026-11-03..2026-11-04, 2026-11-06..2026-11-08", "read_again": "2026-11-02, 2026-11-05",
    }  # fmt: skip


async def test_a_failure_says_that_days_were_caught_up(monkeypatch: pytest.MonkeyPatch) -> None:
    processor = bills(source={"type": "bills", "rescan_days": 1})

    async def refused(_: dict[str, Any]) -> Staged:
        processor.catch_up({date(2026, 10, 30): None})
        raise ConfigError("start_time: too long ago")

    monkeypatch.setattr(processor, "extract", refused)
    with pytest.raises(ConfigError) as failed:
        await processor.execute(DATE)
    assert str(failed.value) == (
        "start_time: too long ago (days 2026-10-31 had been missed and are caught up; source.catch_up_days: 0 leaves "
        "them)"
    )


async def test_what_is_wrong_before_the_days_are_known_is_told_as_it_is() -> None:
    with pytest.raises(ConfigError, match=r"parameters: expected date, or start_date and end_date$"):
        await bills().execute({})


def test_a_processor_without_tables_or_rows_is_none() -> None:
    with pytest.raises(TypeError, match="abstract methods read, tables"):
        RowProcessor(CONFIG, "acme", "run_1")  # type: ignore[abstract]


async def test_checks_at_the_top_are_those_of_the_targets_table() -> None:
    checks = {"row_count": {"min": 1}, "tables": {"usage": {"not_null": ["amount"]}}}
    processor = bills(checks=checks)
    await processor.validate(DATE)
    found = processor._checks
    assert found["money"].row_count is not None
    assert found["money"].not_null is None
    assert found["usage"].row_count is None
    assert found["usage"].not_null == ["amount"]


async def test_wrong_checks_are_told_by_field() -> None:
    with pytest.raises(ConfigError, match=r"^checks\.row_count\.min: "):
        await bills(checks={"row_count": {"min": "one"}}).validate(DATE)


async def test_a_column_of_our_own_lineage_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bills, "columns", (*COLUMNS, Column("Run_ID", "STRING")))
    with pytest.raises(ConfigError, match=r"the table costs has .*Run_ID"):
        await bills().validate(DATE)


async def test_a_run_that_has_published_stages_nothing() -> None:
    processor = bills()
    await processor.validate(DATE)
    staged = await processor.transform(Staged(None, 42))
    assert (staged.counted, staged.rows) == (None, 42)


async def test_rows_that_were_set_aside_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Finished:
        rejected: ClassVar = {"costs": 2}

        async def finish(self) -> dict[str, Counted]:
            return {"money": Counted(datetime.now(UTC), 5, ())}

    processor = bills()
    monkeypatch.setattr(processor, "_staging", Finished())
    assert (await processor.transform(Staged({}))).rows == 5
    assert processor.details == {"quarantined": {"costs": 2}}


async def test_stopped_while_the_staging_tables_are_made_it_lets_them_be_made() -> None:
    made, reached, gate = [], asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        reached.set()
        await gate.wait()
        made.append("table")

    opening = asyncio.ensure_future(_let_finish(slow()))
    await reached.wait()
    opening.cancel()
    asyncio.get_running_loop().call_soon(gate.set)
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert made == ["table"]
