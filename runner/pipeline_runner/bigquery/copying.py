"""What a run copies: the rows of some days of a source, in the shape of their target, as they stood at one moment."""

from dataclasses import dataclass
from datetime import datetime

from pipeline_runner.bigquery import sql
from pipeline_runner.bigquery.columns import Column, dotted, leaves
from pipeline_runner.bigquery.counted import Counted
from pipeline_runner.bigquery.money import is_money
from pipeline_runner.bigquery.source import Source
from pipeline_runner.bigquery.warehouse import Row


@dataclass(frozen=True)
class Copy:
    """What is to be copied: rows of `source` that meet `condition`, in the shape of `columns`.

    `location` is the target's. `wanted` are the source's columns with their money made exact: the shape in which rows
    are staged, whichever way they come. `days` is how many days the condition covers.
    """

    source: Source
    condition: str
    wanted: tuple[Column, ...]
    columns: tuple[Column, ...]
    location: str
    days: int = 1

    @property
    def money(self) -> tuple[str, ...]:
        """The leaves that are compared by sum: what is NUMERIC once it is staged, and other exact amounts of money."""
        return tuple(
            dotted(path)
            for path in leaves(self.wanted)
            if path[-1].type == "NUMERIC" or (path[-1].type in ("INTEGER", "BIGNUMERIC") and is_money(path))
        )

    @property
    def quantities(self) -> frozenset[str]:
        """Those of `money` that are none by their name: quantities and prices that a config wants exact."""
        return frozenset(dotted(path) for path in leaves(self.wanted) if not is_money(path))

    def counted(self, row: Row, what: str, read_at: datetime) -> Counted:
        """Read a row of sql.statistics over these days."""
        return Counted.read(row, self.money, what, read_at, unlimited=self.quantities, days=self.days)


def origin(copy: Copy, read_at: datetime) -> str:
    """What follows FROM, for every query of one read.

    Rows come into a source at any time, so all are of one moment, where the source is a table. Views have no snapshots:
    a change in between shows as a difference, and the run is tried again.
    """
    at = f" FOR SYSTEM_TIME AS OF {sql.moment(read_at)}" if copy.source.is_table else ""
    return f"{sql.quoted(copy.source.name)} AS s{at}\nWHERE {copy.condition}"
