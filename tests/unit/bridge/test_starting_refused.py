"""What the bridge itself refuses to start holds nothing, and is told with its reason; where a run is made."""

from typing import Any

import pytest

from pipeline_bridge.problems import Problem
from pipeline_bridge.run_objects import ScheduleRef
from pipeline_core.admission.subscription import Limits, OrganizationNotFoundError, SubscriptionInactiveError
from pipeline_core.errors import (
    IntegrationNotActiveError,
    ParametersInvalidError,
    PipelineNotFoundError,
    PipelinesError,
    UnknownProviderError,
)
from support.bridge_and_operator import KEY, Both

UID = "0f8c1e5b-7a92-4d06-b3d1-c2a4e6f80917"


REFUSALS: list[tuple[dict[str, Any], type[PipelinesError]]] = [
    ({"provider": "gcq"}, UnknownProviderError),
    ({"provider": "g\0p"}, UnknownProviderError),
    ({"provider": "g" * 10_000}, UnknownProviderError),
    ({"domain": "usage"}, PipelineNotFoundError),
    ({"pipeline": "../billing"}, PipelineNotFoundError),
    ({"parameters": {"dat": "2026-11-21"}}, ParametersInvalidError),
    ({"parameters": {"date": "yesterday"}}, ParametersInvalidError),
    ({"parameters": {"date": "x" * 1_025}}, ParametersInvalidError),
    ({"parameters": {f"p{n}": n for n in range(65)}}, ParametersInvalidError),
]


@pytest.mark.parametrize(("changes", "error"), REFUSALS)
async def test_what_is_refused_holds_nothing(both: Both, changes: dict[str, Any], error: type[PipelinesError]) -> None:
    with pytest.raises(error):
        await both.post(KEY, **changes)
    assert both.records.rows == both.ledger.rows == both.kubernetes.objects == {}


async def test_who_may_not_run_is_refused(both: Both) -> None:
    both.plans.secrets["acme"] = "globex-gcp"
    with pytest.raises(IntegrationNotActiveError, match="the Secret must be acme's own"):
        await both.post()
    both.plans.integrated.clear()
    with pytest.raises(IntegrationNotActiveError):
        await both.post()
    both.plans.status["acme"] = "SUSPENDED"
    with pytest.raises(SubscriptionInactiveError):
        await both.post()
    both.plans.limits.clear()
    with pytest.raises(OrganizationNotFoundError):
        await both.post()
    assert both.records.rows == both.kubernetes.objects == {}


@pytest.mark.parametrize(
    ("limits", "name", "seconds", "detail"),
    [
        (Limits(0, 9, 9), "daily", "3600", "Daily pipeline limit (0) reached"),
        (Limits(9, 0, 9), "monthly", "86400", "Monthly pipeline limit (0) reached"),
        (Limits(9, 9, 0), "concurrent", "30", "Concurrent pipeline limit (0) reached"),
        (Limits(9, 9, None), "concurrent", "30", "Concurrent pipeline limit (not set) reached"),
    ],
)
async def test_a_limit_is_named_with_what_is_left(
    both: Both, limits: Limits, name: str, seconds: str, detail: str
) -> None:
    both.plans.limits["acme"] = limits
    with pytest.raises(Problem) as refused:
        await both.post()
    problem = refused.value
    assert (problem.status, problem.reason, problem.detail) == (429, f"{name.capitalize()}LimitReached", detail)
    assert problem.title == f"{name.capitalize()} pipeline limit reached"
    left = {"daily": 9, "monthly": 9, "concurrent": 9, name: 0}
    assert problem.members == {"limit": {"name": name, "limit": 0, "used": 0, "remaining": 0}, "remaining": left}
    assert problem.headers == {
        "Retry-After": seconds,
        "X-Quota-Limit": name,
        **{f"X-Quota-Remaining-{each.capitalize()}": str(count) for each, count in left.items()},
    }
    assert both.records.rows == both.kubernetes.objects == {}


async def test_a_schedules_run_is_made_beside_it(both: Both) -> None:
    schedule = ScheduleRef("elsewhere", "nightly", UID)
    run_id = await both.post(schedule=schedule, template={"timeoutSeconds": 60})
    (body,) = both.objects()
    assert body["metadata"]["namespace"] == both.stored(run_id).object_namespace == "elsewhere"
    assert body["spec"]["scheduleRef"] == {"name": "nightly", "uid": UID}
    assert body["spec"]["timeoutSeconds"] == 60
    assert both.stored(run_id).schedule_id == "sch_0f8c1e5b7a924d06b3d1c2a4e6f80917"


async def test_an_organization_without_a_namespace_holds_nothing(both: Both) -> None:
    both.parts = both.bridge(tenancy="NamespacePerOrganization")
    with pytest.raises(Problem, match="expected a namespace to have the label"):
        await both.post()
    assert both.records.rows == {}
