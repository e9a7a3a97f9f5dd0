"""How a target that exists grows: from what the table is now, not from what it was when the run began."""

from datetime import timedelta
from typing import Any

import pytest
from google.cloud import bigquery
from structlog.testing import capture_logs

from pipeline_runner.bigquery.columns import Column, fields, merge
from pipeline_runner.bigquery.publishing import LINEAGE, Publisher, Target
from pipeline_runner.errors import ConfigError, DataError, ProcessorError, TransientError

TIME = Column("t", "TIMESTAMP")


def text(name: str) -> Column:
    return Column(name, "STRING")


def table(*columns: Column) -> bigquery.Table:
    return bigquery.Table("p.d.t", fields((*columns, *LINEAGE)))


class Warehouse:
    """Records what it is asked for; `now` is the target as it stands, `refusal` what becomes of the markers' age."""

    is_stand_in = False

    def __init__(self, now: bigquery.Table) -> None:
        self.now = now
        self.scripts: dict[str, str] = {}
        self.updates: list[tuple[bigquery.Table, tuple[Column, ...]]] = []
        self.refusal: ProcessorError | None = None
        self.kept: dict[str, timedelta] = {}

    async def create_table(self, made: bigquery.Table, *, exists_ok: bool) -> bigquery.Table:
        return self.now if made.table_id == self.now.table_id else made

    async def keep_longer(self, table: bigquery.Table, kept: timedelta) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.kept[table.table_id] = kept

    async def table(self, name: str, **_: str) -> bigquery.Table:
        return self.now

    async def query(self, step: str, sql: str, **_: str) -> list[dict[str, Any]]:
        self.scripts[step] = sql
        return []

    async def update_schema(self, fresh: bigquery.Table, columns: tuple[Column, ...]) -> None:
        self.updates.append((fresh, columns))


async def prepare(planned: bigquery.Table, now: bigquery.Table, *wanted: Column) -> Warehouse:
    warehouse = Warehouse(now)
    columns = merge(tuple(Column.from_api(field.to_api_repr()) for field in planned.schema), wanted)
    target = Target("p.d.t", TIME, "US")
    await Publisher(warehouse, [target], "run_1").prepare([(target, planned, columns)])  # type: ignore[arg-type]
    return warehouse


async def test_fields_in_records_are_added_to_the_table_as_it_is_now() -> None:
    def record(*names: str) -> Column:
        return Column("r", "RECORD", fields=tuple(map(text, names)))

    now = table(TIME, record("a", "of_another_run"), text("other"))
    warehouse = await prepare(table(TIME, record("a")), now, TIME, record("a", "z"))
    ((fresh, columns),) = warehouse.updates
    assert fresh is now
    assert columns == (TIME, record("a", "z"), *LINEAGE)
    conflicting = table(TIME, Column("r", "RECORD", fields=(Column("z", "INTEGER"),)))
    with pytest.raises(DataError, match=r"column r\.z is INTEGER"):
        await prepare(table(TIME, record("a")), conflicting, TIME, record("a", "z"))


async def test_new_columns_are_added_by_one_job_which_may_be_repeated() -> None:
    planned = table(TIME)
    warehouse = await prepare(planned, planned, TIME, text("a"), Column("n", "NUMERIC"))
    assert warehouse.scripts["grow_target_t"] == (
        "ALTER TABLE `p.d.t` ADD COLUMN IF NOT EXISTS `a` STRING;\n"
        "ALTER TABLE `p.d.t` ADD COLUMN IF NOT EXISTS `n` NUMERIC;"
    )
    assert warehouse.updates == []


async def test_a_table_that_lacks_nothing_is_left_alone() -> None:
    planned = table(TIME, text("a"))
    warehouse = await prepare(planned, planned, TIME, text("a"))
    assert warehouse.scripts.keys() == {"lock"}
    assert warehouse.updates == []


async def test_a_float_column_takes_integers_where_the_values_were_made_for_it() -> None:
    existing = table(TIME, Column("n", "FLOAT"))
    target = Target("p.d.t", TIME, "US")
    wanted = (TIME, Column("n", "INTEGER"))
    seen = Warehouse(existing)
    await Publisher(seen, [target], "run_1").prepare([(target, existing, wanted)])  # type: ignore[arg-type]
    assert seen.scripts.keys() == {"lock"}
    # here another run has made the table since this one looked
    unseen = Publisher(Warehouse(existing), [target], "run_1")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="column n is FLOAT, but the source's is now INTEGER"):
        await unseen.prepare([(target, None, wanted)])


@pytest.mark.parametrize("refusal", [None, ConfigError("permission denied"), TransientError("Precondition Failed")])
async def test_the_age_of_markers_fails_no_run(refusal: ProcessorError | None) -> None:
    existing = table(TIME)
    warehouse = Warehouse(existing)
    warehouse.refusal = refusal
    target = Target("p.d.t", TIME, "US")
    with capture_logs() as lines:
        await Publisher(warehouse, [target], "run_1").prepare([(target, existing, (TIME,))])  # type: ignore[arg-type]
    if refusal is None:
        assert warehouse.kept == {"_pipelines_commits": timedelta(days=400)}
        assert lines == []
    else:
        (line,) = lines
        assert line["log_level"] == "warning"
        assert (line["table"], line["error"]) == ("p.d._pipelines_commits", str(refusal))
