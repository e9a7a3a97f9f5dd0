"""`pipelines quota`: what it shows of a plan and its use, which slots are held, and counters set from the ledger."""

import json
from typing import Any

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner

from pipeline_cli.main import app
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.organizations import Organizations
from pipeline_core.store.quota.ledger import QuotaLedger
from pipeline_core.store.records import RunRecords
from pipeline_core.store.subscriptions import Subscriptions
from support.databases import in_database
from support.runs import after, new_run

RUNNER = CliRunner()
ZONE = "Pacific/Kiritimati"  # UTC+14: its day is seldom that of UTC


def run(*arguments: str, code: int = 0) -> str:
    result = RUNNER.invoke(app, list(arguments))
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def shown(*arguments: str) -> Any:
    return json.loads(run("quota", *arguments, "--output", "json"))


def today(url: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT (now() AT TIME ZONE %s)::date", (ZONE,)).fetchone()
    assert row is not None
    return str(row[0])


@pytest.fixture
def acme(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """One that has had four runs: completed, failed, never started, and under way; its name."""
    monkeypatch.setenv("PIPELINES_DATABASE_URL", database_url)

    async def work(engine: AsyncEngine) -> None:
        await Organizations(engine).create("acme", time_zone=ZONE)
        await Subscriptions(engine).set("acme", plan="professional", per_day=20, per_month=500, concurrent=5)
        ledger, records = QuotaLedger(engine), RunRecords(engine)
        for run_id in ("run_ok", "run_bad", "run_unstarted", "run_live"):
            await ledger.reserve(new_run(run_id))
        ended = {"at": after(9), "frees": True}
        await records.finish("run_ok", phase=Phase.COMPLETED, started_at=after(1), **ended)  # type: ignore[arg-type]
        await records.finish("run_bad", phase=Phase.FAILED, started_at=after(1), **ended)  # type: ignore[arg-type]
        await records.finish("run_unstarted", phase=Phase.FAILED, **ended)  # type: ignore[arg-type]

    in_database(database_url, work)
    return "acme"


def test_the_use_of_a_plan_is_shown_in_the_organizations_own_day(acme: str, database_url: str) -> None:
    before = today(database_url)
    found = shown("show", acme, "--held")
    assert before <= found["day"]["period"] <= today(database_url)
    assert found["month"].pop("period") == found["day"].pop("period")[:7]
    (slot,) = found.pop("held")
    assert (slot["run_id"], slot["object_namespace"], slot["object_name"]) == ("run_live", "runs", "run-1")
    assert found == {
        "org_slug": "acme",
        "status": "ACTIVE",
        "plan": "professional",
        "time_zone": ZONE,
        "day": {"used": 3, "limit": 20, "succeeded": 1, "failed": 1},
        "month": {"used": 3, "limit": 500, "succeeded": 1, "failed": 1},
        "concurrent": {"used": 1, "limit": 5},
    }


def test_the_same_is_a_table(acme: str) -> None:
    heading, _, day, month, now, _, _, slot = run("quota", "show", acme, "--held").splitlines()
    assert heading == f"acme: ACTIVE, plan professional; days and months of {ZONE}"
    assert (day.split()[0], day.split()[2:]) == ("day", ["3", "20", "1", "1"])
    assert (month.split()[0], month.split()[2:]) == ("month", ["3", "500", "1", "1"])
    assert now.split() == ["at", "a", "time", "now", "1", "5"]
    assert slot.split()[:2] == ["acme", "run_live"]


def test_all_organizations_have_a_line_each(acme: str, database_url: str) -> None:
    async def work(engine: AsyncEngine) -> None:
        await Organizations(engine).create("globex")

    in_database(database_url, work)
    assert [each["org_slug"] for each in shown("show")] == [acme, "globex"]
    assert shown("show")[1]["day"]["used"] == 0
    assert run("quota", "show", "globex", "--held").endswith("\nno run holds a slot\n")
    _, first, second = run("quota", "show").splitlines()
    assert [each for each in first.split() if "/" in each] == ["3/20", "3/500", "1/5", ZONE]
    assert second.split()[:2] == ["globex", "none"]


def test_what_was_used_on_another_day_is_not_shown_as_todays(acme: str, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE quota_usage SET day = day - 60, month = date_trunc('month', day - 60)")
    found = shown("show", acme)
    assert (found["day"]["used"], found["month"]["used"], found["concurrent"]["used"]) == (0, 0, 1)


def test_counters_are_set_to_what_the_ledger_adds_up_to(acme: str, database_url: str) -> None:
    assert run("quota", "recompute") == "every counter is what the ledger adds up to; nothing had to change\n"
    assert shown("recompute", acme) == {"changed": False, "differences": []}
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE quota_usage SET day_used = 19, concurrent = 0")
    differences = [
        {"org_slug": acme, "counter": "day_used", "counted": 19, "in_ledger": 3},
        {"org_slug": acme, "counter": "concurrent", "counted": 0, "in_ledger": 1},
    ]
    assert shown("recompute", "--dry-run") == {"changed": False, "differences": differences}
    assert "no, --dry-run" in run("quota", "recompute", acme, "--dry-run")
    assert shown("show", acme)["day"]["used"] == 19
    assert shown("recompute", acme) == {"changed": True, "differences": differences}
    found = shown("show", acme)
    assert (found["day"]["used"], found["concurrent"]["used"]) == (3, 1)
