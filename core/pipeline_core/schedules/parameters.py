"""The parameters of one run of a schedule: what the schedule says, with the templates in it resolved."""

from collections.abc import Mapping
from datetime import datetime

from pipeline_core.errors import ParametersInvalidError, TemplateInvalidError
from pipeline_core.templates import TemplateResolver, built_in_variables


def resolve_parameters(
    parameters: Mapping[str, int | str], *, org_slug: str, env: str, run_id: str, logical_time: datetime
) -> dict[str, int | str]:
    """The values of a run whose logical time this is: each `{{date}}`, `{{yesterday}}`, … as that day has it, in UTC.

    The variables are the eight that every config may use (`templates.BUILT_INS`). What holds no template stays as it
    is. Raises ParametersInvalidError, which names each parameter with an unknown variable or a malformed template.
    """
    variables = built_in_variables(org_slug=org_slug, env=env, run_id=run_id, logical_time=logical_time)
    # The resolver's messages begin with the key that a value stands under.
    spoken_of = {f"parameter {name!r}": value for name, value in parameters.items()}
    try:
        resolved = TemplateResolver().resolve(spoken_of, variables)
    except TemplateInvalidError as error:
        raise ParametersInvalidError(str(error)) from None
    return dict(zip(parameters, resolved.values(), strict=True))
