"""Writes the script that publishes a run: one transaction that replaces the days of all its targets, or of none.

It begins by changing the targets' rows of `_pipelines_locks`, does nothing where the run's marker stands already, and
ends by writing that marker. A script that fails on its way is rolled back.
"""
# ruff: noqa: S608 - all names in the statements have been checked by pattern, all values are escaped by sql.text

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise

from pipeline_runner.bigquery import sql
from pipeline_runner.bigquery.columns import Column
from pipeline_runner.bigquery.failures import STALE
from pipeline_runner.bigquery.markers import COMMITS, LOCKS
from pipeline_runner.bigquery.window import Window, listed

# What every published row says of itself. They are set by the transaction, never staged.
RUN_ID = Column("run_id", "STRING", description="The run that loaded this row.")
LOADED_AT = Column(
    "loaded_at", "TIMESTAMP", description="When the run's transaction was made: the same for all rows of the run."
)
LINEAGE = (RUN_ID, LOADED_AT)


@dataclass(frozen=True)
class Target:
    """A table as it is to be: `name` is project.dataset.table; `time` the column of its daily partitions.

    `key` is the name that the table has within its pipeline.
    """

    name: str
    time: Column
    location: str
    cluster_by: tuple[str, ...] = ()
    description: str = ""
    key: str = ""

    @property
    def dataset(self) -> str:
        """project.dataset"""
        return self.name.rpartition(".")[0]

    @property
    def table(self) -> str:
        """The name within the dataset."""
        return self.name.rpartition(".")[2]

    @property
    def commits(self) -> str:
        """The dataset's table of commit markers."""
        return f"{self.dataset}.{COMMITS}"

    @property
    def locks(self) -> str:
        """The dataset's table with a row for each target, by which its publishers exclude each other."""
        return f"{self.dataset}.{LOCKS}"

    def inside(self, windows: Sequence[Window]) -> str:
        """An SQL condition: a row of the target belongs to one of the windows. It prunes partitions."""
        return " OR ".join(f"({each.contains(sql.quoted(self.time.name), self.time.type)})" for each in windows)


@dataclass(frozen=True)
class Publication:
    """What one target gets: the days of `windows` are replaced by the `rows` rows of the table `staging`.

    `columns` are names in the target, and the values from `staging`, with the alias s, that belong there; lineage is
    no part of them. `read_at` is when the rows were read, or when that began: `moving` are those of the windows whose
    rows weren't all as they stood then. Windows don't overlap; without any, nothing is replaced. `kept` are days that
    count as read, and stay as they are. `also` are further statements that belong to these days, each with its
    semicolon.
    """

    target: Target
    staging: str
    columns: sql.Values
    windows: tuple[Window, ...]
    rows: int
    read_at: datetime
    also: tuple[str, ...] = ()
    moving: tuple[Window, ...] = ()
    kept: tuple[Window, ...] = ()

    def __post_init__(self) -> None:
        days = sorted((each.first, each.last) for each in self.windows)
        for (_, last), (first, _) in pairwise(days):
            if first <= last:
                raise ValueError(f"the windows of {self.target.name} overlap on {first}")


def script(run_id: str, publications: Sequence[Publication]) -> str:
    """The transaction, as one script for one job; it yields what `published_rows` does. All targets are of one dataset.

    What a job of several statements yields is what the last of them does:
    https://cloud.google.com/bigquery/docs/multi-statement-queries
    """
    first = publications[0].target
    locks, commits = sql.quoted(first.locks), sql.quoted(first.commits)
    run = sql.text(run_id)
    targets = ", ".join(sql.text(each.target.table) for each in publications)
    replacing = [each for each in publications if each.windows]
    checks = "\n".join(_check_newer(commits, each) for each in replacing)
    # One time for all: the stand-in's clock goes on within a transaction, though BigQuery's stands still.
    moment = f"(SELECT MAX(locked_at) FROM {locks} WHERE target IN ({targets}))"
    changes = "\n".join(_replace(run, moment, each) for each in replacing)
    markers = "\n  UNION ALL ".join(marker for each in publications for marker in _markers(run, moment, each))
    return f"""\
BEGIN TRANSACTION;
UPDATE {locks} SET run_id = {run}, locked_at = CURRENT_TIMESTAMP() WHERE target IN ({targets});
IF NOT EXISTS (SELECT 1 FROM {commits} WHERE run_id = {run}) THEN
{checks}
{changes}
  INSERT INTO {commits} (run_id, target, window_start, window_end, row_count, committed_at, read_at)
  {markers};
END IF;
COMMIT TRANSACTION;
{published_rows(run_id, first)};"""


