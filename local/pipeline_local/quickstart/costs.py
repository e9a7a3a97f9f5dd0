"""What the organization's days cost with each provider: in the sources, in the tables, and in the one view over all.

The sources know nothing of each other or of the runs: the customer's billing export, and the simulators' own truth.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from google.cloud import bigquery
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipeline_core.focus.view import VIEW
from pipeline_local.errors import LocalError
from pipeline_local.quickstart import accounts, source
from pipeline_local.quickstart.accounts import NOTHING, Cost

DATASET = "acme_dev"
NAMES = {"gcp": "Google Cloud", "openai": "OpenAI", "anthropic": "Anthropic"}
_MONEY_TABLES = {"gcp": "gcp_billing_costs", "openai": "openai_costs", "anthropic": "anthropic_costs"}
_USAGE_TABLES = {"openai": "openai_usage", "anthropic": "anthropic_usage"}
_DAYS = {"gcp": "DATE(usage_start_time)", "openai": "usage_date", "anthropic": "usage_date"}
# A row's credits are added up within it: a join would count its cost once for each of them.
_EXPORTED = """PARSE_NUMERIC(CAST(cost AS STRING))
  + IFNULL((SELECT SUM(PARSE_NUMERIC(CAST(c.amount AS STRING))) FROM UNNEST(credits) AS c), 0)"""
_COPIED = "cost + IFNULL((SELECT SUM(c.amount) FROM UNNEST(credits) AS c), 0)"

Days = Mapping[date, Cost]


@dataclass(frozen=True)
class Costs:
    """The costs of a window of days by provider and day, as the sources have them: after credits, in USD."""

    first_day: date
    last_day: date
    of_sources: Mapping[str, Days]

    @classmethod
    def read(cls, client: bigquery.Client, simulators: str, first_day: date, last_day: date) -> "Costs":
        """Ask the sources. Raises LocalError where one has nothing, or doesn't answer."""
        exported = daily(client, source.full_name(), _DAYS["gcp"], _EXPORTED, first_day, last_day)
        told = {each.provider: accounts.truth(simulators, each, first_day, last_day) for each in accounts.ACCOUNTS}
        sources = {"gcp": exported, **told}
        if empty := [provider for provider, days in sources.items() if not days]:
            raise LocalError(f"there are no costs from {first_day} to {last_day} at the source of {', '.join(empty)}")
        return cls(first_day, last_day, sources)

    def of_tables(self, client: bigquery.Client) -> dict[str, Days]:
        """The same from the tables that the runs have filled."""
        return {
            provider: daily(
                client, _full(client, table), _DAYS[provider], _COPIED if provider == "gcp" else "amount", *self._window
            )
            for provider, table in _MONEY_TABLES.items()
        }

    def of_view(self, client: bigquery.Client) -> dict[str, Days]:
        """The same from the view over all three."""
        query = f"""
            SELECT x_Provider AS provider, x_UsageDate AS day, COUNT(*) AS records, SUM(BilledCost) AS cost
            FROM `{_full(client, VIEW)}` WHERE x_UsageDate BETWEEN @first AND @last
            GROUP BY provider, day"""  # noqa: S608 - the view's name is the project's own
        found: dict[str, dict[date, Cost]] = {provider: {} for provider in NAMES}
        for row in client.query_and_wait(query, job_config=_window_of(*self._window)):
            found.setdefault(row["provider"], {})[row["day"]] = Cost(row["records"], row["cost"])
        return dict(found)

    def records(self, client: bigquery.Client, provider: str) -> int:
        """How many rows a provider's tables have of these days: those of money, and those of usage."""
        tables = [names[provider] for names in (_MONEY_TABLES, _USAGE_TABLES) if provider in names]
        return sum(
            each.records
            for table in tables
            for each in daily(client, _full(client, table), _DAYS[provider], "NULL", *self._window).values()
        )

    def check_tables(self, client: bigquery.Client) -> None:
        """Raises LocalError where a table differs from its source on a day."""
        _check(self.of_sources, self.of_tables(client), "its table")

    def table_of_sums(self, client: bigquery.Client) -> Table:
        """One line for each provider: rows and sum of its source, and of its table."""
        there = self.of_tables(client)
        table = titled("Each source and the table made of it, in USD after credits")
        table.add_column("Table", no_wrap=True)
        for name in ("Rows", "Cost, source", "Cost, table"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("Equal")
        for provider, days in self.of_sources.items():
            one, other = _total(days.values()), _total(there[provider].values())
            equal = "yes" if _same(days, there[provider]) else "[red]no[/]"
            money = _MONEY_TABLES[provider]
            rows = str(one.records) if one.records == other.records else f"{one.records} != {other.records}"
            table.add_row(money, rows, _shown(one), _shown(other), equal)
        return table

    def show_and_check_view(self, client: bigquery.Client, console: Console) -> None:
        """Show the view's costs by day. Raises LocalError where one of the figures isn't that of its source."""
        there = self.of_view(client)
        console.print(_by_day(there))
        _check(self.of_sources, there, VIEW)

    @property
    def _window(self) -> tuple[date, date]:
        return self.first_day, self.last_day


def daily(
    client: bigquery.Client, table: str, day: str, money: str, first_day: date, last_day: date
) -> dict[date, Cost]:
    """Rows and sum of each day that has any; `day` and `money` are expressions over the table's columns."""
    query = f"""
        SELECT {day} AS day, COUNT(*) AS records, SUM({money}) AS cost
        FROM `{table}` WHERE {day} BETWEEN @first AND @last GROUP BY day"""  # noqa: S608 - the quick start's own names
    rows = client.query_and_wait(query, job_config=_window_of(first_day, last_day))
    return {row["day"]: Cost(row["records"], row["cost"] or Decimal(0)) for row in rows}


def titled(title: str) -> Table:
    """A table that fits into eighty columns with five amounts of money."""
    return Table(
        title=f"\n{title}", title_justify="left", title_style="bold",
        box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0),
    )  # fmt: skip


