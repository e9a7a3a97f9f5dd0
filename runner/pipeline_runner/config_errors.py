"""What to say of a resolved config that its processor can't use."""

from collections.abc import Iterable

from pydantic import BaseModel, ValidationError

from pipeline_core.catalog.validation_messages import NO_CREDENTIALS, describe
from pipeline_core.redaction import is_credential_name
from pipeline_core.wording import FieldPath, dotted
from pipeline_runner.errors import ConfigError


class FieldsError(ConfigError):
    """Fields of a config that are wrong: `problems` holds the path of each, and what is wrong there."""

    def __init__(self, problems: Iterable[tuple[FieldPath, str]]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{dotted(path)}: {message}" for path, message in self.problems))


def wrong_fields(error: ValidationError, model: type[BaseModel], section: str = "") -> FieldsError:
    """An error that names each field that `model` found wrong, within a section of the config, and what is expected.

    Values are shown without what looks like a credential, and that of a field that isn't known not at all: somebody may
    have put a key there.
    """
    problems = []
    for detail in error.errors(include_url=False):
        path, message = describe(detail, model)
        whole = (section, *path) if section else path
        if any(is_credential_name(str(step)) for step in path):
            message = f"{message}; {NO_CREDENTIALS}" if detail["type"] == "extra_forbidden" else NO_CREDENTIALS
        problems.append((whole, message))
    return FieldsError(problems)
