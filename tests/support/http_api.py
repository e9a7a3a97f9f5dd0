"""The installed bridge as clients reach it: its address, organizations with a plan, and their keys."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx2
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.api_keys import Scope, make_key
from pipeline_core.store.api_keys import ApiKeys
from pipeline_core.store.engine import create_engine
from pipeline_core.store.quota.ledger import QuotaLedger
from pipeline_core.store.quota.standing import Standing
from pipeline_core.store.subscriptions import Subscriptions
from pipeline_local.quickstart import source
from pipeline_local.state import State
from support.installation import Installation
from support.organizations import integrate

T = TypeVar("T")

NOOP = "demo/test/noop"
FINAL = {"completed", "failed", "cancelled"}


@dataclass(frozen=True)
class HttpApi:
    """The bridge at `url`, and the pepper with which keys are made for it."""

    installation: Installation
    url: str
    pepper: str = field(repr=False)

    @classmethod
    def of(cls, installation: Installation) -> "HttpApi":
        """The one of the installation."""
        exports = State(installation.paths.state).exports
        return cls(installation, exports["PIPELINES_BRIDGE_URL"], exports["PIPELINES_API_KEY_PEPPER"])

    def organization(
        self, slug: str, *, per_day: int = 1_000_000, per_month: int = 1_000_000, concurrent: int = 10_000
    ) -> str:
        """Make an organization with this plan, where it isn't there, led to the billing export; returns its slug."""
        asyncio.run(integrate(self.installation.database_url, slug, source.SETTINGS))
        self.with_engine(
            lambda engine: Subscriptions(engine).set(
                slug, status="ACTIVE", per_day=per_day, per_month=per_month, concurrent=concurrent
            )
        )
        return slug

    def key(self, org: str, *scopes: Scope, requests_per_minute: int = 1_000_000) -> str:
        """The text of a new key of the organization; with all scopes where none is named."""
        made = make_key(self.pepper.encode())

        async def store(engine: AsyncEngine) -> None:
            await ApiKeys(engine).create(
                org,
                name="tests",
                scopes=scopes or (Scope.ADMIN,),
                digest=made.digest,
                key_id=made.key_id,
                requests_per_minute=requests_per_minute,
            )

        self.with_engine(store)
        return made.text

    def client(self, key: str, **options: Any) -> httpx2.Client:
        """A client that sends this key; paths begin after the prefix."""
        return httpx2.Client(base_url=f"{self.url}/api/v1", headers={"X-API-Key": key}, timeout=60, **options)

    def standing(self, org: str) -> Standing:
        """What the organization has used of its plan."""
        return self.with_engine(lambda engine: QuotaLedger(engine).standing(org))

    def with_engine(self, work: Callable[[AsyncEngine], Awaitable[T]]) -> T:
        """The result of work on the installation's PostgreSQL."""

        async def connected() -> T:
            engine = create_engine(self.installation.database_url)
            try:
                return await work(engine)
            finally:
                await engine.dispose()

        return asyncio.run(connected())


def await_status(
    installation: Installation, client: httpx2.Client, org: str, run_id: str, words: set[str], seconds: float = 120
) -> dict[str, Any]:
    """The run's status once it is one of these words."""

    def asked() -> dict[str, Any] | None:
        answer = client.get(f"pipelines/status/{org}/{run_id}")
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        assert body["status"] in words or body["status"] not in FINAL, body
        return body if body["status"] in words else None

    found: dict[str, Any] = installation.eventually(asked, seconds)
    return found
