"""What single fields of a schedule may hold: checked before the API server is asked, in words of their own."""

import re
from collections.abc import Mapping

from pipeline_core.identifiers import OBJECT_NAME_MAX
from pipeline_core.wording import shorten

# The limits of crds/pipelineschedules.yaml.
MAX_DEADLINE_SECONDS = 604_800
MAX_CATCH_UP_RUNS = 1_000
MAX_STAGGER_SECONDS = 3_600
MAX_HISTORY = 100
MAX_PRIORITY = 1_000
MAX_QUEUE_SECONDS = 604_800

# A DNS subdomain, as Kubernetes wants names.
_OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def check_object_name(name: str) -> str:
    """A name for the schedule's object. Raises ValueError, which says what is expected."""
    if len(name) > OBJECT_NAME_MAX or not _OBJECT_NAME.fullmatch(name):
        kinds = "lower-case letters, digits, '-' and '.', with a letter or a digit at both ends and beside each '.'"
        raise ValueError(f"at most {OBJECT_NAME_MAX} {kinds}")
    return name


def check_parameters(parameters: object) -> dict[str, str | int | bool]:
    """Scalars by name, as `bodies.read_object` has them. Raises ValueError, which says what is expected."""
    if not isinstance(parameters, Mapping):
        raise ValueError("an object of values by name")  # noqa: TRY004 - what pydantic collects
    for name, value in parameters.items():
        if not isinstance(value, str | int | bool):
            expected = "a string, a number, true or false"
            raise ValueError(f"{expected} for {shorten(name)}, which is {shorten(value)}")  # noqa: TRY004
    return dict(parameters)
