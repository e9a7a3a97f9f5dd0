"""Which organization's runs may be in a namespace: anyone's in a shared one, else its own organization's alone."""

from enum import StrEnum

from pipeline_core.errors import PipelinesError


class TenancyMode(StrEnum):
    """How an installation keeps its organizations apart."""

    SHARED = "Shared"
    NAMESPACE_PER_ORGANIZATION = "NamespacePerOrganization"


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
