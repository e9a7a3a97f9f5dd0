"""Admits a run: every check that doesn't count anything, in their one order; the quota is reserved after it.

The order is provider, pipeline, parameters, organization and subscription, integration: nothing is reserved for a run
that can't be, and a request always gets the same answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline_core.admission.subscription import check_subscription
from pipeline_core.admission.tenancy import TenancyMode, secret_problem
from pipeline_core.catalog.snapshot import Catalog
from pipeline_core.errors import IntegrationNotActiveError
from pipeline_core.resolve import RunRequest, plan_run, resolve_plan
from pipeline_core.run_document import RunDocument


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the organization: whether it exists, its subscription's status (None: it has none), the settings
    of its active integration with the run's provider (None: it has none that is active), and the name of the Secret
    with that one's credentials (None: it names none)."""

    is_known: bool
    subscription_status: str | None
    integration: Mapping[str, str] | None
    credential_secret: str | None = None


def admit(catalog: Catalog, request: RunRequest, facts: Facts, *, env: str, tenancy: TenancyMode) -> RunDocument:
    """The document of a run that may start, as far as its organization's quota allows.

    With `tenancy` SHARED, an integration can't name another organization's Secret, whoever wrote it.

    Raises, in this order of precedence: RequestInvalidError, UnknownProviderError, PipelineNotFoundError,
    ParametersInvalidError, OrganizationNotFoundError, SubscriptionInactiveError, IntegrationNotActiveError,
    TemplateInvalidError, ConfigInvalidError.
    """
    plan = plan_run(catalog, request, env=env)
    check_subscription(request.org_slug, is_known=facts.is_known, status=facts.subscription_status)
    if facts.credential_secret is not None:
        problem = secret_problem(facts.credential_secret, request.org_slug, request.provider, tenancy)
        if problem:
            raise IntegrationNotActiveError(request.provider, problem)
    return resolve_plan(plan, integration=facts.integration, credential_secret=facts.credential_secret)
