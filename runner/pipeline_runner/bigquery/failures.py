"""Says what a failure of BigQuery means for the run: try again, a person must act, or the data is at fault."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

import requests
from google.api_core import exceptions as api
from google.auth import exceptions as auth

from pipeline_runner.errors import ConfigError, DataError, ProcessorError, TransientError

# Reasons as in https://cloud.google.com/bigquery/docs/error-messages.
_TRANSIENT_REASONS = frozenset(
    {"backendError", "internalError", "jobBackendError", "jobInternalError", "jobRateLimitExceeded"}
    | {"rateLimitExceeded", "quotaExceeded", "tableUnavailable", "timeout"}
)
_CONFIG_REASONS = frozenset(
    {"accessDenied", "notFound", "billingNotEnabled", "billingTierLimitExceeded", "bytesBilledLimitExceeded", "blocked"}
    | {"responseTooLarge", "stopped", "invalidUser", "policyViolation"}
)
# BigQuery cancels one of two transactions that change the same table, with the reason of a wrong query.
_CONFLICTS = ("due to concurrent update", "transaction conflict", "conflict on tuple", "write-write conflict")
# What our own transaction says where a run that read the source later has published already: read again, then publish.
STALE = "rows of a newer read have been published"
# A job that BigQuery had taken and doesn't know: lost with a server, or not known everywhere yet. Nobody can mend that.
_LOST_JOB = "not found: job"
_SERVER_AWAY = (
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
    requests.exceptions.ChunkedEncodingError,
    ConnectionError,
    TimeoutError,
)
_MAX_LENGTH = 1_000


def job_error(what: str, result: dict[str, str]) -> ProcessorError:
    """The error of a job that ended with this `errorResult`."""
    reason, message = result.get("reason", ""), result.get("message", "")
    kind: type[ProcessorError] = DataError
    if reason in _TRANSIENT_REASONS or is_conflict(message) or is_stale(message):
        kind = TransientError
    elif reason in _CONFIG_REASONS:
        kind = ConfigError
    return kind(f"{what}: {_short(message)}")


def is_conflict(message: str) -> bool:
    """Whether a statement was cancelled because another one changed the same table."""
    return any(phrase in message.lower() for phrase in _CONFLICTS)


def is_stale(message: str) -> bool:
    """Whether what this attempt has staged is too old to be published: only another attempt helps."""
    return STALE in message


@contextmanager
def explained(what: str, *, right: str = "") -> Iterator[None]:
    """Turn errors of Google's clients into ours; `what` was to be done, and `right` says which rights that takes."""
    try:
        yield
    except ProcessorError:
        raise
    except api.RetryError as error:
        raise TransientError(f"{what}: {_short(str(error.cause or error))}") from error
    except api.GoogleAPICallError as error:
        raise _of_call(what, right, error) from error
    except auth.DefaultCredentialsError as error:
        raise ConfigError(f"{what}: there are no credentials for BigQuery: {_short(str(error))}") from error
    except auth.GoogleAuthError as error:
        kind = TransientError if _is_passing(error) else ConfigError
        raise kind(f"{what}: BigQuery's credentials can't be used: {_short(str(error))}") from error
    except _SERVER_AWAY as error:
        raise TransientError(f"{what}: BigQuery can't be reached: {_short(str(error))}") from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise TransientError(f"{what}: the pod's disk for temporary files is full: {_short(str(error))}") from error


def _is_passing(error: auth.GoogleAuthError) -> bool:
    """Whether it was the way to the credentials that failed, such as the metadata server's, and not they themselves."""
    causes = (error, error.__cause__, *error.args)
    return bool(error.retryable) or any(isinstance(each, auth.TransportError) for each in causes)


def _of_call(what: str, right: str, error: api.GoogleAPICallError) -> ProcessorError:
    message = _short(error.message or str(error))
    if (
        _reasons(error) & _TRANSIENT_REASONS
        or error.code == HTTPStatus.REQUEST_TIMEOUT
        or is_conflict(message)
        or is_stale(message)
        or _LOST_JOB in message.lower()
    ):
        return TransientError(f"{what}: {message}")
    match error:
        case api.Forbidden() | api.Unauthorized():
            needed = f"; it takes {right}" if right else ""
            return ConfigError(f"{what}: permission denied{needed}. BigQuery says: {message}")
        case api.NotFound():
            return ConfigError(f"{what}: not found. BigQuery says: {message}")
        case api.TooManyRequests() | api.ServerError() | api.PreconditionFailed() | api.Aborted() | api.Cancelled():
            return TransientError(f"{what}: {message}")
        case _:
            return DataError(f"{what}: {message}")


def _reasons(error: api.GoogleAPICallError) -> set[str]:
    return {str(each.get("reason")) for each in error.errors if isinstance(each, dict)}


def _short(message: str) -> str:
    """The first paragraph: what follows repeats the query or the job's id."""
    first = message.strip().split("\n\n")[0].replace("\n", " ")
    return first if len(first) <= _MAX_LENGTH else f"{first[:_MAX_LENGTH]} …"
