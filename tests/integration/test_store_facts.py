"""What admission asks of an organization: known, its plan's status, its active integration; many runs in one query."""

import asyncio

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.admission.admit import Facts
from pipeline_core.store.engine import transaction
from pipeline_core.store.facts import AdmissionFacts
from pipeline_core.store.integrations import Integrations
from pipeline_core.store.organizations import Organizations
from pipeline_core.store.subscriptions import Subscriptions


async def known(engine: AsyncEngine, org: str, status: str | None = "ACTIVE") -> None:
    await Organizations(engine).create(org)
    if status is not None:
        await Subscriptions(engine).set(org, status=status, per_day=1, per_month=1, concurrent=1)


async def test_each_organization_as_it_is(engine: AsyncEngine) -> None:
    await known(engine, "acme")
    await known(engine, "globex", "SUSPENDED")
    await known(engine, "initech", None)
    await Integrations(engine).set("acme", "gcp", {"project": "one"}, credential_secret="acme-gcp")
    await Integrations(engine).set(
        "globex", "gcp", {"project": "two"}, status="INACTIVE", credential_secret="globex-gcp"
    )
    facts = AdmissionFacts(engine)
    assert await facts.get("acme", "gcp") == Facts(True, "ACTIVE", {"project": "one"}, "acme-gcp")
    assert await facts.get("acme", "openai") == Facts(True, "ACTIVE", None)
    assert await facts.get("globex", "gcp") == Facts(True, "SUSPENDED", None)
    assert await facts.get("initech", "gcp") == Facts(True, None, None)
    assert await facts.get("nobody", "gcp") == Facts(False, None, None)


async def test_many_at_once_get_their_own_in_the_order_in_which_they_asked(engine: AsyncEngine) -> None:
    await known(engine, "acme")
    await known(engine, "globex", "TRIAL")
    facts = AdmissionFacts(engine)
    orgs = ["globex", "acme", "nobody"] * 20
    found = await asyncio.gather(*(facts.get(org, "gcp") for org in orgs))
    assert [each.subscription_status for each in found] == ["TRIAL", "ACTIVE", None] * 20


async def test_a_view_with_two_rows_of_one_organization_disturbs_no_other(engine: AsyncEngine) -> None:
    await known(engine, "acme")
    await known(engine, "globex")
    async with transaction(engine) as connection:
        await connection.execute(text("ALTER TABLE org_subscriptions RENAME TO own"))
        twice = "SELECT * FROM own UNION ALL SELECT * FROM own WHERE org_slug = 'globex'"
        await connection.execute(text(f"CREATE VIEW org_subscriptions AS {twice}"))
    facts = AdmissionFacts(engine)
    orgs = ["globex", "acme"] * 10
    found = await asyncio.gather(*(facts.get(org, "gcp") for org in orgs))
    assert {each.subscription_status for each in found} == {"ACTIVE"}
