"""Integrations in the real PostgreSQL."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.admission.subscription import OrganizationNotFoundError
from pipeline_core.store.integrations import Integrations
from pipeline_core.store.organizations import Organizations

SETTINGS = {"billing_project_id": "acme-billing", "billing_dataset_id": "export"}


@pytest.fixture
async def integrations(engine: AsyncEngine) -> Integrations:
    for org in ("acme", "globex"):
        await Organizations(engine).create(org)
    return Integrations(engine)


async def test_what_was_set_is_there_and_can_be_replaced(integrations: Integrations) -> None:
    assert await integrations.get("acme", "gcp") is None
    first = await integrations.set("acme", "gcp", SETTINGS)
    assert await integrations.get("acme", "gcp") == first
    assert (first.settings, first.is_active) == (SETTINGS, True)
    second = await integrations.set("acme", "gcp", {"billing_project_id": "other"}, status="DISABLED")
    assert (second.settings, second.is_active) == ({"billing_project_id": "other"}, False)
    assert second.created_at == first.created_at
    assert second.updated_at > first.updated_at


async def test_each_organization_has_its_own(integrations: Integrations) -> None:
    for provider in ("openai", "gcp"):
        await integrations.set("acme", provider, {})
    await integrations.set("globex", "gcp", SETTINGS)
    assert [each.provider for each in await integrations.list("acme")] == ["gcp", "openai"]
    assert (await integrations.list("initech")) == []


@pytest.mark.parametrize(
    ("org", "provider", "settings", "field"),
    [
        ("Acme-Corp", "gcp", {}, "org_slug 'Acme-Corp'"),
        ("acme", "g c p", {}, "provider 'g c p'"),
        ("acme", "gcp", {"Bad-Name": "x"}, "setting 'Bad-Name'"),
        ("acme", "gcp", {"number": 5}, "setting number is of type int"),
        ("acme", "gcp", {"text": "a\x00"}, "setting text holds a NUL"),
    ],
)
async def test_malformed_input_is_refused_by_name(
    integrations: Integrations, org: str, provider: str, settings: dict[str, str], field: str
) -> None:
    with pytest.raises(ValueError, match=field):
        await integrations.set(org, provider, settings)


async def test_an_organization_that_is_not_there_gets_none(integrations: Integrations) -> None:
    with pytest.raises(OrganizationNotFoundError, match="Organization not found: initech"):
        await integrations.set("initech", "gcp", SETTINGS)
    assert await integrations.get("initech", "gcp") is None


async def test_the_name_of_the_secret_is_replaced_with_the_rest(integrations: Integrations) -> None:
    first = await integrations.set("acme", "gcp", SETTINGS, credential_secret="acme-gcp")
    assert first.credential_secret == "acme-gcp"
    assert (await integrations.set("acme", "gcp", SETTINGS)).credential_secret is None
