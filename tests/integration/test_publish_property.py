"""Whatever runs publish, stop on their way and are tried again: each day has the rows of the last that came through.

The model is a dict for each target: the rows of each day, and the run that brought them.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from pipeline_core.settings import BigQuerySettings
from pipeline_runner.bigquery.columns import Column
from pipeline_runner.bigquery.publishing import Prepared, Publisher
from pipeline_runner.bigquery.rows import RowTable
from pipeline_runner.bigquery.window import Window
from pipeline_runner.errors import TransientError
from support.publisher_ends import ENDS, WELL, End, FailsInside, Stopped
from support.rows import DAY, Loads

pytestmark = pytest.mark.usefixtures("quick_retries")

COSTS = RowTable("costs", "day_costs", (Column("day", "DATE"), Column("amount", "NUMERIC")), "day")
CALLS = RowTable("calls", "day_calls", (Column("at", "TIMESTAMP"), Column("amount", "INTEGER")), "at")
LINEAGE = ("run_id", "loaded_at")
NEW = Column("note", "STRING")
DAYS = [DAY + timedelta(days=number) for number in range(8)]
# Where days begin and end, and something between.
TIMES = (time(0, tzinfo=UTC), time(12, 30, tzinfo=UTC), time(23, 59, 59, 999_999, UTC))

Rows = dict[str, list[dict[str, Any]]]


@dataclass
class Run:
    """A run: its days never change, and what the source has of them may with each attempt."""

    run_id: str
    windows: tuple[Window, ...]
    attempts: int = 0
    # How many rows it has published; None while it hasn't.
    published: int | None = None
    markers: list[tuple[Any, ...]] = field(default_factory=list)

    @property
    def days(self) -> list[date]:
        return [day for window in self.windows for day in window.days()]


@st.composite
def windows(draw: st.DrawFn) -> tuple[Window, ...]:
    """One to four days, with gaps or without; now and then none at all."""
    if not draw(st.integers(0, 9)):
        return ()
    return Window.ranges(draw(st.lists(st.sampled_from(DAYS), min_size=1, max_size=4, unique=True)))


def rows_of(days: Sequence[date], *, with_new: bool) -> st.SearchStrategy[Rows]:
    """Rows of these days in any order: several of a day that are the same, and days without any."""
    if not days:
        return st.just({"costs": [], "calls": []})
    new = {"note": st.none() | st.text("aé'\\\n", max_size=3)} if with_new else {}
    amounts = st.decimals(-100, 100, places=9)
    cost = st.fixed_dictionaries({"day": st.sampled_from(days), "amount": amounts | st.just(Decimal(1))}, optional=new)
    at = st.builds(datetime.combine, st.sampled_from(days), st.sampled_from(TIMES))
    call = st.fixed_dictionaries({"at": at, "amount": st.integers(0, 3)})
    return st.fixed_dictionaries({"costs": st.lists(cost, max_size=6), "calls": st.lists(call, max_size=3)})


def in_turn(other: Callable[[], Any]) -> type[Publisher]:
    """A publisher that another run overtakes, between what it has staged and its transaction."""

    class Overtaken(Publisher):
        async def prepare(self, prepared: Sequence[Prepared]) -> None:
            await other()
            await super().prepare(prepared)

    return Overtaken


class Publishing(RuleBasedStateMachine):
    """Runs over one dataset, one after the other or one within the other."""

    def __init__(self, settings: BigQuerySettings) -> None:
        super().__init__()
        self.loads = Loads(settings, [COSTS, CALLS])
        self.runs: list[Run] = []
        self.days: dict[str, dict[date, tuple[str, list[dict[str, Any]]]]] = {"costs": {}, "calls": {}}
        # The tables' columns as they come about; none before a run has come so far as to make them.
        self.columns: dict[str, list[str]] = {}

    def new(self, data: st.DataObject) -> Run:
        self.runs.append(Run(f"run_{len(self.runs)}", data.draw(windows(), label="windows")))
        return self.runs[-1]

    def drawn(self, data: st.DataObject, run: Run) -> Rows:
        # a run may have been made before the column came, and be tried again after that
        with_new = NEW in self.loads.tables["costs"].columns
        return data.draw(rows_of(run.days, with_new=with_new), label=run.run_id)

    async def load(self, run: Run, rows: Rows, publishing: type[Publisher]) -> int:
        run.attempts += 1
        return await self.loads.load(
            rows, run_id=run.run_id, attempt=f"a{run.attempts}", windows=run.windows, publishing=publishing
        )

    def prepared(self) -> None:
        """The tables are there from now on, with the columns of today."""
        for key, table in self.loads.tables.items():
            names = self.columns.setdefault(key, [])
            wanted = [*(each.name for each in table.columns), *LINEAGE]
            names += [each for each in wanted if each not in names]

    def publish(self, run: Run, rows: Rows) -> int:
        """What the model has from now on, the rows of this attempt; how many those are."""
        for key, day in (("costs", "day"), ("calls", "at")):
            found: dict[date, list[dict[str, Any]]] = {each: [] for each in run.days}
            for row in rows[key]:
                at = row[day]
                found[at.date() if isinstance(at, datetime) else at].append(row)
            self.days[key] |= {each: (run.run_id, of_day) for each, of_day in found.items()}
            counts = [
                (window.first, window.last, sum(len(found[each]) for each in window.days())) for window in run.windows
            ]
            name = self.loads.tables[key].name
            run.markers += [(run.run_id, name, *each) for each in counts or [(None, None, 0)]]
        run.published = sum(map(len, rows.values()))
        return run.published

    def attempt(self, data: st.DataObject, run: Run, end: End) -> None:
        rows, before = self.drawn(data, run), run.published
        if end.publishing is FailsInside and not run.windows:
            end = WELL  # there is nothing within the transaction that could fail
        raised = None
        try:
            published = asyncio.run(self.load(run, rows, end.publishing))
        except (Exception, Stopped, asyncio.CancelledError) as error:
            raised = error
        if before is not None:
            assert (raised, published) == (None, before), "what has published does nothing more"
            return
        event(end.publishing.__name__)
        self.prepared()
        assert type(raised) is (end.raises or type(None))
        if end.published:
            expected = self.publish(run, rows)
            assert raised or published == expected

    @rule(data=st.data(), end=st.sampled_from((WELL, WELL, *ENDS)))
    def a_run_comes(self, data: st.DataObject, end: End) -> None:
        self.attempt(data, self.new(data), end)

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), end=st.sampled_from((WELL, WELL, *ENDS)))
    def a_run_is_tried_again(self, data: st.DataObject, end: End) -> None:
        waiting = [each for each in self.runs if each.published is None]
        self.attempt(data, data.draw(st.sampled_from(waiting or self.runs), label="again"), end)

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def a_run_is_repeated(self, data: st.DataObject) -> None:
        self.attempt(data, data.draw(st.sampled_from(self.runs), label="repeated"), WELL)

    @rule(data=st.data(), itself=st.booleans())
    def a_run_is_overtaken(self, data: st.DataObject, itself: bool) -> None:
        """By another one, whose days it leaves alone, or by its own next attempt, which has done all there is to do."""
        run = self.new(data)
        quicker = run if itself else self.new(data)
        rows, newer = self.drawn(data, run), self.drawn(data, quicker)
        overtaken = in_turn(partial(self.load, quicker, newer, Publisher))
        expected = self.publish(quicker, newer)
        self.prepared()
        stale = not itself and set(run.days) & set(quicker.days)
        event(f"overtaken by itself: {itself}, of one day: {bool(stale)}")
        if stale:
            with pytest.raises(TransientError, match="rows of a newer read have been published"):
                asyncio.run(self.load(run, rows, overtaken))
        else:
            published = asyncio.run(self.load(run, rows, overtaken))
            assert published == (expected if itself else self.publish(run, rows))

    @precondition(lambda self: NEW not in self.loads.tables["costs"].columns)
    @rule()
    def there_is_a_further_column(self) -> None:
        costs = self.loads.tables["costs"]
        calls = self.loads.tables["calls"]
        self.loads.tables["costs"] = replace(costs, columns=(NEW, *costs.columns))
        self.loads.tables["calls"] = replace(calls, columns=(calls.columns[0], Column("amount", "NUMERIC")))

    @precondition(lambda self: NEW in self.loads.tables["costs"].columns)
    @rule()
    def the_column_goes(self) -> None:
        self.loads.tables["costs"] = COSTS

    @invariant()
    def the_tables_are_as_the_model_has_them(self) -> None:
        if not self.columns:
            assert self.loads.names() == set()
            return
        assert self.loads.names() == {"day_costs", "day_calls", "_pipelines_commits", "_pipelines_locks"}
        commits = self.loads.sql(f"SELECT * FROM `{self.loads.dataset}._pipelines_commits`")
        names = ("run_id", "target", "window_start", "window_end", "row_count")
        markers = [tuple(each[name] for name in names) for each in commits]
        assert sorted(map(repr, markers)) == sorted(repr(each) for run in self.runs for each in run.markers)
        committed: dict[str, set[datetime]] = {}
        for each in commits:
            committed.setdefault(each["run_id"], set()).add(each["committed_at"])
        assert all(len(moments) == 1 for moments in committed.values())
        for key, days in self.days.items():
            found = self.loads.rows(key, "*")
            made = [
                dict.fromkeys(self.columns[key]) | row | {"run_id": run_id, "loaded_at": min(committed[run_id])}
                for run_id, rows in days.values()
                for row in rows
            ]
            assert self.loads.columns(key) == self.columns[key]
            assert sorted(map(comparable, found)) == sorted(map(comparable, made))


def comparable(row: dict[str, Any]) -> str:
    values = {name: f"{value:.9f}" if isinstance(value, int | Decimal) else value for name, value in row.items()}
    return repr(sorted(values.items()))


QUICK = settings(
    phases=[Phase.generate],
    deadline=None,
    suppress_health_check=list(HealthCheck),
    max_examples=5,
    stateful_step_count=8,
)


def test_each_day_has_the_rows_of_the_last_run_that_came_through(bigquery_settings: BigQuerySettings) -> None:
    run_state_machine_as_test(partial(Publishing, bigquery_settings), settings=QUICK)


@pytest.mark.full
def test_however_many_runs_come_each_day_has_the_rows_of_the_last(bigquery_settings: BigQuerySettings) -> None:
    many = settings(QUICK, max_examples=20, stateful_step_count=25)
    run_state_machine_as_test(partial(Publishing, bigquery_settings), settings=many)