def published_rows(run_id: str, target: Target) -> str:
    """SELECT of one row, `published`: how many rows a run has published; NULL if it hasn't."""
    return f"SELECT SUM(row_count) AS published FROM {sql.quoted(target.commits)} WHERE run_id = {sql.text(run_id)}"


def _check_newer(commits: str, publication: Publication) -> str:
    """Rows that were read later than ours must stay: those of a run that overtook this one, or of its next attempt.

    Of a reading that took its time nobody knows which of its rows are older than those that were published meanwhile,
    where figures still change.
    """
    at = sql.moment(publication.read_at)
    newer = f"target = {sql.text(publication.target.table)} AND (read_at > {at} AND ({_touching(publication.windows)})"
    if publication.moving:
        newer += f" OR committed_at > {at} AND ({_touching(publication.moving)})"
    newer += ")"
    stale = sql.text(f"{STALE} into {publication.target.name} for days of {listed(publication.windows)}")
    return f"""\
  IF EXISTS (SELECT 1 FROM {commits} WHERE {newer}) THEN
    SELECT ERROR({stale});
  END IF;"""


def _touching(windows: Sequence[Window]) -> str:
    return " OR ".join(f"(window_start <= {_day(each.last)} AND window_end >= {_day(each.first)})" for each in windows)


def _replace(run: str, moment: str, publication: Publication) -> str:
    target, inside = sql.quoted(publication.target.name), publication.target.inside(publication.windows)
    lineage = [(RUN_ID.name, run), (LOADED_AT.name, moment)]
    columns = [*publication.columns, *lineage]
    names = ", ".join(sql.quoted(name) for name, _ in columns)
    values = ", ".join(value for _, value in columns)
    told = f"{publication.target.name} for {listed(publication.windows)}"
    differ = sql.text(f"the transaction would leave other than {publication.rows} rows in {told}")
    # A staged row of another day would stand beside the windows, and be missing from this count.
    return f"""\
  DELETE FROM {target} WHERE {inside};
  INSERT INTO {target} ({names}) SELECT {values} FROM {sql.quoted(publication.staging)} AS s;
  IF (SELECT COUNT(*) FROM {target} WHERE {inside}) != {publication.rows} THEN
    SELECT ERROR({differ});
  END IF;""" + "".join(f"\n  {statement}" for statement in publication.also)


def _markers(run: str, moment: str, publication: Publication) -> Iterator[str]:
    """A SELECT for each window; one without days where there is none, so that the run is known to be done."""
    target, table = publication.target, sql.text(publication.target.table)
    end = f"{moment}, {sql.moment(publication.read_at)}"
    if not publication.windows and not publication.kept:
        yield f"SELECT {run}, {table}, CAST(NULL AS DATE), CAST(NULL AS DATE), 0, {end}"
    for window in (*publication.windows, *publication.kept):
        count = f"(SELECT COUNT(*) FROM {sql.quoted(target.name)} WHERE {target.inside([window])})"
        yield f"SELECT {run}, {table}, {_day(window.first)}, {_day(window.last)}, {count}, {end}"


def _day(day: date) -> str:
    return Window.literal(day, "DATE")
