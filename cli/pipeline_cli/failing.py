"""Turns what can go wrong in a command into one sentence and an exit code."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from pydantic import ValidationError

from pipeline_core.errors import PipelinesError
from pipeline_core.outcome import ExitCode

# What a person can mend: insufficient_privilege, undefined_table (not migrated, or another schema), undefined_column.
_NOT_SET_UP = ("42501", "42P01", "42703")


def refused(message: str, code: int = ExitCode.CONFIG) -> typer.Exit:
    """Say why on standard error; raise what is returned."""
    typer.echo(message, err=True)
    return typer.Exit(int(code))


@contextmanager
def sentences() -> Iterator[None]:
    """Errors of the domain, of settings and of Google's services as sentences; a defect keeps its traceback."""
    try:
        yield
    except PipelinesError as error:
        raise refused(str(error)) from None
    except ValidationError as error:
        raise refused(lacking(error)) from None
    except ValueError as error:
        raise refused(str(error)) from None
    except Exception as error:
        if type(error).__module__.startswith(("google.", "requests.")):
            raise refused(f"BigQuery: {error}", ExitCode.TRANSIENT) from None
        # The driver's error, within SQLAlchemy's: looked at without importing either.
        cause = getattr(error, "orig", None)
        if getattr(cause, "sqlstate", None) in _NOT_SET_UP:
            raise refused(f"PostgreSQL: {str(cause).strip().splitlines()[0]}") from None
        raise


def lacking(error: ValidationError) -> str:
    """The settings of the environment that are missing or wrong, without their values."""
    problems = (f"{_variable(str(each['loc'][-1]), error.title)}: {each['msg']}" for each in error.errors())
    return f"settings of the environment: {'; '.join(problems)}"


def _variable(field: str, settings: str) -> str:
    prefix = "PIPELINES_BIGQUERY_" if settings == "BigQuerySettings" else "PIPELINES_"
    return f"{prefix}{field}".upper()
