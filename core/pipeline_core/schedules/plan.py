"""What a run of a schedule would be, asked before there is one: is its pipeline there, are its parameters right."""

from collections.abc import Mapping
from datetime import datetime

from pipeline_core.catalog.snapshot import Catalog
from pipeline_core.resolve import RunPlan, RunRequest, plan_run
from pipeline_core.schedules.parameters import resolve_parameters

# They are found and checked as those of a run would be: of one with this id.
_MADE_UP_RUN = "run_of0schedule"


def plan_schedule(
    catalog: Catalog,
    parameters: Mapping[str, int | str],
    *,
    org: str,
    provider: str,
    domain: str,
    pipeline: str,
    env: str,
    logical_time: datetime,
) -> RunPlan:
    """The plan of its run at that time, whatever the organization; templates in `parameters` are resolved.

    Raises RequestInvalidError, UnknownProviderError, PipelineNotFoundError and ParametersInvalidError.
    """
    given = resolve_parameters(parameters, org_slug=org, env=env, run_id=_MADE_UP_RUN, logical_time=logical_time)
    return plan_run(catalog, RunRequest(_MADE_UP_RUN, org, provider, domain, pipeline, given, logical_time), env=env)