def _by_day(costs: Mapping[str, Days]) -> Table:
    table = titled(f"What each day cost acme, in USD, from {DATASET}.{VIEW}")
    table.show_footer = True
    table.add_column("Day", footer="All days", no_wrap=True)
    for provider, name in NAMES.items():
        table.add_column(name, justify="right", footer=_shown(_total(costs[provider].values())), no_wrap=True)
    everything = [each for days in costs.values() for each in days.values()]
    table.add_column("Together", justify="right", footer=_shown(_total(everything)), no_wrap=True)
    for day in sorted({day for days in costs.values() for day in days}):
        cells = [costs[provider].get(day, NOTHING) for provider in NAMES]
        table.add_row(str(day), *map(_shown, (*cells, _total(cells))))
    return table


def _shown(cost: Cost) -> str:
    return f"{cost.amount:.9f}"


def _check(expected: Mapping[str, Days], there: Mapping[str, Days], where: str) -> None:
    for provider in {**expected, **there}:
        one, other = expected.get(provider, {}), there.get(provider, {})
        if wrong := [str(day) for day in sorted(one.keys() | other.keys()) if one.get(day) != other.get(day)]:
            raise LocalError(f"what {NAMES.get(provider, provider)} cost differs in {where} on: {', '.join(wrong)}")


def _same(one: Days, other: Days) -> bool:
    return dict(one) == dict(other)


def _total(costs: Iterable[Cost]) -> Cost:
    known = list(costs)
    return Cost(sum(each.records for each in known), sum((each.amount for each in known), Decimal(0)))


def _full(client: bigquery.Client, table: str) -> str:
    return f"{client.project}.{DATASET}.{table}"


def _window_of(first_day: date, last_day: date) -> bigquery.QueryJobConfig:
    days = (("first", first_day), ("last", last_day))
    return bigquery.QueryJobConfig(
        query_parameters=[bigquery.ScalarQueryParameter(name, "DATE", day) for name, day in days]
    )
