"""In a shared namespace an integration can name only its own organization's Secret, whoever wrote its row."""

from pathlib import Path

import pytest

from pipeline_core.admission.admit import Facts, admit
from pipeline_core.admission.tenancy import TenancyMode, secret_problem
from pipeline_core.catalog.loader import load_catalog
from pipeline_core.errors import IntegrationNotActiveError
from support.run_requests import run_request

SHARED, OWN = TenancyMode.SHARED, TenancyMode.NAMESPACE_PER_ORGANIZATION
CATALOG = load_catalog(Path(__file__).parents[3] / "configs")
REQUEST = run_request("openai/cost/usage_cost")


def facts(secret: str | None) -> Facts:
    return Facts(is_known=True, subscription_status="ACTIVE", integration={}, credential_secret=secret)


@pytest.mark.parametrize("name", ["globex-openai", "acme--eu-openai", "openai", "acme", "pipelines-keyset-acme"])
def test_anothers_secret_is_refused_where_namespaces_are_shared(name: str) -> None:
    with pytest.raises(IntegrationNotActiveError) as caught:
        admit(CATALOG, REQUEST, facts(name), env="dev", tenancy=SHARED)
    assert str(caught.value) == (
        f"openai integration not active: credential_secret '{name}': expected a name that begins with acme- and a "
        "letter or digit, such as acme-openai, as organizations share namespaces here and the Secret must be acme's own"
    )
    assert caught.value.title == "openai integration not active"


def test_an_organization_called_as_the_installation_doesnt_own_its_secrets() -> None:
    assert secret_problem("pipelines-keyset-globex", "pipelines", "openai", SHARED)


@pytest.mark.parametrize(
    ("name", "tenancy"),
    [("acme-openai", SHARED), ("acme-openai", OWN), ("globex-openai", OWN), ("openai", OWN), (None, SHARED)],
)
def test_ones_own_secret_reaches_the_run_and_any_in_a_namespace_of_its_own(
    name: str | None, tenancy: TenancyMode
) -> None:
    document = admit(CATALOG, REQUEST, facts(name), env="dev", tenancy=tenancy)
    assert document.credential_secret == name


def test_the_name_that_is_suggested_is_one_that_is_taken() -> None:
    assert "such as acme--eu-own--cloud," in secret_problem("x", "acme_eu", "own_cloud", SHARED)
    assert secret_problem("acme--eu-own--cloud", "acme_eu", "own_cloud", SHARED) == ""
