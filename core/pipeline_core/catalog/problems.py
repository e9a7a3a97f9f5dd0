"""What is wrong with a catalog: one problem a line, each with its file, line and field."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline_core.errors import ConfigInvalidError
from pipeline_core.redaction import without_credentials
from pipeline_core.wording import join_problems


@dataclass(frozen=True, order=True)
class Problem:
    """One rule broken at one place. `file` is relative to the catalog; no `field` means the file as a whole."""

    file: str
    line: int
    field: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}"
        # A key that is pasted where a field belongs is a field's name.
        field = without_credentials(self.field)
        return f"{place}: {field}: {self.message}" if field else f"{place}: {self.message}"


class CatalogInvalidError(ConfigInvalidError):
    """The catalog breaks rules; `problems` holds all that were found, ordered by file and line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__(join_problems(self.problems))
