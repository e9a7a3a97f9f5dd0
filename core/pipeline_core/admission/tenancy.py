"""Which organization's runs may be in a namespace: anyone's in a shared one, else its own organization's alone."""

from enum import StrEnum

from pipeline_core.credentials.names import dns_name, is_secret_of
from pipeline_core.errors import PipelinesError


class TenancyMode(StrEnum):
    """How an installation keeps its organizations apart."""

    SHARED = "Shared"
    NAMESPACE_PER_ORGANIZATION = "NamespacePerOrganization"


def secret_problem(name: str, org_slug: str, provider: str, tenancy: TenancyMode) -> str:
    """Why the organization may not have its credentials in the Secret of that name; empty where it may.

    In a shared namespace a run could mount any organization's Secret, so that the name must say whose it is.
    """
    if tenancy is TenancyMode.NAMESPACE_PER_ORGANIZATION or is_secret_of(name, org_slug):
        return ""
    own = f"{dns_name(org_slug)}-"
    return (
        f"credential_secret {name!r:.100}: expected a name that begins with {own} and a letter or digit, such as "
        f"{own}{dns_name(provider)}, as organizations share namespaces here and the Secret must be {org_slug}'s own"
    )


class WrongNamespaceError(PipelinesError):
    """The namespace belongs to another organization, or to none: `owner` is whom its `label` names, None for nobody.

    The chart's ValidatingAdmissionPolicy refuses in the same words.
    """

    reason = "WrongNamespace"

    def __init__(self, org_slug: str, namespace: str, label: str, owner: str | None) -> None:
        expected = (
            f"expected {owner}, as namespace {namespace} names it in its label {label}"
            if owner
            else f"expected none, as namespace {namespace} names no organization in its label {label}"
        )
        super().__init__(f"spec.org: {expected}; got {org_slug}", title="Wrong namespace for the organization")
