"""The organization's accounts with OpenAI and Anthropic: simulated ones, with keys that open nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import httpx2

from pipeline_local.backends import Backend
from pipeline_local.errors import LocalError
from pipeline_local.install import RELEASE
from pipeline_local.kubectl import Kubectl
from pipeline_local.state import State

_SECONDS = 60.0
_NINE_DECIMALS = Decimal("1e-9")


@dataclass(frozen=True)
class Account:
    """One account: what its key looks like, the header that carries it, and the setting that leads to the API."""

    provider: str
    key: str
    header: str
    before_key: str
    setting: str


OPENAI = Account("openai", "sk-admin-quickstart-of-acme", "Authorization", "Bearer ", "openai_base_url")
ANTHROPIC = Account("anthropic", "sk-ant-admin01-quickstart-of-acme", "x-api-key", "", "anthropic_base_url")
ACCOUNTS = (OPENAI, ANTHROPIC)


@dataclass(frozen=True)
class Cost:
    """A day's rows, and what they add up to, in units of the currency."""

    records: int
    amount: Decimal


NOTHING = Cost(0, Decimal(0))


def seen_by_pods(backend: Backend, kubectl: Kubectl, state: State) -> str:
    """The simulators' address as the runs reach it: the machine's loopback on the embedded node, else their Service."""
    if backend.name == "embedded":
        return state.exports["PIPELINES_SIMULATORS_URL"]
    service = kubectl.read("service", f"{RELEASE}-dev-services")
    port = next(each["port"] for each in service["spec"]["ports"] if each["name"] == "simulators")
    return f"http://{RELEASE}-dev-services:{port}"


def truth(simulators: str, account: Account, first_day: date, last_day: date) -> dict[date, Cost]:
    """The costs of each day as the simulator has made them up, of which the runs know nothing.

    Raises LocalError where it doesn't answer.
    """
    window = {"provider": account.provider, "first_day": str(first_day), "last_day": str(last_day)}
    headers = {account.header: f"{account.before_key}{account.key}"}
    try:
        with httpx2.Client(timeout=_SECONDS, trust_env=False) as client:
            answer = client.get(f"{simulators}/_simulator/truth", params=window, headers=headers)
            answer.raise_for_status()
            rows = answer.json()["rows"]["costs"]
    except (httpx2.HTTPError, ValueError, KeyError) as error:
        raise LocalError(f"the simulator of {account.provider} doesn't tell its truth: {error}") from error
    return daily(rows)


def daily(rows: list[Mapping[str, Any]]) -> dict[date, Cost]:
    """The costs of each day; each row rounded as a column of nine decimals holds it."""
    days: dict[date, Cost] = {}
    for row in rows:
        before = days.get(day := date.fromisoformat(row["day"]), NOTHING)
        amount = Decimal(row["amount"]).quantize(_NINE_DECIMALS, ROUND_HALF_UP)
        days[day] = Cost(before.records + 1, before.amount + amount)
    return days
