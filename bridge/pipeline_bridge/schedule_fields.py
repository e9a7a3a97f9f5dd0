"""What single fields of a schedule may hold: checked before the API server is asked, in words of their own."""

import re
import zoneinfo
from collections.abc import Mapping

from pipeline_core.catalog.fields import check_cron
from pipeline_core.identifiers import OBJECT_NAME_MAX
from pipeline_core.wording import shorten

# The limits of crds/pipelineschedules.yaml.
CRON_NAMES = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
MAX_CRON = 256
MAX_ZONE = 64
MAX_DEADLINE_SECONDS = 604_800

# A DNS subdomain, as Kubernetes wants names.
_OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
# The machine's own zone, and the one of a machine that wasn't set up: files beside the database's, but no names of it.
_NO_ZONES = frozenset({"localtime", "Factory"})
# The names of the IANA database, read before the first request: that takes a tenth of a second.
TIME_ZONES = frozenset(zoneinfo.available_timezones() - _NO_ZONES)


def check_cron_expression(expression: str) -> str:
    """A cron expression in the form that the API server takes. Raises ValueError, which says what is expected."""
    expected = f'five fields such as "0 */6 * * *", or one of {", ".join(CRON_NAMES)}'
    if len(expression) > MAX_CRON:  # before croniter reads it, which takes its time over a long one
        raise ValueError(f"{expected}; at most {MAX_CRON} characters")
    text = " ".join(expression.split())
    if text in CRON_NAMES:
        return text
    count = len(text.split())
    if count in {6, 7}:
        raise ValueError(f"{expected}; it has {count} fields, and seconds and years aren't supported")
    if count != 5:
        raise ValueError(expected)
    try:
        return check_cron(text)
    except ValueError as error:
        raise ValueError(f"{expected}; {error}") from None


def check_time_zone(name: str) -> str:
    """A name of the IANA database. Raises ValueError, which says what is expected."""
    if name not in TIME_ZONES:
        raise ValueError("a name of the IANA time zone database, such as Etc/UTC or Europe/Madrid")
    return name


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
